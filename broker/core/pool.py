"""Say how many containers should wait for calls, by what was asked for lately."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import Final

from broker.core.sandbox import Profile

WINDOW_S: Final = 10.0
"""Over so long the rate of calls is taken."""
AHEAD_S: Final = 1.0
"""So much of that rate waits: making a container takes a fraction of it."""
KEPT_S: Final = 300.0
"""So long after its last call a profile has a container waiting."""

_REMEMBERED_CALLS = 256
_REMEMBERED_PROFILES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What waiting containers may take together.

    Args:
        containers: How many; 0: none ever waits.
        memory_bytes: Sum of their memory limits.
    """

    containers: int
    memory_bytes: int


class Demand:
    """Remember what was asked for. Times are monotonic, in seconds, and never go back."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        # In the order of their first calls.
        self._calls: dict[Profile, deque[float]] = {}

    def note(self, profile: Profile, now_s: float) -> None:
        """Count a call that asks for a container of this profile."""
        self._calls.setdefault(profile, deque(maxlen=_REMEMBERED_CALLS)).append(now_s)
        if len(self._calls) > _REMEMBERED_PROFILES:
            del self._calls[min(self._calls, key=lambda each: self._calls[each][-1])]

    def forget(self, profile: Profile) -> None:
        """Want none of this profile until the next call asks for one."""
        self._calls.pop(profile, None)

    def wanted(self, now_s: float) -> Mapping[Profile, int]:
        """Say how many containers of each profile should wait, within the budget.

        One for each profile comes before a second one for any; the one with the most calls comes
        first, of equals the one known longest. By the latest call alone, profiles that are asked
        for in turn would drive each other out, each made for nobody.
        """
        self._forget_old(now_s)
        by_use = sorted(self._calls.items(), key=lambda each: -_since(each[1], now_s - KEPT_S))
        full = {
            profile: max(1, ceil(_since(calls, now_s - WINDOW_S) * AHEAD_S / WINDOW_S))
            for profile, calls in by_use
        }
        given: dict[Profile, int] = {}
        left, memory_left = self._budget.containers, self._budget.memory_bytes
        for turn in count(1):
            asking = [profile for profile, most in full.items() if most >= turn]
            for profile in asking:
                if left and profile.memory_bytes <= memory_left:
                    given[profile] = given.get(profile, 0) + 1
                    left -= 1
                    memory_left -= profile.memory_bytes
            if not asking or not left:
                break
        return given

    def changes_at(self, now_s: float) -> float | None:
        """Say when to ask `wanted` again if nobody calls; None where nothing is wanted.

        That is when the last call of a profile leaves the window, or the profile is forgotten: what
        is wanted falls with each call that leaves it, but one look at the end of it is enough.
        """
        ends = [calls[-1] + span for calls in self._calls.values() for span in (WINDOW_S, KEPT_S)]
        return min((end for end in ends if end > now_s), default=None)

    def _forget_old(self, now_s: float) -> None:
        for profile, calls in list(self._calls.items()):
            if calls[-1] + KEPT_S <= now_s:
                del self._calls[profile]


def _since(calls: Iterable[float], at_s: float) -> int:
    return sum(call_s > at_s for call_s in calls)
