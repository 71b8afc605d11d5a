"""What of a run's files an agent may keep."""

import pytest

from broker.core.ids import sha256_hex
from broker.core.room import Room
from broker.core.workspace import Entry


def entry(text: str) -> Entry:
    """Give a file as long as its text."""
    return Entry(sha256=sha256_hex(text.encode()), size_bytes=len(text))


class TestRoom:
    @pytest.mark.parametrize(
        ("left", "texts", "remains"),
        [
            (5, ["12345"], 0),
            (4, ["12345"], None),
            (5, ["123", "123"], 2),
            (5, ["123", "456"], None),
            (0, [""], 0),
            (0, [], 0),
            (-1, [], -1),
            (-1, [""], None),
        ],
    )
    def test_each_content_counts_once(
        self, left: int, texts: list[str], remains: int | None
    ) -> None:
        """Files fit as long as their distinct content does; nothing new always does."""
        room = Room(left_bytes=left).take(map(entry, texts))
        assert (None if room is None else room.left_bytes) == remains

    def test_known_content_takes_nothing(self) -> None:
        """What is kept, or was counted before, takes no room, however little is left."""
        known = Room(left_bytes=-5, known={entry("abc").sha256}).take([entry("abc")])
        assert known is not None
        counted = Room(left_bytes=3).take([entry("abc")])
        assert counted is not None
        again = counted.take([entry("abc")])
        assert (known.left_bytes, counted.left_bytes, again and again.left_bytes) == (-5, 0, 0)
