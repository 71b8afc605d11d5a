"""Give out the bytes that a call's result names."""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from broker.answer import Answer
from broker.core.canonical import JsonObject, JsonValue
from broker.core.ids import AgentId, Sha256, sha256_hex
from broker.core.lifecycle import CallState
from broker.errors import StoreUnavailable
from broker.ports import PIECE_BYTES, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file that a tool gave back, not read yet."""

    size_bytes: int
    sha256: Sha256
    pieces: AsyncIterator[bytes]


def content_of(store: Store, answer: Answer) -> Content | None:
    """Find what a call that reads one file gave back: the file that it left, else its output.

    None where the call did not succeed, or its file did not come back whole.
    """
    result = answer.result
    if answer.call.state is not CallState.SUCCEEDED or result is None:
        return None
    outputs = result.get("outputs")
    if isinstance(outputs, list) and outputs:
        return _of_file(store, answer.call.agent, outputs[0])
    # A file that was left behind on collection must not pass for an empty one.
    return None if result.get("limits_hit") else _of_output(result)


def _of_file(store: Store, agent: AgentId, output: Mapping[str, JsonValue]) -> Content:
    sha256 = Sha256(str(output["sha256"]))
    return Content(
        size_bytes=int(str(output["size_bytes"])),
        sha256=sha256,
        pieces=_pieces(store, agent, sha256),
    )


async def _pieces(store: Store, agent: AgentId, sha256: Sha256) -> AsyncIterator[bytes]:
    digest, number = hashlib.sha256(), 0
    while (piece := await store.file_piece(agent, sha256, number)) is not None:
        digest.update(piece)
        number += 1
        if piece:
            yield piece
    if digest.hexdigest() != sha256:
        # Told by an error at the end: what came until then is not the file.
        raise StoreUnavailable("the file was erased, or is not the one that was kept")


def _of_output(result: JsonObject) -> Content | None:
    stdout = result.get("stdout")
    if not isinstance(stdout, Mapping) or stdout.get("truncated"):
        return None
    text, encoded = stdout.get("text"), stdout.get("base64")
    data = text.encode() if isinstance(text, str) else base64.b64decode(str(encoded or ""))
    return Content(size_bytes=len(data), sha256=sha256_hex(data), pieces=_cut(data))


async def _cut(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
