"""Take in the files that agents upload."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.core.identity import Identity
from broker.core.ids import AgentId, Sha256
from broker.core.order import DEFAULT_SESSION, Wish
from broker.errors import (
    InvalidArgument,
    QuotaSpent,
    ResourceExhausted,
    StoreUnavailable,
    Unavailable,
)
from broker.intake import take_in
from broker.sessions import UPLOADS
from broker.staging import Staging, drop_quietly
from broker.tasks import Tasks
from broker.world import World

TOOL = "workspace_write"
_CHUNK_BYTES = 1024 * 1024
_ANY_FILE = "0" * 64
_FULL_RETRY_S = 60.0
# An upload that is there already must outlive the call that will name it.
_LEFT_TO_NAME_IT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is said of a file before its bytes.

    Args:
        path: Where in the workspace it shall stand.
        size_bytes: None: as much as comes.
        sha256: Empty: as it comes out; the agent's own file with this digest is not read again.
    """

    path: str
    size_bytes: int | None
    sha256: str

    @property
    def is_announced(self) -> bool:
        """Tell whether half of it could not be taken for all of it."""
        return self.size_bytes is not None or self.sha256 != ""


class Uploads:
    """Stage uploads within each agent's bounds. Used from one event loop.

    What is staged is not in any workspace: the call that `wish_to_write` makes puts it there, or
    policy refuses that.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._files = world.settings.files
        self._at_once: Counter[AgentId] = Counter()
        self._coming_bytes: Counter[AgentId] = Counter()
        self._tasks = Tasks()

    async def take(
        self, caller: Identity, wish: Wish, upload: Upload, chunks: AsyncIterator[bytes]
    ) -> Wish:
        """Stage a file; give the wish for the call that writes it into the workspace.

        Args:
            wish: The agent's, as yet without tool and arguments.
            chunks: The file; waited for as long as they take.

        Raises:
            ResourceExhausted: Over a rate, a limit or the quota; nothing was stored.
            InvalidArgument: The wish is malformed, or the file is not as announced.
            Unavailable: The broker takes no calls now.
        """
        self._check(caller, wish, upload)
        try:
            if await self._is_recorded(caller.id, wish):
                # The call's own record says whether this is the same file.
                sha256 = Sha256(upload.sha256) if upload.sha256 else None
            else:
                self._world.gate.check()
                self._check_quotas(caller, wish)
                sha256 = await self._known(caller.id, upload)
            if sha256 is None:
                with self._place(caller.id):
                    sha256 = await self._stage(caller.id, upload, chunks)
        except StoreUnavailable as error:
            raise Unavailable(f"the store takes no files now: {error.message}") from error
        return wish_to_write(wish, upload.path, sha256)

    def _check(self, caller: Identity, wish: Wish, upload: Upload) -> None:
        """Refuse, before a byte is read, what would be refused afterwards."""
        take_in(self._world, caller, wish_to_write(wish, upload.path, upload.sha256 or _ANY_FILE))
        _check_digest(upload.sha256)
        if upload.size_bytes is not None:
            self._check_size(upload, upload.size_bytes)

    def _check_quotas(self, caller: Identity, wish: Wish) -> None:
        admission, session_id = self._world.admission, wish.session_id or DEFAULT_SESSION
        admission.check_open(caller.id)
        admission.open_session(caller.id, session_id, TOOL, self._world.clock.now())

    async def _is_recorded(self, agent: AgentId, wish: Wish) -> bool:
        """Tell whether the request is made already: a retry starts nothing new."""
        request_id = wish.request_id
        return bool(request_id and await self._world.store.find_by_request_id(agent, request_id))

    @contextmanager
    def _place(self, agent: AgentId) -> Iterator[None]:
        most = self._files.uploads
        if self._at_once[agent] >= most:
            raise ResourceExhausted(
                f"{most} uploads of this agent are under way: wait for one to end",
                subject="agent:uploads",
                retry_after_s=1.0,
                reason="TOO_MANY_UPLOADS",
            )
        self._at_once[agent] += 1
        try:
            yield
        finally:
            self._at_once[agent] -= 1

    async def _known(self, agent: AgentId, upload: Upload) -> Sha256 | None:
        """Find a file that needs no second sending: a retry costs neither bytes nor quota."""
        if not upload.sha256:
            return None
        sha256 = Sha256(upload.sha256)
        until = self._world.clock.now() + _LEFT_TO_NAME_IT
        size_bytes = await self._world.store.file_size(agent, sha256, until)
        if size_bytes is None or upload.size_bytes not in (None, size_bytes):
            return None
        return sha256

    async def _stage(self, agent: AgentId, upload: Upload, chunks: AsyncIterator[bytes]) -> Sha256:
        world = self._world
        kept_bytes = await world.store.file_bytes(agent)
        staging = Staging(world.store, agent, self._tasks)
        reserved_bytes = 0
        try:
            reserved_bytes = self._reserve(agent, kept_bytes, upload.size_bytes or 0)
            size_bytes = 0
            async for chunk in chunks:
                size_bytes += len(chunk)
                self._check_chunk(upload, chunk, size_bytes)
                more_bytes = max(0, size_bytes - reserved_bytes)
                reserved_bytes += self._reserve(agent, kept_bytes, more_bytes)
                await staging.add(chunk)
            _check_whole(upload, size_bytes, staging.sha256)
            await staging.keep(
                expires_at=world.clock.now() + self._files.keep_uploads,
                most_bytes=self._files.agent_bytes,
            )
        except QuotaSpent as error:
            raise self._full() from error
        finally:
            self._coming_bytes[agent] -= reserved_bytes
            self._tasks.start(drop_quietly(staging, world.telemetry))
        return staging.sha256

    def _reserve(self, agent: AgentId, kept_bytes: int, more_bytes: int) -> int:
        """Count bytes that are on their way, so that parallel uploads see each other."""
        if kept_bytes + self._coming_bytes[agent] + more_bytes > self._files.agent_bytes:
            raise self._full()
        self._coming_bytes[agent] += more_bytes
        return more_bytes

    def _check_chunk(self, upload: Upload, chunk: bytes, size_bytes: int) -> None:
        if len(chunk) > _CHUNK_BYTES:
            raise InvalidArgument("chunk", f"send at most {_CHUNK_BYTES} bytes in one message")
        self._check_size(upload, size_bytes)

    def _check_size(self, upload: Upload, size_bytes: int) -> None:
        most = self._files.upload_bytes
        field = "chunk" if upload.size_bytes is None else "head.size_bytes"
        if size_bytes < 0:
            raise InvalidArgument(field, "send the size of the file, 0 or more, or leave it out")
        if size_bytes > most:
            raise InvalidArgument(
                field,
                f"a file has at most {most} bytes: send it in parts, or ask the operator",
                reason="UPLOAD_TOO_LARGE",
            )
        if upload.size_bytes is not None and size_bytes > upload.size_bytes:
            raise InvalidArgument(field, "more bytes came than this: send it again, whole")

    def _full(self) -> ResourceExhausted:
        return ResourceExhausted(
            f"this agent may keep {self._files.agent_bytes} bytes of files, each content counted "
            "once, and would keep more: let uploads expire that no call took, or ask the operator",
            subject="agent:file_bytes",
            retry_after_s=_FULL_RETRY_S,
            reason="QUOTA_SPENT",
        )


def wish_to_write(wish: Wish, path: str, sha256: str) -> Wish:
    """Give the wish for the call that writes an upload into the workspace."""
    arguments = {"path": path, "from_output": f"{UPLOADS}/{sha256}"}
    return replace(wish, tool=TOOL, arguments_json=json.dumps(arguments))


def _check_digest(sha256: str) -> None:
    if sha256 and (len(sha256) != len(_ANY_FILE) or set(sha256) - set("0123456789abcdef")):
        raise InvalidArgument("head.sha256", "send 64 lower-case hexadecimal digits, or nothing")


def _check_whole(upload: Upload, size_bytes: int, sha256: Sha256) -> None:
    if upload.size_bytes not in (None, size_bytes):
        raise InvalidArgument("head.size_bytes", f"{size_bytes} bytes came: send all, or the size")
    if upload.sha256 not in ("", sha256):
        raise InvalidArgument(
            "head.sha256", "the bytes that came have another digest: send it again"
        )
