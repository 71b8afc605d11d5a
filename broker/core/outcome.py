"""Turn the report of a run into the call's last step with its result."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from broker.core.call import Cause
from broker.core.canonical import JsonObject
from broker.core.ids import Sha256, sha256_hex
from broker.core.lifecycle import Step
from broker.core.sandbox import FileChange, Report, Stream
from broker.core.workspace import Entry, is_safe_path

_STEPS: Mapping[Cause, Step] = {
    Cause.SIGNALLED: Step.FAIL,
    Cause.TIMEOUT: Step.TIME_OUT,
    Cause.OUTPUT_CAP: Step.KILL,
    Cause.MEMORY: Step.KILL,
    Cause.HALTED: Step.KILL,
    Cause.CANCELLED: Step.CANCEL,
    Cause.ENGINE_LOST: Step.INTERRUPT,
    Cause.BROKER_STOPPED: Step.INTERRUPT,
}

_FILES_LIMIT = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run: how the call ends, the files to keep, what to do to the workspace."""

    step: Step
    files: Mapping[Sha256, bytes]
    outputs: tuple[tuple[str, Entry], ...]
    changes: Mapping[str, Entry | None]
    notes: tuple[str, ...]


def read_report(report: Report) -> Outcome:
    """Judge a report: causes come from outside the sandbox, files are the tool's word.

    Changes count only for a call that succeeded, all of them or none: half a write is no write.
    """
    succeeded = report.cause is Cause.EXITED and report.exit_code == 0
    if report.changes and _FILES_LIMIT in report.limits_hit:
        succeeded = False
    if not all(is_safe_path(change.path) for change in report.changes):
        succeeded = False
    step = Step.SUCCEED if succeeded else _STEPS.get(report.cause, Step.FAIL)
    files: dict[Sha256, bytes] = {}
    notes = list(report.notes)
    outputs = _keep(report.outputs, files, notes)
    # Unsafe names among changes that are not kept are told all the same.
    changes = _keep(report.changes, files if succeeded else {}, notes)
    return Outcome(
        step=step,
        files=files,
        outputs=tuple((path, entry) for path, entry in outputs.items() if entry),
        changes=changes if succeeded else {},
        notes=tuple(notes),
    )


def result_body(report: Report, outcome: Outcome, changed: tuple[str, ...]) -> JsonObject:
    """Give the body of the RESULT document; `changed` are the paths that the workspace took."""
    egress: JsonObject = {} if report.egress is None else {"egress": report.egress.listing}
    return {
        **egress,
        "exit_code": report.exit_code,
        "cause": report.cause.value,
        "stdout": _stream(report.stdout),
        "stderr": _stream(report.stderr),
        "outputs": [
            {"path": path, "sha256": entry.sha256, "size_bytes": entry.size_bytes}
            for path, entry in outcome.outputs
        ],
        "changed_paths": list(changed),
        "limits_hit": list(report.limits_hit),
        "notes": list(outcome.notes),
        "secrets": list(report.secrets),
        "redactions": report.redactions,
        "sources": dict(report.sources),
    }


def _keep(
    changes: tuple[FileChange, ...], files: dict[Sha256, bytes], notes: list[str]
) -> dict[str, Entry | None]:
    kept: dict[str, Entry | None] = {}
    for change in changes:
        # The launcher checks names too, but what it says is the tool's word.
        if not is_safe_path(change.path):
            notes.append("a file with an unsafe name was left behind")
        elif change.data is None:
            kept[change.path] = None
        else:
            sha256 = sha256_hex(change.data)
            files[sha256] = change.data
            kept[change.path] = Entry(sha256=sha256, size_bytes=len(change.data))
    return kept


def _stream(stream: Stream) -> JsonObject:
    """Give a stream as text where it is UTF-8, else as base64."""
    try:
        content: dict[str, str] = {"text": stream.data.decode("utf-8")}
    except UnicodeDecodeError:
        content = {"base64": base64.b64encode(stream.data).decode("ascii")}
    return {**content, "size_bytes": stream.size_bytes, "truncated": stream.truncated}
