"""Run `toolwarrant receipts verify`: files in, a verdict out, an exit code.

Exit codes: 0 valid, 1 invalid, 2 not what this command can do, 3 indeterminate.
"""

import json
import sys
from pathlib import Path

from broker.core.canonical import JsonObject, JsonValue
from broker.core.dsse import MAX_ENVELOPE_BYTES
from broker.core.log_proof import MAX_PROOF_BYTES
from broker.core.trust_root import MAX_TRUST_ROOT_BYTES
from broker.core.visible import visible
from broker.errors import ReceiptInvalid
from broker.verify.log_folder import LogFolder
from broker.verify.log_site import LogSite
from broker.verify.receipt import verify_receipt
from broker.verify.static_proof import prove_receipt
from broker.verify.trust_root import open_trust_root
from broker.verify.verdict import Logged, Validity, Verdict

USAGE = 2
_NO_LOG = "name a log's folder, with `checkpoint` and `tile/` in it, or the URL that shows them"
_MAX_FILE_BYTES = 1 << 30


def run(
    file: str | Path,
    trust_root: str | Path,
    proof: str | Path | None = None,
    request: str | Path | None = None,
    result: str | Path | None = None,
    witness_quorum: int | None = None,
    output: str = "table",
    log: str | Path | None = None,
    proof_out: str | Path | None = None,
) -> int:
    """Verify one receipt; print what was found; return the exit code.

    Args:
        file: The envelope; `-` reads standard input. One line end behind it is not part of it.
        trust_root: `trust-root.json`, from elsewhere than the broker that made the receipt.
        proof: A C2SP tlog-proof that the receipt is in the log; `-` reads standard input.
        request: Exact text of the request document.
        result: Exact text of the result document.
        witness_quorum: How many witnesses of the trust root must have cosigned the proof's
            checkpoint.
        output: `table` for people, `json` for programs.
        log: In the place of `proof`: a log's files (C2SP tlog-tiles), a folder or a URL, from which
            the proof is made.
        proof_out: A new file that gets that proof, whatever the verdict.
    """
    quorum = 0 if witness_quorum is None else witness_quorum
    if misuse := _misuse(proof, log, proof_out, witness_quorum):
        return _refuse(misuse)
    if output not in ("table", "json"):
        return _refuse(f"--output {output}: write table or json")
    try:
        # A byte more than a receipt may have, for the line end behind it.
        envelope = _read(file, limit=MAX_ENVELOPE_BYTES + 1)
        root_text = _read(trust_root, limit=MAX_TRUST_ROOT_BYTES)
        request_text, result_text = (
            None if path is None else _read(path) for path in (request, result)
        )
        proof_text = None if proof is None else _read_whole(proof, limit=MAX_PROOF_BYTES)
        if log is not None:
            proof_text = _prove(envelope, log, proof_out)
        root = open_trust_root(root_text)
    except _Unusable as error:
        return _refuse(str(error))
    except ReceiptInvalid as error:
        return _print(_invalid(error), output)
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}: name a file that can be read")
    verdict = verify_receipt(
        envelope,
        root,
        request=request_text,
        result=result_text,
        proof=proof_text,
        quorum=quorum,
    )
    return _print(verdict, output)


def _misuse(
    proof: str | Path | None,
    log: str | Path | None,
    proof_out: str | Path | None,
    witness_quorum: int | None,
) -> str:
    """Name the option that asks for what cannot be done; empty where none does.

    Never passed over: a reader who asks for a check must not take its absence for success.
    """
    if log is not None and proof is not None:
        return "--log makes the proof: leave --proof out"
    if proof_out is not None and log is None:
        return "--proof-out FILE: give the --log that the proof is made from"
    if witness_quorum is None:
        return ""
    if witness_quorum < 1 or (proof is None and log is None):
        return "--witness-quorum N: give a number from 1, with the --proof they cosigned"
    return ""


def _print(verdict: Verdict, output: str) -> int:
    sys.stdout.write(_as_json(verdict) if output == "json" else _as_text(verdict))
    return verdict.validity.value


class _Unusable(Exception):
    """A log that gives no proof, or a place that takes none; the text is the reader's."""


def _prove(envelope: bytes, log: str | Path, out: str | Path | None) -> bytes:
    """Make a proof from a log's files.

    Raises:
        ReceiptInvalid: They give none.
        _Unusable: The checkpoint cannot be read, or the file not written.
    """
    try:
        files = LogSite(str(log)) if "://" in str(log) else LogFolder(Path(log))
        made = prove_receipt(envelope, files)
    except OSError as error:
        raise _Unusable(f"--log {error.filename}: {error.strerror}: {_NO_LOG}") from error
    except ValueError as error:
        raise _Unusable(f"--log {log}: {error}") from error
    if out is not None:
        try:
            with Path(out).open("xb") as file:
                file.write(made)
        except OSError as error:
            raise _Unusable(f"--proof-out {out}: {error.strerror}: name a new file") from error
    return made


def _invalid(error: ReceiptInvalid) -> Verdict:
    return Verdict(
        validity=Validity.INVALID,
        step=error.step,
        message=error.description,
        predicate={},
        notes=(),
    )


def _read(path: str | Path, *, limit: int = _MAX_FILE_BYTES) -> bytes:
    """Read a file without the line end that an editor or a shell left behind it.

    None of these texts can end in one by itself, as all are canonical JSON.
    """
    return _read_whole(path, limit=limit).removesuffix(b"\n")


def _read_whole(path: str | Path, *, limit: int) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(limit + 1)
    with Path(path).open("rb") as file:
        return file.read(limit + 1)


def _refuse(message: str) -> int:
    sys.stderr.write(f"{visible(message)}\n")
    return USAGE


def _facts(verdict: Verdict) -> JsonObject:
    """Pick what a reader wants to see first, of a receipt that somebody vouches for."""
    if not verdict.predicate:
        return {}
    identity, outcome = verdict.predicate["identity"], verdict.predicate["outcome"]
    return {
        **(identity if isinstance(identity, dict) else {}),
        **(outcome if isinstance(outcome, dict) else {}),
        "key_id": verdict.predicate["key_id"],
        "development": verdict.predicate["development"],
    }


def _place(logged: Logged | None) -> JsonObject | None:
    """Say where in which log a receipt was shown to be; 64-bit numbers as text."""
    if logged is None:
        return None
    return {
        "origin": logged.checkpoint.origin,
        "index": str(logged.index),
        "tree_size": str(logged.checkpoint.size),
        "witnesses": list(logged.witnesses),
    }


def _as_json(verdict: Verdict) -> str:
    found = {
        "verdict": verdict.validity.name.lower(),
        "step": verdict.step,
        "message": verdict.message,
        "in_log": verdict.logged is not None,
        "log": _place(verdict.logged),
        "notes": list(verdict.notes),
        "receipt": _facts(verdict) or None,
    }
    return json.dumps(found, indent=2) + "\n"


def _line(value: JsonValue) -> str:
    return visible(", ".join(map(str, value)) or "-" if isinstance(value, list) else str(value))


def _as_text(verdict: Verdict) -> str:
    step = f" at step {verdict.step}" if verdict.step else ""
    lines = [f"{verdict.validity.name}{step}: {visible(verdict.message)}"]
    lines += [f"  {name}: {visible(str(value))}" for name, value in _facts(verdict).items()]
    lines += [
        f"  log_{name}: {_line(value)}" for name, value in (_place(verdict.logged) or {}).items()
    ]
    lines += [f"  note: {note}" for note in verdict.notes]
    return "".join(f"{line}\n" for line in lines)
