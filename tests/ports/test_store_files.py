"""Hold every store to what the port says of files."""

from datetime import timedelta

import pytest

from broker.core.call import InputFile
from broker.core.ids import AgentId, Sha256, sha256_hex
from broker.core.lifecycle import CallState, Step
from broker.errors import QuotaSpent
from broker.ports import PIECE_BYTES, File, StagedFile, Store
from tests.ports import samples
from tests.ports.samples import AGENT, AGENT2, START, first, following, new_call
from tests.ports.shelf import Shelf

LATER = START + timedelta(hours=1)
LONG = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"rest"
PLENTY = 1 << 40


def pieces(data: bytes) -> list[bytes]:
    """Cut a file as it is staged; an empty one has an empty piece."""
    return [data[start : start + PIECE_BYTES] for start in range(0, len(data) or 1, PIECE_BYTES)]


async def stage(store: Store, data: bytes, agent: AgentId = AGENT) -> StagedFile:
    """Stage all of a file."""
    begin, *rest = pieces(data)
    staged = await store.begin_file(agent, begin)
    for piece in rest:
        await store.extend_file(staged, piece)
    return staged


async def put(store: Store, data: bytes, **how: object) -> Sha256:
    """Stage a file and keep it."""
    sha256 = sha256_hex(data)
    fields = {"expires_at": LATER, "most_bytes": PLENTY} | how
    staged = await stage(store, data)
    await store.keep_file(staged, sha256=sha256, **fields)  # type: ignore[arg-type]
    return sha256


async def read(store: Store, sha256: Sha256) -> list[bytes]:
    """Read a file of the agent piece by piece."""
    found: list[bytes] = []
    while (piece := await store.file_piece(AGENT, sha256, len(found))) is not None:
        found.append(piece)
    return found


class TestStaging:
    @pytest.mark.parametrize("data", [b"", b"x", LONG[:PIECE_BYTES], LONG])
    async def test_reads_back(self, store: Store, data: bytes) -> None:
        """A file of no, one, or many pieces is read back whole and in the same pieces."""
        sha256 = await put(store, data)
        assert await store.file(AGENT, sha256) == data
        assert await read(store, sha256) == pieces(data)
        assert await store.file_size(AGENT, sha256, START) == len(data)
        assert await store.file_bytes(AGENT) == len(data)

    async def test_unseen_before_it_is_kept(self, store: Store) -> None:
        """What is being staged is no file yet, counts nothing, and can be dropped."""
        staged = await stage(store, LONG)
        sha256 = sha256_hex(LONG)
        assert await store.file(AGENT, sha256) is None
        assert await store.file_size(AGENT, sha256, START) is None
        assert await store.file_bytes(AGENT) == 0
        await store.drop_file(staged)
        await store.drop_file(staged)
        assert await store.file(AGENT, sha256) is None

    async def test_is_its_agents(self, store: Store) -> None:
        """A staged file is no other agent's, neither its bytes nor its size nor its count."""
        sha256 = await put(store, b"mine")
        assert await store.file(AGENT2, sha256) is None
        assert await store.file_piece(AGENT2, sha256, 0) is None
        assert await store.file_size(AGENT2, sha256, START) is None
        assert await store.file_bytes(AGENT2) == 0

    async def test_twice_counts_once(self, store: Store) -> None:
        """The same content again is the same file, counted once."""
        await put(store, LONG)
        await put(store, LONG, most_bytes=len(LONG))
        await store.commit(first(new_call(1), files=(File(sha256=sha256_hex(LONG), data=LONG),)))
        assert await store.file_bytes(AGENT) == len(LONG)

    async def test_of_a_change(self, store: Store) -> None:
        """A large file that a change carries has pieces as a staged one has."""
        sha256 = sha256_hex(LONG)
        await store.commit(first(new_call(1), files=(File(sha256=sha256, data=LONG),)))
        assert await read(store, sha256) == pieces(LONG)
        assert await store.file(AGENT, sha256) == LONG

    async def test_unfinished_is_gone_in_the_next_life(self, shelf: Shelf) -> None:
        """A file that was being staged when the broker ended is nowhere; kept ones still count."""
        store = await shelf.open()
        await stage(store, LONG)
        kept = await put(store, b"kept")
        await store.close()
        store = await shelf.open()
        assert await store.file_bytes(AGENT) == 4
        assert await store.file(AGENT, kept) == b"kept"
        assert await store.file(AGENT, sha256_hex(LONG)) is None
        await store.close()

    async def test_a_late_drop_hits_nobody(self, store: Store) -> None:
        """Dropping what is kept, or gone, harms neither it nor what is staged meanwhile."""
        kept = await stage(store, LONG)
        await store.keep_file(kept, sha256=sha256_hex(LONG), expires_at=LATER, most_bytes=PLENTY)
        gone = await stage(store, b"gone")
        await store.drop_file(gone)
        other = await stage(store, b"other")
        await store.drop_file(kept)
        await store.drop_file(gone)
        await store.keep_file(
            other, sha256=sha256_hex(b"other"), expires_at=LATER, most_bytes=PLENTY
        )
        assert await store.file(AGENT, sha256_hex(LONG)) == LONG
        assert await store.file(AGENT, sha256_hex(b"other")) == b"other"


class TestQuota:
    async def test_staged(self, store: Store) -> None:
        """A staged file that takes its agent over the quota is not kept; one that fits is."""
        await put(store, b"1234")
        staged = await stage(store, b"56789")
        with pytest.raises(QuotaSpent):
            await store.keep_file(
                staged, sha256=sha256_hex(b"56789"), expires_at=LATER, most_bytes=8
            )
        assert await store.file(AGENT, sha256_hex(b"56789")) is None
        assert await store.file_bytes(AGENT) == 4
        await store.keep_file(staged, sha256=sha256_hex(b"56789"), expires_at=LATER, most_bytes=9)
        assert await store.file_bytes(AGENT) == 9

    async def test_of_a_change(self, store: Store) -> None:
        """A change whose new files go over the quota writes nothing; one that fits does."""
        call, files = new_call(1), (samples.file("1234"), samples.file("5678"))
        with pytest.raises(QuotaSpent):
            await store.commit(first(call, files=files, most_file_bytes=7))
        assert await store.get_call(call.id) is None
        assert await store.file_bytes(AGENT) == 0
        await store.commit(first(call, files=files, most_file_bytes=8))
        assert await store.file_bytes(AGENT) == 8

    async def test_old_files_take_nothing(self, store: Store) -> None:
        """A change without new content passes, however little the agent may keep."""
        files = (samples.file("1234"),)
        await store.commit(first(new_call(1), files=files))
        await store.commit(first(new_call(2), files=files, most_file_bytes=0))
        await store.commit(first(new_call(3), most_file_bytes=0))
        assert await store.file_bytes(AGENT) == 4


class TestExpiry:
    async def test_dropped_after_its_time(self, store: Store) -> None:
        """A file goes after its time and gives its bytes back; before it stays."""
        sha256 = await put(store, LONG)
        assert await store.drop_expired_files(LATER) == 0
        assert await store.file(AGENT, sha256) == LONG
        assert await store.drop_expired_files(LATER + timedelta(seconds=1)) == 1
        assert await store.file(AGENT, sha256) is None
        assert await store.file_bytes(AGENT) == 0

    async def test_has_no_size_from_its_time_on(self, store: Store) -> None:
        """An expired file that is still there cannot be named any more."""
        sha256 = await put(store, b"x")
        assert await store.file_size(AGENT, sha256, LATER - timedelta(microseconds=1)) == 1
        assert await store.file_size(AGENT, sha256, LATER) is None

    async def test_kept_by_a_change(self, store: Store) -> None:
        """What a call leaves, or puts into its workspace, expires no more."""
        await put(store, b"kept")
        await store.commit(first(new_call(1), files=(samples.file("kept"),)))
        await put(store, b"kept")
        assert await store.drop_expired_files(LATER + timedelta(days=999)) == 0
        assert await store.file_size(AGENT, sha256_hex(b"kept"), LATER) == 4

    async def test_the_longer_time_counts(self, store: Store) -> None:
        """The same upload again lives longer, never shorter."""
        sha256 = await put(store, b"x", expires_at=LATER + timedelta(hours=1))
        await put(store, b"x")
        assert await store.file_size(AGENT, sha256, LATER) == 1
        await put(store, b"x", expires_at=LATER + timedelta(hours=2))
        assert await store.file_size(AGENT, sha256, LATER + timedelta(hours=1)) == 1

    async def test_an_open_call_keeps_it(self, store: Store) -> None:
        """An upload that an open call of its agent names stays; once that has ended it goes."""
        sha256 = await put(store, b"x")
        inputs = (InputFile(argument="from_output", sha256=sha256, size_bytes=1),)
        call = new_call(1, CallState.HELD, inputs=inputs)
        await store.commit(first(call))
        after = LATER + timedelta(days=1)
        assert await store.drop_expired_files(after) == 0
        await store.commit(following(call, Step.REJECT))
        assert await store.drop_expired_files(after) == 1

    async def test_anothers_open_call_does_not(self, store: Store) -> None:
        """Naming the digest of another agent's upload keeps nothing alive."""
        sha256 = await put(store, b"x")
        inputs = (InputFile(argument="from_output", sha256=sha256, size_bytes=1),)
        await store.commit(first(new_call(1, CallState.HELD, agent=AGENT2, inputs=inputs)))
        assert await store.drop_expired_files(LATER + timedelta(days=1)) == 1
