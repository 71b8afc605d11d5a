"""The frames between broker and launcher, as bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.collect import Harvest
from broker.core.frames import (
    KEY_BYTES,
    MAX_FILES,
    MAX_PAYLOAD_BYTES,
    EndWord,
    FileHead,
    Frame,
    FrameError,
    FrameKind,
    FrameReader,
    job_frames,
    path_fault,
)
from broker.core.sandbox import Collect, FileChange, Job

KEY = bytes(range(KEY_BYTES))
FRAMES = st.lists(
    st.builds(
        lambda kind, payload: Frame(kind=kind, payload=payload),
        st.sampled_from(FrameKind),
        st.binary(max_size=200),
    ),
    max_size=20,
)


def harvest(*, output_bytes: int = 100, collect: Collect = Collect.CHANGES) -> Harvest:
    """Make one for a workspace of two files."""
    return Harvest(
        output_bytes=output_bytes, collect=collect, workspace=frozenset({"a", "b"}), key=KEY
    )


def feed_all(gathered: Harvest, frames: list[Frame]) -> None:
    """Feed one after the other."""
    for each in frames:
        gathered.feed(each)


def frame(kind: FrameKind, payload: bytes = b"") -> Frame:
    """Make a frame."""
    return Frame(kind=kind, payload=payload)


def head(path: str, size_bytes: int) -> bytes:
    """Make a file's head."""
    return FileHead(path=path, size_bytes=size_bytes).encode()


class TestFrameReader:
    """Cutting bytes into frames."""

    @given(frames=FRAMES, cuts=st.lists(st.integers(1, 50), max_size=200))
    def test_gives_the_same_frames_however_they_arrive(
        self, frames: list[Frame], cuts: list[int]
    ) -> None:
        """Any cutting of the stream gives the frames that were written."""
        stream = b"".join(each.encode() for each in frames)
        reader, found, start = FrameReader(), [], 0
        for size in [*cuts, len(stream)]:
            found += reader.feed(stream[start : start + size])
            start += size
        assert (found, reader.pending_bytes) == (frames, 0)

    @given(data=st.binary(max_size=400))
    def test_takes_any_bytes_without_another_error(self, data: bytes) -> None:
        """Whatever comes is frames, an unfinished frame or a FrameError."""
        reader = FrameReader()
        try:
            reader.feed(data)
        except FrameError:
            return
        assert reader.pending_bytes <= len(data)

    def test_refuses_an_oversized_header_at_once(self) -> None:
        """A length beyond the cap is refused before its payload could be collected."""
        with pytest.raises(FrameError, match="beyond"):
            FrameReader().feed(struct.pack(">cI", b"O", MAX_PAYLOAD_BYTES + 1))

    def test_refuses_an_unknown_kind(self) -> None:
        """A letter that names no frame ends the conversation."""
        with pytest.raises(FrameError, match="no frame begins"):
            FrameReader().feed(b"?\x00\x00\x00\x00")

    def test_refuses_to_make_an_oversized_frame(self) -> None:
        """A payload beyond the cap is no frame."""
        with pytest.raises(FrameError):
            frame(FrameKind.DATA, bytes(MAX_PAYLOAD_BYTES + 1))


class TestPaths:
    """Names of files."""

    @given(path=st.text(max_size=40))
    def test_accepted_paths_come_through_unchanged(self, path: str) -> None:
        """A path without fault is the same after encoding; one with a fault is refused."""
        if path_fault(path) is None:
            payload = head(path, 7)
            assert FileHead.decode(payload) == FileHead(path=path, size_bytes=7)

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a\x00",
            "a\n",
            "\x7f",
            "\udc80",
            "é" * 513,
        ],
    )
    def test_hostile_paths_have_a_fault(self, path: str) -> None:
        """A path that is empty, absolute, upward, controlling or too long has a fault."""
        assert path_fault(path) is not None

    @pytest.mark.parametrize("payload", [b"", bytes(7), bytes(8), bytes(8) + b"\xff"])
    def test_malformed_heads_are_refused(self, payload: bytes) -> None:
        """A head without its size, its name or UTF-8 is refused."""
        with pytest.raises(FrameError):
            FileHead.decode(payload)


class TestJobFrames:
    """What is sent for a job."""

    @given(
        arguments=st.binary(max_size=100_000),
        files=st.dictionaries(st.from_regex("[a-z]{1,9}", fullmatch=True), st.binary(max_size=500)),
    )
    def test_carry_every_byte_once(self, arguments: bytes, files: dict[str, bytes]) -> None:
        """Files with arguments can be put together again from the frames."""
        job = Job(
            arguments=arguments,
            workspace=tuple(files.items()),
            inputs=(("from_output", b"in"),),
            timeout_s=1,
            output_bytes=10,
            collect=Collect.OUTPUTS,
        )
        frames = FrameReader().feed(b"".join(job_frames(job, KEY)))
        found: dict[tuple[FrameKind, str], bytes] = {}
        key = (FrameKind.JOB, "")
        for each in frames[1:-1]:
            if each.kind is FrameKind.DATA:
                found[key] += each.payload
            else:
                key = (each.kind, FileHead.decode(each.payload).path)
                found[key] = b""
        assert (frames[0].kind, frames[-1].kind) == (FrameKind.JOB, FrameKind.GO)
        assert found == {
            **{(FrameKind.WORKSPACE, path): data for path, data in files.items()},
            (FrameKind.INPUT, "from_output"): b"in",
            (FrameKind.ARGUMENTS, "stdin"): arguments,
        }


class TestEndWord:
    """The launcher's last word."""

    @pytest.mark.parametrize(
        "payload", [b"", b"\x00\x00", b"\x02\x00" + KEY, b"\x00\x00" + KEY[1:], b"\x00" + KEY + KEY]
    )
    def test_malformed_is_refused(self, payload: bytes) -> None:
        """Anything but a flag with a number is refused."""
        with pytest.raises(FrameError):
            EndWord.decode(payload)

    def test_signal_is_128_and_more(self) -> None:
        """A signal's exit code is what shells say."""
        assert EndWord.decode(b"\x01\x09" + KEY).exit_code == 137


class TestHarvest:
    """Gathering what comes back."""

    def test_gathers_a_whole_run(self) -> None:
        """Streams, files, deletions, notes, the end are kept apart."""
        gathered = harvest()
        for each in (
            frame(FrameKind.BEGIN),
            frame(FrameKind.STDOUT, b"out"),
            frame(FrameKind.STDERR, b"err"),
            frame(FrameKind.STDOUT, b"put"),
            frame(FrameKind.OUTPUT, head("x/y", 3)),
            frame(FrameKind.DATA, b"ab"),
            frame(FrameKind.DATA, b"c"),
            frame(FrameKind.NOTE, b"\x01too much"),
            frame(FrameKind.CHANGED, head("empty", 0)),
            frame(FrameKind.DELETED, head("a", 0)),
            frame(FrameKind.END, b"\x00\x03" + KEY),
        ):
            gathered.feed(each)
        assert (gathered.stdout.data, gathered.stderr.data) == (b"output", b"err")
        assert gathered.outputs == (FileChange(path="x/y", data=b"abc"),)
        assert gathered.changes == (
            FileChange(path="empty", data=b""),
            FileChange(path="a", data=None),
        )
        assert (gathered.notes, gathered.files_capped, gathered.end) == (
            ("too much",),
            True,
            EndWord(signalled=False, number=3, key=KEY),
        )

    @pytest.mark.parametrize(
        ("frames", "has_begun"),
        [
            ([], False),
            ([frame(FrameKind.BEGIN)], True),
            ([frame(FrameKind.STDERR, b"x")], True),
            ([frame(FrameKind.NOTE, b"\x00n")], True),
            ([frame(FrameKind.NOT_BEGUN, b"no")], False),
        ],
    )
    def test_knows_whether_the_tool_may_have_begun(
        self, frames: list[Frame], has_begun: bool
    ) -> None:
        """The launcher's word says so, and whatever only a tool that began can cause."""
        gathered = harvest()
        feed_all(gathered, frames)
        assert gathered.has_begun is has_begun

    def test_keeps_no_files_of_a_run_without_an_end(self) -> None:
        """Files that came before the stream broke are nobody's word."""
        gathered = harvest()
        gathered.feed(frame(FrameKind.OUTPUT, head("x", 0)))
        assert (gathered.outputs, gathered.is_over) == ((), False)

    def test_keeps_a_stream_up_to_its_cap(self) -> None:
        """What is beyond the cap is counted, not kept."""
        gathered = harvest(output_bytes=4)
        gathered.feed(frame(FrameKind.STDOUT, b"abcd"))
        assert gathered.over_cap is False
        gathered.feed(frame(FrameKind.STDOUT, b"ef"))
        stream = gathered.stdout
        assert (gathered.over_cap, stream.data, stream.size_bytes, stream.truncated) == (
            True,
            b"abcd",
            6,
            True,
        )

    @pytest.mark.parametrize(
        "frames",
        [
            [frame(FrameKind.DATA, b"x")],
            [frame(FrameKind.HELLO)],
            [frame(FrameKind.JOB)],
            [frame(FrameKind.BEGIN), frame(FrameKind.BEGIN)],
            [frame(FrameKind.STDOUT, b"x"), frame(FrameKind.BEGIN)],
            [frame(FrameKind.NOTE, b"\x00n"), frame(FrameKind.BEGIN)],
            [frame(FrameKind.OUTPUT, head("x", 101))],
            [frame(FrameKind.OUTPUT, head("x", 60)), frame(FrameKind.OUTPUT, head("y", 60))],
            [frame(FrameKind.OUTPUT, head("x", 2)), frame(FrameKind.DATA, b"abc")],
            [frame(FrameKind.OUTPUT, head("x", 2)), frame(FrameKind.DATA)],
            [frame(FrameKind.OUTPUT, head("x", 2)), frame(FrameKind.END, b"\x00\x00" + KEY)],
            [frame(FrameKind.OUTPUT, head("x", 0)), frame(FrameKind.OUTPUT, head("x", 0))],
            [frame(FrameKind.OUTPUT, head("x", 0)), frame(FrameKind.STDOUT, b"late")],
            [frame(FrameKind.DELETED, head("never-was", 0))],
            [frame(FrameKind.NOTE)],
            [frame(FrameKind.NOTE, b"\x00" + bytes(2000))],
            [frame(FrameKind.NOTE, b"\x00n")] * 101,
            [frame(FrameKind.OUTPUT, head(f"{n}", 0)) for n in range(MAX_FILES + 1)],
            [frame(FrameKind.END, b"\x00\x00" + KEY), frame(FrameKind.END, b"\x00\x00" + KEY)],
            [frame(FrameKind.END, b"\x00\x00" + bytes(KEY_BYTES))],
            [frame(FrameKind.NOT_BEGUN, b"no"), frame(FrameKind.STDOUT, b"x")],
        ],
    )
    def test_refuses_what_no_launcher_sends(self, frames: list[Frame]) -> None:
        """Frames out of order, beyond a cap or twice break the conversation."""
        with pytest.raises(FrameError):
            feed_all(harvest(), frames)

    def test_refuses_changes_that_were_not_asked_for(self) -> None:
        """A tool that may only read brings no changes."""
        with pytest.raises(FrameError, match="not asked for"):
            harvest(collect=Collect.OUTPUTS).feed(frame(FrameKind.CHANGED, head("x", 0)))

    @given(frames=FRAMES)
    def test_is_bounded_whatever_comes(self, frames: list[Frame]) -> None:
        """No sequence of frames keeps more than the caps, or raises anything else."""
        gathered = harvest(output_bytes=50)
        try:
            for each in frames:
                gathered.feed(each)
        except FrameError:
            pass
        kept = [each.data or b"" for each in (*gathered.outputs, *gathered.changes)]
        assert len(gathered.stdout.data) <= 50
        assert sum(map(len, kept)) <= 50
