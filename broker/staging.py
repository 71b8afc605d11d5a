"""Write a file into the store piece by piece, so that no other commit waits for all of it."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime

from broker.core.ids import AgentId, Sha256
from broker.errors import StoreError
from broker.ports import PIECE_BYTES, File, StagedFile, Store, Telemetry
from broker.tasks import Tasks

_INLINE_BYTES = 1024 * 1024


class Staging:
    """One file on its way into the store. It buffers less than a piece besides what it is given.

    Whoever adds may be cancelled at any wait: `drop` removes what was written all the same.
    """

    def __init__(self, store: Store, agent: AgentId, tasks: Tasks) -> None:
        self._store = store
        self._agent = agent
        self._tasks = tasks
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._staged: StagedFile | None = None
        self._writing = asyncio.Lock()
        self._is_over = False

    @property
    def sha256(self) -> Sha256:
        """Digest of what was added so far."""
        return Sha256(self._digest.hexdigest())

    async def add(self, data: bytes) -> None:
        """Take the next bytes of the file; returns when whole pieces of it are written."""
        self._digest.update(data)
        self._buffer += data
        while len(self._buffer) >= PIECE_BYTES:
            piece = bytes(self._buffer[:PIECE_BYTES])
            del self._buffer[:PIECE_BYTES]
            await self._tasks.detached(self._write(piece))

    async def keep(self, *, expires_at: datetime | None, most_bytes: int) -> None:
        """Make it one of its agent's files, under its digest.

        Raises:
            QuotaSpent: The agent would keep more than it may.
        """
        if self._buffer or self._staged is None:
            await self._tasks.detached(self._write(bytes(self._buffer)))
            self._buffer.clear()
        await self._tasks.detached(self._keep(expires_at, most_bytes))

    async def drop(self) -> None:
        """Remove what was written, unless it was kept. Once what is being written is there."""
        async with self._writing:
            if self._staged is not None and not self._is_over:
                await self._store.drop_file(self._staged)
            self._is_over = True

    async def _write(self, piece: bytes) -> None:
        # Detached, so that the name of what was begun is known even if nobody waits any more.
        async with self._writing:
            if self._is_over:
                return
            if self._staged is None:
                self._staged = await self._store.begin_file(self._agent, piece)
            else:
                await self._store.extend_file(self._staged, piece)

    async def _keep(self, expires_at: datetime | None, most_bytes: int) -> None:
        async with self._writing:
            if self._staged is None or self._is_over:
                return
            await self._store.keep_file(
                self._staged, sha256=self.sha256, expires_at=expires_at, most_bytes=most_bytes
            )
            self._is_over = True


async def drop_quietly(staging: Staging, telemetry: Telemetry) -> None:
    """Drop a staging that nobody waits for; what the store cannot remove goes at its next start."""
    try:
        await staging.drop()
    except StoreError as error:
        telemetry.alarm("a broken upload could not be removed", error)


async def stage_large(
    store: Store,
    agent: AgentId,
    files: Sequence[File],
    *,
    now: datetime,
    expires_at: datetime,
    most_bytes: int,
) -> None:
    """Write a run's files ahead of the commit that ends it, all but the first MiB of small ones.

    Until that commit names them they expire as uploads do. What is there already, such as the
    upload that the run wrote into its workspace, is left to that commit.

    Raises:
        QuotaSpent: The agent would keep more than it may.
    """
    inline_bytes, tasks = _INLINE_BYTES, Tasks()
    for file in files:
        if len(file.data) <= min(inline_bytes, PIECE_BYTES):
            inline_bytes -= len(file.data)
            continue
        if await store.file_size(agent, file.sha256, now) is not None:
            continue
        staging = Staging(store, agent, tasks)
        try:
            for start in range(0, len(file.data), PIECE_BYTES):
                await staging.add(file.data[start : start + PIECE_BYTES])
            await staging.keep(expires_at=expires_at, most_bytes=most_bytes)
        finally:
            await staging.drop()
