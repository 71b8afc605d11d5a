"""Give the machine's time, with its randomness."""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_SLEEP_S = 10.0
_FURTHEST_NS = 60 * 10**9
_LONGEST_OFF_NS = 24 * 3600 * 10**9
_BLOCK_BYTES = 4096


class SystemClock:
    """A `Clock` from the wall clock that never goes back, nor jumps.

    Where the wall clock is set back, time goes on at the monotonic clock's pace until the wall
    clock has caught up: deadlines neither pass twice nor stand still. Where it is further from
    elapsed time than 60 s, either way, it is not followed, and the clock is not trusted until both
    agree again, or `go_on_at` names the time: then the wall clock counts by how far it was off.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._lock = Lock()
        self._read_wall_ns = wall_ns
        self._read_monotonic_ns = monotonic_ns
        self._now_ns = wall_ns()
        self._monotonic_ns = monotonic_ns()
        self._off_ns = 0
        self._is_trusted = True

    def go_on_from(self, latest: datetime) -> None:
        """Take up the latest time that was recorded in an earlier life; call it before any other.

        Time never goes back behind it. A wall clock 24 h ahead of it is not followed: somebody has
        to say whether the broker was off for so long, or the machine's clock is wrong.
        """
        with self._lock:
            latest_ns = _to_ns(latest)
            is_ahead = self._now_ns > latest_ns + _LONGEST_OFF_NS
            self._now_ns = latest_ns if is_ahead else max(self._now_ns, latest_ns)

    def go_on_at(self, at: datetime) -> None:
        """Go on from this time, whatever the wall clock says; never back."""
        with self._lock:
            self._now_ns = max(self._now_ns, _to_ns(at))
            self._monotonic_ns = self._read_monotonic_ns()
            self._off_ns = self._read_wall_ns() - self._now_ns

    def machine_time(self) -> datetime:
        """Give the wall clock's time, believed or not."""
        return _from_ns(self._read_wall_ns())

    @property
    def is_trusted(self) -> bool:
        """Tell whether wall clock and elapsed time agree."""
        self.now()
        return self._is_trusted

    def now(self) -> datetime:
        """Give the time, aware UTC, to the microsecond."""
        with self._lock:
            monotonic_ns = self._read_monotonic_ns()
            paced_ns = self._now_ns + monotonic_ns - self._monotonic_ns
            wall_ns = self._read_wall_ns()
            if abs(wall_ns - paced_ns) <= _FURTHEST_NS:
                self._off_ns = 0
            wall_ns -= self._off_ns
            self._is_trusted = abs(wall_ns - paced_ns) <= _FURTHEST_NS
            self._now_ns = max(wall_ns, paced_ns) if self._is_trusted else paced_ns
            self._monotonic_ns = monotonic_ns
            return _from_ns(self._now_ns)

    def monotonic_s(self) -> float:
        """Give seconds from an arbitrary start."""
        return self._read_monotonic_ns() / 1e9

    async def sleep_until(self, at: datetime) -> None:
        """Return when `now()` has reached `at`."""
        while (remaining_s := (at - self.now()).total_seconds()) > 0:  # noqa: ASYNC110
            # In slices: no event tells that the wall clock was set forward meanwhile.
            await asyncio.sleep(min(remaining_s, _LONGEST_SLEEP_S))


def _to_ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _from_ns(unix_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=unix_ns // 1000)


class SystemEntropy:
    """An `Entropy` from the kernel's generator, drawn a block at a time.

    A system call releases the interpreter's lock, which then has to be waited for: five small
    draws a call were a fifth of what a denied call costs (ADR 5). Each byte is given out once.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._block = b""
        self._used = 0

    def random_bytes(self, size: int) -> bytes:
        """Draw bytes."""
        if size > _BLOCK_BYTES:
            return os.urandom(size)
        with self._lock:
            if self._used + size > len(self._block):
                self._block, self._used = os.urandom(_BLOCK_BYTES), 0
            drawn = self._block[self._used : self._used + size]
            self._used += size
            return drawn
