"""What a tool wrote, read from any place."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from broker.core.output import Chunk, OutputBuffer, Place, Source

WRITES = st.lists(st.tuples(st.sampled_from(Source), st.binary(max_size=9)), max_size=60)
TEXTS = st.lists(st.tuples(st.sampled_from(Source), st.text(max_size=5)), max_size=40)
CAP_BYTES = 100


def written(writes: list[tuple[Source, bytes]], cap_bytes: int = CAP_BYTES) -> OutputBuffer:
    """A buffer that took these writes, not ended."""
    buffer = OutputBuffer(cap_bytes)
    for source, data in writes:
        buffer.take(source, data)
    return buffer


BEGINNING = Place()


def rest(buffer: OutputBuffer, place: Place = BEGINNING, most_bytes: int = 64) -> list[Chunk]:
    """Everything behind a place."""
    found = []
    while chunk := buffer.next_chunk(place, most_bytes):
        found.append(chunk)
        place = place.after(chunk)
    return found


def joined(chunks: list[Chunk], source: Source) -> bytes:
    """The bytes of one stream; each piece must begin where the one before ended."""
    data = b""
    for chunk in chunks:
        if chunk.source is source:
            data += chunk.data
    return data


class TestReading:
    """Reading on from a place."""

    @given(writes=WRITES, most_bytes=st.integers(min_value=4, max_value=20))
    def test_gives_every_byte_once(
        self, writes: list[tuple[Source, bytes]], most_bytes: int
    ) -> None:
        """From the beginning a reader gets exactly what is kept, in pieces no larger than asked."""
        buffer = written(writes)
        buffer.end()
        chunks = rest(buffer, most_bytes=most_bytes)
        assert [joined(chunks, source) for source in Source] == [
            buffer.kept(source) for source in Source
        ]
        assert all(0 < len(chunk.data) <= most_bytes for chunk in chunks)

    @given(writes=WRITES, out=st.integers(0, 120), err=st.integers(0, 120))
    def test_resumes_at_any_place(
        self, writes: list[tuple[Source, bytes]], out: int, err: int
    ) -> None:
        """From any two offsets, such as no cut ever gave, the rest of each stream comes whole."""
        buffer = written(writes)
        buffer.end()
        chunks = rest(buffer, Place(stdout=out, stderr=err))
        assert joined(chunks, Source.STDOUT) == buffer.kept(Source.STDOUT)[out:]
        assert joined(chunks, Source.STDERR) == buffer.kept(Source.STDERR)[err:]

    @given(writes=WRITES, turns=st.lists(st.booleans(), max_size=60))
    def test_reading_while_it_is_written(
        self, writes: list[tuple[Source, bytes]], turns: list[bool]
    ) -> None:
        """A reader between the writes gets the same bytes as one who comes after the end."""
        buffer, place, chunks = OutputBuffer(CAP_BYTES), Place(), []
        for (source, data), reads in zip(writes, [*turns, *[False] * 60], strict=False):
            buffer.take(source, data)
            if reads and (chunk := buffer.next_chunk(place, 8)):
                chunks.append(chunk)
                place = place.after(chunk)
        buffer.end()
        chunks += rest(buffer, place)
        for source in Source:
            assert joined(chunks, source) == buffer.kept(source)

    @given(writes=TEXTS)
    def test_text_comes_in_whole_characters(self, writes: list[tuple[Source, str]]) -> None:
        """Output that is UTF-8 is cut between characters only, however it was written."""
        split = [(source, bytes([byte])) for source, text in writes for byte in text.encode()]
        buffer = written(split, cap_bytes=10_000)
        chunks = rest(buffer, most_bytes=5)
        assert [joined(chunks, source) for source in Source] == [
            buffer.kept(source) for source in Source
        ]
        assert all(chunk.data.decode() for chunk in chunks)

    def test_half_a_character_waits_without_stopping_the_other_stream(self) -> None:
        """The beginning of a character is given when its rest comes, or at the end as it is."""
        buffer = written([(Source.STDOUT, b"a\xc3"), (Source.STDERR, b"b")])
        chunks = rest(buffer)
        assert [chunk.data for chunk in chunks] == [b"a", b"b"]
        place = Place(stdout=1, stderr=1)
        buffer.take(Source.STDOUT, b"\xa9\xc3")
        assert [chunk.data for chunk in rest(buffer, place)] == ["é".encode()]
        buffer.end()
        assert [chunk.data for chunk in rest(buffer, Place(stdout=3, stderr=1))] == [b"\xc3"]


class TestOrder:
    """Two streams, one order."""

    @given(writes=st.lists(st.tuples(st.sampled_from(Source), st.just(b"x")), max_size=60))
    def test_is_the_order_of_the_writes(self, writes: list[tuple[Source, bytes]]) -> None:
        """Bytes come in the order in which they were written, streams mixed as they were."""
        chunks = rest(written(writes))
        assert [chunk.source for chunk in chunks for _ in chunk.data] == [
            source for source, _ in writes
        ]

    def test_neighbours_are_one_piece(self) -> None:
        """Writes of one byte come as one piece where nothing of the other stream is between."""
        chunks = rest(written([(Source.STDOUT, b"x")] * 50))
        assert chunks == [Chunk(source=Source.STDOUT, offset=0, data=b"x" * 50)]

    def test_gets_coarser_without_end(self) -> None:
        """However often a tool changes streams, what is kept of the order stays small."""
        writes = [(source, b"x") for _ in range(50_000) for source in Source]
        buffer = written(writes, cap_bytes=50_000)
        chunks = rest(buffer)
        assert 256 < len(chunks) < 4096
        assert [len(joined(chunks, source)) for source in Source] == [50_000, 50_000]
        for before, chunk in itertools.pairwise(chunks):
            assert before.source is not chunk.source or len(before.data) == 64


class TestCap:
    """What is beyond the cap."""

    @given(writes=WRITES)
    def test_keeps_the_beginning_of_each_stream(self, writes: list[tuple[Source, bytes]]) -> None:
        """Of each stream exactly the first bytes are kept, as many as the cap."""
        buffer = written(writes, cap_bytes=20)
        for source in Source:
            whole = b"".join(data for each, data in writes if each is source)
            assert buffer.kept(source) == whole[:20]

    def test_nothing_comes_after_the_end(self) -> None:
        """What is taken after the end is not kept."""
        buffer = written([(Source.STDOUT, b"x")])
        buffer.end()
        buffer.take(Source.STDOUT, b"y")
        assert (buffer.is_ended, buffer.kept(Source.STDOUT)) == (True, b"x")
