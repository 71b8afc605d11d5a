"""Which calls were seen, in few bytes each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.ids import ulid
from broker.verify.call_set import CallSet

CALLS = st.builds(
    lambda ms, random: f"calls/{ulid(ms, random)}",
    st.integers(0, (1 << 48) - 1),
    st.binary(min_size=10, max_size=10),
)


class TestCallSet:
    @given(st.lists(CALLS | st.just("calls/" + "0" * 26), max_size=200))
    def test_is_a_set(self, calls):
        """A call is new once, and found from then on, as in a set of Python's."""
        found, seen = CallSet(), set()
        for call in calls:
            assert found.add(call) == (call not in seen)
            seen.add(call)
            assert call in found
        assert len(found) == len(seen)
        assert CallSet.read(found.write()).write() == found.write()

    def test_many(self):
        """It grows, and loses none."""
        calls = [f"calls/{ulid(number, number.to_bytes(10))}" for number in range(5_000)]
        found = CallSet()
        assert all(found.add(call) for call in calls)
        assert all(call in found for call in calls)
        assert "calls/7ZZZZZZZZZZZZZZZZZZZZZZZZZ" not in found
        assert CallSet.read(found.write()).write() == found.write()

    @pytest.mark.parametrize(
        ("text", "word"),
        [("?", "base64|padding"), ("AAAA", "each once"), ("A" * 42 + "==", "each once")],
    )
    def test_another_text(self, text, word):
        """What is not calls, each once, is refused."""
        with pytest.raises(ValueError, match=word):
            CallSet.read(text)
