"""Carry files to a broker's workspaces and back."""

import hashlib
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import grpc

from broker.client_attempts import Attempts
from broker.client_errors import ClientError
from broker.v1 import call_pb2, workspace_pb2, workspace_pb2_grpc

_CHUNK_BYTES = 256 * 1024
# The queue, the longest usual run, then the bytes themselves. Later the RPC is given up, never the
# call.
_PATIENCE_S = 1_260.0
_PAGE = 200

Source = Path | bytes | BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What became of a request for a file.

    Args:
        call: The call of `workspace_read`; its state says why there is no file.
        data: The file; None where it was written elsewhere, or did not come.
        has_content: Whether the file came.
    """

    call: call_pb2.Call
    data: bytes | None
    has_content: bool
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of a workspace, with the call that listed them; none unless it succeeded."""

    call: call_pb2.Call
    files: tuple[workspace_pb2.WorkspaceFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What every request says of itself; each attempt says the same, so they are one call."""

    request_id: str
    session_id: str
    purpose: str
    parent_call: str
    hold_wait_s: float

    @classmethod
    def of(
        cls, request_id: str | None, session: str, purpose: str, parent: str, hold_wait_s: float
    ) -> "Claim":
        """Fill in a fresh request_id where there is none."""
        return cls(
            request_id=request_id or uuid.uuid4().hex,
            session_id=session,
            purpose=purpose,
            parent_call=parent,
            hold_wait_s=hold_wait_s,
        )


class WorkspaceFiles:
    """The requests for files of one identity. Thread-safe."""

    def __init__(self, channel: grpc.Channel, attempts: Attempts) -> None:
        self._attempts = attempts
        self._stub = workspace_pb2_grpc.WorkspaceServiceStub(channel)

    def put(self, path: str, source: Source, claim: Claim) -> call_pb2.Call:
        """Upload a file; what the broker keeps already is not sent again."""
        with _reading(source) as (read, size_bytes, sha256):
            head = workspace_pb2.PutFileHead(path=path, size_bytes=size_bytes, sha256=sha256)
            _fill(head, claim)

            def attempt() -> call_pb2.Call:
                parts = _parts(head, read)
                return self._stub.PutFile(parts, timeout=_PATIENCE_S + claim.hold_wait_s).call

            return self._attempts.again(attempt)

    def fetch(self, path: str, into: BinaryIO | None, claim: Claim) -> Download:
        """Download a file, checked against the digest that its head names."""
        request = workspace_pb2.GetFileRequest(path=path)
        _fill(request, claim)
        target = into or io.BytesIO()
        start = target.tell() if target.seekable() else None

        def attempt() -> Download:
            if start is not None:
                target.seek(start)
                target.truncate()
            answers = self._stub.GetFile(request, timeout=_PATIENCE_S + claim.hold_wait_s)
            return _received(answers, target)

        # What cannot be taken back is not asked for twice.
        found = self._attempts.again(attempt, times=1 if start is None else None)
        if into is not None or not found.has_content:
            return found
        target.seek(0)
        return Download(
            call=found.call,
            data=target.read(),
            has_content=True,
            size_bytes=found.size_bytes,
            sha256=found.sha256,
        )

    def files(self, path: str, claim: Claim) -> Listing:
        """List files, all pages of one call's list."""
        found: list[workspace_pb2.WorkspaceFile] = []
        token = ""
        while True:
            request = workspace_pb2.ListFilesRequest(path=path, page_size=_PAGE, page_token=token)
            _fill(request, claim)
            answer = self._attempts.repeated(
                self._stub.ListFiles, request, _PATIENCE_S + claim.hold_wait_s
            )
            found += answer.files
            token = answer.next_page_token
            if not token:
                return Listing(call=answer.call, files=tuple(found))


def _fill(
    request: (
        workspace_pb2.PutFileHead | workspace_pb2.GetFileRequest | workspace_pb2.ListFilesRequest
    ),
    claim: Claim,
) -> None:
    request.session_id = claim.session_id
    request.request_id = claim.request_id
    request.purpose = claim.purpose
    request.parent_call = claim.parent_call
    request.hold_wait.FromNanoseconds(round(claim.hold_wait_s * 1e9))


_Read = Callable[[int], bytes]


@contextmanager
def _reading(source: Source) -> Iterator[tuple[_Read, int, str]]:
    """Give a way to read a source from any place, its size, its digest.

    By place, since the threads of two attempts may read at the same time.
    """
    if isinstance(source, bytes):
        data = source
        yield (
            lambda at: data[at : at + _CHUNK_BYTES],
            len(data),
            hashlib.sha256(data).hexdigest(),
        )
        return
    with tempfile.TemporaryFile() as copy:
        if isinstance(source, Path):
            with source.open("rb") as file:
                yield _of_file(file)
        else:
            shutil.copyfileobj(source, copy)
            copy.flush()
            yield _of_file(copy)


def _of_file(file: BinaryIO | io.BufferedReader) -> tuple[_Read, int, str]:
    descriptor = file.fileno()
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return (
        lambda at: os.pread(descriptor, _CHUNK_BYTES, at),
        file.tell(),
        sha256,
    )


def _parts(head: workspace_pb2.PutFileHead, read: _Read) -> Iterator[workspace_pb2.PutFileRequest]:
    yield workspace_pb2.PutFileRequest(head=head)
    at = 0
    while chunk := read(at):
        yield workspace_pb2.PutFileRequest(chunk=chunk)
        at += len(chunk)


def _received(answers: Iterator[workspace_pb2.GetFileResponse], target: BinaryIO) -> Download:
    head: workspace_pb2.GetFileHead | None = None
    digest, size_bytes = hashlib.sha256(), 0
    for answer in answers:
        if answer.WhichOneof("part") == "head":
            head = answer.head
            continue
        digest.update(answer.chunk)
        size_bytes += len(answer.chunk)
        target.write(answer.chunk)
    is_whole = head is not None and (
        not head.has_content or (size_bytes, digest.hexdigest()) == (head.size_bytes, head.sha256)
    )
    if head is None or not is_whole:
        raise ClientError(
            grpc.StatusCode.DATA_LOSS,
            "FILE_DAMAGED",
            "what came is not the file that its head names: get it again",
        )
    return Download(
        call=head.call,
        data=None,
        has_content=head.has_content,
        size_bytes=head.size_bytes,
        sha256=head.sha256,
    )
