"""Tell what the entries of a log say, in their order, without verifying any."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.cli.documents import Plain
from broker.core.canonical import JsonObject, JsonValue
from broker.core.checkpoint import read_checkpoint
from broker.core.dsse import IN_TOTO, read_envelope
from broker.core.log_leaf import PAYLOAD_TYPES, LeafKind
from broker.core.signed_note import read_note
from broker.errors import ConfigurationError, ReceiptInvalid
from broker.verify.log_folder import LogFolder, TileRun

_KINDS = {IN_TOTO: LeafKind.RECEIPT} | {name: kind for kind, name in PAYLOAD_TYPES.items()}
_PREFIX = "calls/"
_FIELDS = ("verdict", "role", "key_id", "revision", "bundle", "scope", "agent", "previous_origin")
"""What is told of an entry that is neither receipt nor intent; the whole one has its digests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One entry, in short.

    Args:
        at: When what it says happened, RFC 3339.
        call: The call's name; empty where it is of none.
        said: What happened, in words of the entry.
    """

    index: int
    at: str
    kind: LeafKind
    call: str
    said: str

    def plain(self) -> dict[str, Plain]:
        """Give it for JSON."""
        return {
            "index": str(self.index),
            "at": self.at,
            "kind": self.kind.value,
            "call": self.call,
            "said": self.said,
        }


def timeline(folder: Path, *, call: str | None, after: int) -> Iterator[Told]:
    """Tell of the entries of a log's folder, but for batches, which say nothing by themselves.

    Args:
        call: Of this call alone: its name, or the ULID in it.
        after: Only entries from this index on.

    Raises:
        ConfigurationError: The folder is no log's, or an entry is none of a broker's.
    """
    wanted = None if call is None else call.removeprefix(_PREFIX)
    log = LogFolder(folder)
    try:
        size = read_checkpoint(read_note(log.checkpoint()).text).size
        for index, entry in enumerate(TileRun(log.tile, None, size, after), start=after):
            told = _told(folder, index, entry)
            if told.kind is LeafKind.BATCH:
                continue
            if wanted is None or told.call.removeprefix(_PREFIX) == wanted:
                yield told
    except OSError as error:
        raise ConfigurationError(
            str(error.filename), None, f"{error.strerror}: name a log's folder"
        ) from error
    except ReceiptInvalid as error:
        raise ConfigurationError(
            str(folder), None, f"{error}: `toolwarrant audit verify` it"
        ) from error


def _told(folder: Path, index: int, entry: bytes) -> Told:
    try:
        wrapped = read_envelope(entry)
        return _read(index, _KINDS[wrapped.payload_type], json.loads(wrapped.payload))
    except ReceiptInvalid as error:
        cause: Exception = error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        cause = error
    raise ConfigurationError(
        str(folder), None, f"entry {index} is none of a broker's: `toolwarrant audit verify` it"
    ) from cause


def _read(index: int, kind: LeafKind, payload: JsonValue) -> Told:
    whole = _object(payload)
    if kind is LeafKind.RECEIPT:
        predicate = _object(whole["predicate"])
        return Told(
            index=index,
            at=str(_object(predicate["times"])["ended_at"]),
            kind=kind,
            call=str(_object(predicate["identity"])["call"]),
            said=_of_receipt(predicate),
        )
    body = _object(whole[kind.value])
    return Told(
        index=index,
        at=str(whole["at"]),
        kind=kind,
        call=str(body.get("call") or ""),
        said=_of_leaf(kind, whole, body),
    )


def _of_receipt(predicate: JsonObject) -> str:
    outcome, request = _object(predicate["outcome"]), _object(predicate["request"])
    facts = (outcome["state"], outcome["cause"], outcome["rule"], _tool(request["tool"]))
    return " ".join(str(fact) for fact in facts if fact)


def _of_leaf(kind: LeafKind, whole: JsonObject, body: JsonObject) -> str:
    if kind is LeafKind.BATCH:
        return ""
    if kind is LeafKind.INTENT:
        return f"begins {_tool(body['tool'])}"
    facts = (_object(whole["event"])["type"], *(body.get(field) for field in _FIELDS))
    return " ".join(str(fact) for fact in facts if fact)


def _tool(tool: JsonValue) -> str:
    if tool is None:
        return ""
    named = _object(tool)
    return f"{named['name']}@{named['version']}"


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, Mapping):
        raise TypeError("no object")
    return value
