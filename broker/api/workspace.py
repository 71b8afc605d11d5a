"""Serve the agents' API for files."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeAlias

from broker.answer import Answer
from broker.api.calling import Calling
from broker.api.edge import Context
from broker.api.identity import caller
from broker.api.inflow import in_time, not_broken_off
from broker.api.wire import call_message, page_size, seconds
from broker.core.identity import Identity
from broker.core.ids import CallId, is_call_id
from broker.core.lifecycle import CallState
from broker.core.order import Wish
from broker.errors import InvalidArgument
from broker.fetch import content_of
from broker.read import Reader
from broker.uploads import Upload, Uploads
from broker.v1 import workspace_pb2, workspace_pb2_grpc
from broker.world import FileLimits

_READ, _LIST = "workspace_read", "workspace_list"

_Request: TypeAlias = (
    workspace_pb2.PutFileHead | workspace_pb2.GetFileRequest | workspace_pb2.ListFilesRequest
)


class WorkspaceService(workspace_pb2_grpc.WorkspaceServiceServicer):
    """Bring files in and out; each request is a call like any other."""

    def __init__(
        self, calling: Calling, reader: Reader, uploads: Uploads, limits: FileLimits
    ) -> None:
        self._calling = calling
        self._reader = reader
        self._uploads = uploads
        self._limits = limits

    async def PutFile(  # noqa: N802
        self, request_iterator: AsyncIterator[workspace_pb2.PutFileRequest], context: Context
    ) -> workspace_pb2.PutFileResponse:
        """Stage the bytes, then call the tool that writes them."""
        limits = self._limits
        parts = in_time(
            aiter(request_iterator), idle_s=limits.upload_idle_s, within_s=limits.upload_within_s
        )
        head = await _head(parts)
        upload = Upload(
            path=head.path,
            size_bytes=head.size_bytes if head.HasField("size_bytes") else None,
            sha256=head.sha256,
        )
        hold_wait_s = seconds("head.hold_wait", head.hold_wait)
        chunks = _chunks(parts, is_announced=upload.is_announced)
        wish = await self._uploads.take(caller(), _wish(head, "", {}), upload, chunks)
        answer = await self._calling.call(caller(), wish, hold_wait_s)
        return workspace_pb2.PutFileResponse(call=call_message(answer))

    async def GetFile(  # noqa: N802
        self, request: workspace_pb2.GetFileRequest, context: Context
    ) -> AsyncIterator[workspace_pb2.GetFileResponse]:
        """Call the tool that reads, then give the bytes of its result."""
        answer = await self._call(request, _READ, {"path": request.path})
        content = content_of(self._reader.store, answer)
        head = workspace_pb2.GetFileHead(
            call=call_message(answer),
            has_content=content is not None,
            size_bytes=content.size_bytes if content else 0,
            sha256=content.sha256 if content else "",
        )
        yield workspace_pb2.GetFileResponse(head=head)
        if content is not None:
            async for piece in self._reader.turns.each(caller().id, content.pieces):
                yield workspace_pb2.GetFileResponse(chunk=piece)

    async def ListFiles(  # noqa: N802
        self, request: workspace_pb2.ListFilesRequest, context: Context
    ) -> workspace_pb2.ListFilesResponse:
        """Call the tool that lists, then give its list in pages."""
        size = page_size(request.page_size)
        if request.page_token:
            answer, start = await self._listed(caller(), request.page_token)
        else:
            arguments = {"path": request.path} if request.path else {}
            answer, start = await self._call(request, _LIST, arguments), 0
        words = request.filter.lower().split()
        files = [
            file for file in _files(answer) if all(each in file.path.lower() for each in words)
        ]
        end = start + size
        token = f"{answer.call.id}.{end}" if end < len(files) else ""
        return workspace_pb2.ListFilesResponse(
            call=call_message(answer), files=files[start:end], next_page_token=token
        )

    async def _call(self, request: _Request, tool: str, arguments: Mapping[str, str]) -> Answer:
        wish = _wish(request, tool, arguments)
        return await self._calling.call(caller(), wish, seconds("hold_wait", request.hold_wait))

    async def _listed(self, reader: Identity, token: str) -> tuple[Answer, int]:
        """Find the list that a page token goes on with, and where."""
        call_id, _, start = token.partition(".")
        if not (is_call_id(call_id) and start.isascii() and start.isdigit() and len(start) < 10):
            raise InvalidArgument("page_token", "send the token of the answer before")
        call = await self._reader.find(reader, CallId(call_id))
        if call.agent != reader.id or call.tool != _LIST:
            raise InvalidArgument("page_token", "send the token of the answer before")
        async with self._reader.turns.of(reader.id):
            return await self._reader.answer(call), int(start)


def _wish(request: _Request, tool: str, arguments: Mapping[str, str]) -> Wish:
    timeout = seconds("timeout", request.timeout) if request.HasField("timeout") else None
    return Wish(
        tool=tool,
        arguments_json=json.dumps(arguments),
        request_id=request.request_id,
        session_id=request.session_id,
        parent_call=request.parent_call,
        purpose=request.purpose,
        timeout_s=timeout,
    )


async def _head(
    parts: AsyncIterator[workspace_pb2.PutFileRequest],
) -> workspace_pb2.PutFileHead:
    first = await anext(parts, None)
    if first is None or first.WhichOneof("part") != "head":
        raise InvalidArgument("head", "send it as the first message, ahead of the file's bytes")
    return first.head


async def _chunks(
    parts: AsyncIterator[workspace_pb2.PutFileRequest], *, is_announced: bool
) -> AsyncIterator[bytes]:
    async for part in parts:
        if part.WhichOneof("part") != "chunk":
            raise InvalidArgument("chunk", "send the file's bytes after the head, nothing else")
        yield part.chunk
    if not is_announced:
        await not_broken_off()


def _files(answer: Answer) -> Sequence[workspace_pb2.WorkspaceFile]:
    """Read the list that the tool printed; what is no list is none."""
    stdout = answer.result.get("stdout") if answer.result else None
    if answer.call.state is not CallState.SUCCEEDED or not isinstance(stdout, Mapping):
        return ()
    try:
        listing = json.loads(str(stdout.get("text")))["files"]
        return [
            workspace_pb2.WorkspaceFile(
                path=file["path"], size_bytes=file["size"], sha256=file["sha256"]
            )
            for file in listing
        ]
    except (ValueError, KeyError, TypeError):
        # The tool's word; a tool of the operator's own may say something else.
        return ()
