"""Uploads, where the store fails, the client leaves, or time passes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from broker.core.ids import sha256_hex
from broker.core.lifecycle import CallState
from broker.core.order import Wish
from broker.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from broker.ports import PIECE_BYTES
from broker.uploads import Upload, Uploads
from tests.ports.memory_store import Fault
from tests.story.fake_policy import HOLD
from tests.story.stage import AGENT, FILES, Stage

WISH = Wish(
    tool="",
    arguments_json="",
    request_id="",
    session_id="",
    parent_call="",
    purpose="",
    timeout_s=None,
)
DATA = bytes(range(256)) * (2 * PIECE_BYTES // 256) + b"rest"
SHA256 = sha256_hex(DATA)
ANY = Upload(path="f", size_bytes=None, sha256="")
# Begin, two more pieces, keep.
WRITES = range(1, 5)


async def chunks(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Stream a file."""
    for part in parts:
        yield part


def cut(data: bytes) -> list[bytes]:
    """Cut a file as a client might."""
    return [data[start : start + 100_000] for start in range(0, len(data), 100_000)]


async def take(stage: Stage, data: bytes = DATA, upload: Upload = ANY) -> Wish:
    """Upload a file to the broker that lives now."""
    return await Uploads(stage.life.world).take(AGENT, WISH, upload, chunks(cut(data)))


class TestFailingStore:
    @pytest.mark.parametrize("write", WRITES)
    async def test_before(self, write: int) -> None:
        """Where a write fails the upload is refused to be tried again; nothing of it is left."""
        stage = Stage()
        await stage.start()
        stage.disk.faults[stage.disk.writes + write] = Fault.BEFORE
        with pytest.raises(Unavailable):
            await take(stage)
        await stage.settle()
        assert (stage.disk.staged, stage.disk.files) == ({}, {})
        assert (await take(stage)).tool == "workspace_write"

    @pytest.mark.parametrize("write", WRITES)
    async def test_after(self, write: int) -> None:
        """Where the answer to a write is lost, no half is ever a file; the next life has none."""
        stage = Stage()
        await stage.start()
        stage.disk.faults[stage.disk.writes + write] = Fault.AFTER
        with pytest.raises(Unavailable):
            await take(stage)
        await stage.settle()
        assert list(stage.disk.files.values()) == ([DATA] if write == WRITES[-1] else [])
        await stage.restart()
        assert stage.disk.staged == {}


class TestLeaving:
    async def test_at_any_moment(self) -> None:
        """A client that leaves at any moment leaves nothing that is still being staged."""
        stage = Stage()
        await stage.start()
        turns = 0
        while True:
            upload = asyncio.create_task(take(stage))
            for _ in range(turns):
                await asyncio.sleep(0)
            if upload.done():
                break
            upload.cancel()
            await asyncio.wait([upload])
            await stage.settle()
            assert stage.disk.staged == {}
            # Kept in the very moment of leaving it is whole, and expires like any upload.
            assert set(stage.disk.files.values()) <= {DATA}
            stage.disk.files.clear()
            turns += 1
        assert turns > len(WRITES)
        assert list(stage.disk.files.values()) == [DATA]


class TestTime:
    async def test_what_no_call_names_goes(self) -> None:
        """An upload can be named until its time is over, and is removed some minutes later."""
        stage = Stage()
        await stage.start()
        wish = await take(stage)
        await stage.pass_time(FILES.keep_uploads.total_seconds())
        assert list(stage.disk.files.values()) == [DATA]
        with pytest.raises(NotFound):
            await stage.life.executor.admit(AGENT, wish)
        await stage.pass_time(660)
        assert stage.disk.files == {}

    async def test_what_a_held_call_names_stays(self) -> None:
        """An upload outlives its time while a call that names it is held."""
        stage = Stage()
        stage.policy.rules["workspace_write"] = HOLD
        await stage.start()
        wish = await take(stage)
        call = (await stage.life.executor.admit(AGENT, wish)).call
        assert [file.sha256 for file in call.inputs] == [SHA256]
        stage.clock.advance(FILES.keep_uploads * 2)
        await stage.life.world.store.drop_expired_files(stage.clock.now())
        assert list(stage.disk.files.values()) == [DATA]

    async def test_a_cancelled_call_keeps_nothing(self) -> None:
        """The twin: once that call is cancelled the upload goes."""
        stage = Stage()
        stage.policy.rules["workspace_write"] = HOLD
        await stage.start()
        call = (await stage.life.executor.admit(AGENT, await take(stage))).call
        cancelled = await stage.life.executor.cancel(call)
        assert cancelled.state is CallState.CANCELLED
        stage.clock.advance(FILES.keep_uploads * 2)
        await stage.life.world.store.drop_expired_files(stage.clock.now())
        assert stage.disk.files == {}


class TestBounds:
    @pytest.mark.parametrize("size_bytes", [None, FILES.upload_bytes + 1])
    async def test_too_large(self, size_bytes: int | None) -> None:
        """A file over the cap is refused, announced or not; nothing is left."""
        stage = Stage()
        await stage.start()
        upload = replace(ANY, size_bytes=size_bytes)
        with pytest.raises(InvalidArgument) as error:
            await take(stage, bytes(FILES.upload_bytes + 1), upload)
        await stage.settle()
        assert (error.value.reason, stage.disk.staged) == ("UPLOAD_TOO_LARGE", {})

    async def test_over_the_quota(self) -> None:
        """A file over the quota is refused; one that fits beside it is taken."""
        stage = Stage()
        await stage.start()
        await take(stage)
        with pytest.raises(ResourceExhausted) as error:
            await take(stage, bytes(FILES.agent_bytes - len(DATA) + 1))
        await stage.settle()
        assert (error.value.reason, stage.disk.staged) == ("QUOTA_SPENT", {})
        await take(stage, bytes(FILES.agent_bytes - len(DATA)))

    async def test_a_draining_broker_takes_none(self) -> None:
        """While draining no upload is begun."""
        stage = Stage()
        life = await stage.start()
        life.world.gate.draining = True
        with pytest.raises(Unavailable) as error:
            await take(stage)
        assert (error.value.reason, stage.disk.staged) == ("DRAINING", {})
