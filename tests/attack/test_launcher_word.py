"""What a launcher's word is worth."""

import pytest

from broker.core.collect import Harvest
from broker.core.frames import KEY_BYTES, FileHead, Frame, FrameError, FrameKind
from broker.core.output import OutputBuffer, Source
from broker.core.sandbox import Collect

KEY = bytes(range(KEY_BYTES))
_SOMETHING = [
    Frame(kind=FrameKind.STDOUT, payload=b"x"),
    Frame(kind=FrameKind.STDERR, payload=b"x"),
    Frame(kind=FrameKind.OUTPUT, payload=FileHead(path="f", size_bytes=0).encode()),
    Frame(kind=FrameKind.NOTE, payload=b"\0refused"),
]


class TestOutput:
    """What a launcher that somebody speaks for could add to what was streamed."""

    def test_nothing_is_streamed_after_the_end(self) -> None:
        """Output behind the last word, in the same breath, reaches neither readers nor result."""
        sink = OutputBuffer(10)
        harvest = Harvest(
            output_bytes=10, collect=Collect.OUTPUTS, workspace=frozenset(), key=KEY, sink=sink
        )
        harvest.feed(Frame(kind=FrameKind.STDOUT, payload=b"said"))
        harvest.feed(Frame(kind=FrameKind.END, payload=b"\0\0" + KEY))
        with pytest.raises(FrameError):
            harvest.feed(Frame(kind=FrameKind.STDOUT, payload=b"late"))
        harvest.close()
        sink.take(Source.STDOUT, b"later")
        assert (sink.kept(Source.STDOUT), harvest.stdout.data) == (b"said", b"said")

    def test_nothing_is_streamed_while_files_are_collected(self) -> None:
        """Output between the files of a dead tool is nobody's."""
        sink = OutputBuffer(10)
        harvest = Harvest(
            output_bytes=10, collect=Collect.OUTPUTS, workspace=frozenset(), key=KEY, sink=sink
        )
        harvest.feed(Frame(kind=FrameKind.NOTE, payload=b"\0refused"))
        with pytest.raises(FrameError):
            harvest.feed(Frame(kind=FrameKind.STDERR, payload=b"late"))
        assert sink.kept(Source.STDERR) == b""

    def test_a_flood_is_streamed_up_to_the_cap(self) -> None:
        """Beyond the cap nothing goes out, though more is counted."""
        sink = OutputBuffer(100)
        harvest = Harvest(
            output_bytes=5, collect=Collect.OUTPUTS, workspace=frozenset(), key=KEY, sink=sink
        )
        for _ in range(3):
            harvest.feed(Frame(kind=FrameKind.STDOUT, payload=b"abc"))
        assert (sink.kept(Source.STDOUT), harvest.stdout.size_bytes) == (b"abcab", 9)


class TestNotBegun:
    @pytest.mark.parametrize("before", _SOMETHING, ids=lambda frame: frame.kind.name)
    def test_after_something(self, before: Frame) -> None:
        """Who has written or left something cannot be said never to have begun."""
        harvest = Harvest(output_bytes=10, collect=Collect.OUTPUTS, workspace=frozenset(), key=KEY)
        harvest.feed(before)
        with pytest.raises(FrameError):
            harvest.feed(Frame(kind=FrameKind.NOT_BEGUN, payload=b"never"))
        assert harvest.not_begun is None

    def test_at_once(self) -> None:
        """The twin: said first, it stands."""
        harvest = Harvest(output_bytes=10, collect=Collect.OUTPUTS, workspace=frozenset(), key=KEY)
        harvest.feed(Frame(kind=FrameKind.NOT_BEGUN, payload=b"never"))
        assert harvest.not_begun == "never"
