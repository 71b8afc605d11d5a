"""What a launcher's word is worth."""

import pytest

from broker.core.collect import Harvest
from broker.core.frames import FileHead, Frame, FrameError, FrameKind
from broker.core.sandbox import Collect

_SOMETHING = [
    Frame(kind=FrameKind.STDOUT, payload=b"x"),
    Frame(kind=FrameKind.STDERR, payload=b"x"),
    Frame(kind=FrameKind.OUTPUT, payload=FileHead(path="f", size_bytes=0).encode()),
    Frame(kind=FrameKind.NOTE, payload=b"\0refused"),
]


class TestNotBegun:
    @pytest.mark.parametrize("before", _SOMETHING, ids=lambda frame: frame.kind.name)
    def test_after_something(self, before: Frame) -> None:
        """Who has written or left something cannot be said never to have begun."""
        harvest = Harvest(output_bytes=10, collect=Collect.OUTPUTS, workspace=frozenset())
        harvest.feed(before)
        with pytest.raises(FrameError):
            harvest.feed(Frame(kind=FrameKind.NOT_BEGUN, payload=b"never"))
        assert harvest.not_begun is None

    def test_at_once(self) -> None:
        """The twin: said first, it stands."""
        harvest = Harvest(output_bytes=10, collect=Collect.OUTPUTS, workspace=frozenset())
        harvest.feed(Frame(kind=FrameKind.NOT_BEGUN, payload=b"never"))
        assert harvest.not_begun == "never"
