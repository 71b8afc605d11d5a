"""From the report of a run to the last step of its call."""

import pytest

from broker.core.call import Cause, Usage
from broker.core.ids import sha256_hex
from broker.core.lifecycle import Step
from broker.core.outcome import read_report, result_body
from broker.core.sandbox import FileChange, Report, Stream
from broker.core.workspace import Entry


def report(cause: Cause, exit_code: int | None = 0, **fields: object) -> Report:
    values: dict[str, object] = {
        "cause": cause,
        "exit_code": exit_code,
        "stdout": Stream(data=b"out", size_bytes=3, truncated=False),
        "stderr": Stream(data=b"\xff", size_bytes=9, truncated=True),
        "outputs": (),
        "changes": (),
        "limits_hit": (),
        "notes": (),
        "usage": Usage(wall_ms=1, cpu_ms=None, max_memory_bytes=None),
        "sources": (("exit_code", "engine"),),
    }
    return Report(**{**values, **fields})  # type: ignore[arg-type]


class TestStep:
    @pytest.mark.parametrize(
        ("cause", "exit_code", "step"),
        [
            (Cause.EXITED, 0, Step.SUCCEED),
            (Cause.EXITED, 1, Step.FAIL),
            (Cause.EXITED, None, Step.FAIL),
            (Cause.SIGNALLED, 139, Step.FAIL),
            (Cause.TIMEOUT, 137, Step.TIME_OUT),
            (Cause.OUTPUT_CAP, 137, Step.KILL),
            (Cause.MEMORY, 137, Step.KILL),
            (Cause.HALTED, 137, Step.KILL),
            (Cause.CANCELLED, 137, Step.CANCEL),
            (Cause.ENGINE_LOST, None, Step.INTERRUPT),
        ],
    )
    def test_follows_from_the_cause(self, cause: Cause, exit_code: int, step: Step) -> None:
        """Each cause ends the call by one step; success needs exit code 0 as the Engine says it."""
        assert read_report(report(cause, exit_code)).step is step


class TestFiles:
    def test_keeps_outputs_of_a_failed_run_but_no_changes(self) -> None:
        """Half a write is no write; outputs are kept, since they may tell what went wrong."""
        files = (FileChange(path="x", data=b"1"),)
        outcome = read_report(report(Cause.EXITED, 1, outputs=files, changes=files))
        kept = Entry(sha256=sha256_hex(b"1"), size_bytes=1)
        assert (outcome.outputs, outcome.changes) == ((("x", kept),), {})

    def test_takes_no_changes_where_some_were_left_behind(self) -> None:
        """Changes that went over a cap are none at all, and the call failed."""
        files = (FileChange(path="x", data=b"1"),)
        outcome = read_report(report(Cause.EXITED, changes=files, limits_hit=("files",)))
        assert (outcome.step, outcome.changes) == (Step.FAIL, {})

    @pytest.mark.parametrize("path", ["../x", "/".join("a" * 33), "a" * 256])
    def test_takes_no_changes_where_a_name_is_unsafe(self, path: str) -> None:
        """A name that the workspace refuses, whatever the launcher said of it, fails them all."""
        files = (FileChange(path=path, data=b"1"), FileChange(path="y", data=None))
        outcome = read_report(report(Cause.EXITED, changes=files))
        assert (outcome.step, outcome.changes, outcome.files) == (Step.FAIL, {}, {})
        assert outcome.notes == ("a file with an unsafe name was left behind",)

    def test_leaves_unsafe_outputs_behind(self) -> None:
        """An output is a file beside others: one with such a name is left out alone."""
        files = (FileChange(path="../x", data=b"1"), FileChange(path="y", data=b"2"))
        outcome = read_report(report(Cause.EXITED, outputs=files))
        assert (outcome.step, [path for path, _ in outcome.outputs]) == (Step.SUCCEED, ["y"])


class TestResultBody:
    def test_gives_text_as_text_and_other_bytes_as_base64(self) -> None:
        """Streams are text where they are UTF-8, else base64, with their true sizes."""
        run = report(Cause.EXITED)
        body = result_body(run, read_report(run), ("x",))
        assert (body["stdout"], body["stderr"], body["changed_paths"]) == (
            {"text": "out", "size_bytes": 3, "truncated": False},
            {"base64": "/w==", "size_bytes": 9, "truncated": True},
            ["x"],
        )

    def test_names_the_secrets_and_counts_what_was_replaced(self) -> None:
        """The document says which secrets the tool got, and how often one was kept from it."""
        run = report(Cause.EXITED, secrets=("token",), redactions=3)
        body = result_body(run, read_report(run), ())
        assert (body["secrets"], body["redactions"]) == (["token"], 3)
