"""Verify the chain of a whole export."""

import json
from collections.abc import Iterator
from pathlib import Path

from broker.cli.documents import Plain
from broker.cli.terminal import document, say
from broker.core.dsse import MAX_ENVELOPE_BYTES
from broker.core.visible import visible
from broker.errors import ConfigurationError
from broker.verify.chain import verify_chain
from broker.verify.plain_file import read_file
from broker.verify.trust_root import open_trust_root
from broker.verify.verdict import Validity


def verify_export(target: Path, trust_root: Path, *, as_json: bool) -> int:
    """Verify every receipt of an export and that none is missing; print what was found.

    Args:
        target: A folder or a `.jsonl` file, as `receipts export` writes it from the first on, with
            `--out` or without.

    Returns:
        The exit code: 0 unbroken, 1 broken, 3 indeterminate.

    Raises:
        ConfigurationError: A file cannot be read.
        ReceiptInvalid: The trust root is none.
    """
    try:
        root = open_trust_root(trust_root.read_bytes())
        verdict = verify_chain(envelopes(target), root)
    except OSError as error:
        raise ConfigurationError(
            str(error.filename), None, f"cannot be read: {error.strerror}"
        ) from error
    if as_json:
        found: dict[str, Plain] = {
            "verdict": verdict.validity.name.lower(),
            "message": verdict.message,
            "entries": verdict.entries,
            "broken_at": verdict.broken_at,
            "installation": verdict.installation,
            "head": verdict.head,
        }
        document(found)
    else:
        say(visible(f"{verdict.validity.name}: {verdict.message}"))
        say(visible(f"  installation: {verdict.installation}"))
        if verdict.validity is Validity.VALID:
            say(visible(f"  head: {verdict.head} (keep it: a later export must go through it)"))
    return verdict.validity.value


def envelopes(target: Path) -> Iterator[bytes]:
    """Read the envelopes of an export, in order.

    Raises:
        ConfigurationError: A line is none of an export.
        OSError: A file cannot be read.
    """
    if target.is_dir():
        # What `receipts export --out` writes has other JSON beside the folder of receipts.
        folder = target / "receipts" if (target / "receipts").is_dir() else target
        for file in sorted(folder.glob("*.json")):
            yield read_file(file, MAX_ENVELOPE_BYTES)
        return
    # Bytes: a line that is no text must be told by its number as well.
    with target.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield str(json.loads(line)["receipt"]).encode()
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ConfigurationError(
                    str(target), number, "is no line of `receipts export`"
                ) from error
