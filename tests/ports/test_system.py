"""Hold the machine's clock to the port."""

from datetime import UTC, datetime, timedelta
from threading import Thread

from broker.adapters.system import SystemClock, SystemEntropy

SECOND_NS = 1_000_000_000
START_NS = 1_793_610_000 * SECOND_NS
START = datetime(2026, 11, 2, 9, tzinfo=UTC)


class Dials:
    """The two clocks of a machine, set by hand."""

    def __init__(self) -> None:
        self.wall_ns = START_NS
        self.monotonic_ns = 5 * SECOND_NS

    def clock(self) -> SystemClock:
        """Give a clock that reads these dials."""
        return SystemClock(lambda: self.wall_ns, lambda: self.monotonic_ns)

    def go_on(self, seconds: int) -> None:
        """Let time pass on both."""
        self.wall_ns += seconds * SECOND_NS
        self.monotonic_ns += seconds * SECOND_NS


class TestNow:
    def test_is_the_machines_time(self) -> None:
        """The clock gives the machine's time, aware UTC."""
        before = datetime.now(UTC)
        now = SystemClock().now()
        assert now.utcoffset() == timedelta(0)
        assert timedelta(0) <= now - before + timedelta(milliseconds=1) < timedelta(minutes=1)

    def test_follows_the_wall_clock_forward(self) -> None:
        """A wall clock set forward by no more than 60 s is followed."""
        dials = Dials()
        clock = dials.clock()
        dials.wall_ns += 60 * SECOND_NS
        assert (clock.now(), clock.is_trusted) == (START + timedelta(minutes=1), True)

    def test_does_not_follow_a_jump(self) -> None:
        """A wall clock that jumps is neither followed nor trusted until it agrees again."""
        dials = Dials()
        clock = dials.clock()
        dials.wall_ns += 61 * SECOND_NS
        jumped = (clock.now(), clock.is_trusted)
        dials.wall_ns -= 61 * SECOND_NS
        dials.go_on(5)
        agreed = (clock.now(), clock.is_trusted)
        assert (jumped, agreed) == ((START, False), (START + timedelta(seconds=5), True))

    def test_goes_on_from_what_was_recorded(self) -> None:
        """A machine whose clock was set back over a restart revives nothing that had expired."""
        dials = Dials()
        clock = dials.clock()
        clock.go_on_from(START + timedelta(hours=1))
        dials.go_on(1)
        assert (clock.now(), clock.is_trusted) == (START + timedelta(hours=1, seconds=1), False)

    def test_was_off_for_a_day(self) -> None:
        """A machine that is not more than 24 h ahead of the record is followed."""
        clock = Dials().clock()
        clock.go_on_from(START - timedelta(hours=24))
        assert (clock.now(), clock.is_trusted) == (START, True)

    def test_a_day_ahead_of_the_record(self) -> None:
        """A machine more than 24 h ahead of the record is not followed: time goes on from there."""
        dials = Dials()
        clock = dials.clock()
        latest = START - timedelta(hours=24, seconds=1)
        clock.go_on_from(latest)
        dials.go_on(5)
        assert (clock.now(), clock.is_trusted) == (latest + timedelta(seconds=5), False)

    def test_goes_on_at_the_machines_time(self) -> None:
        """Where somebody says that the machine is right, it is followed like before."""
        dials = Dials()
        clock = dials.clock()
        clock.go_on_from(START - timedelta(days=3))
        assert clock.machine_time() == START
        clock.go_on_at(START - timedelta(seconds=2))
        assert (clock.now(), clock.is_trusted) == (START, True)
        dials.go_on(5)
        assert (clock.now(), clock.is_trusted) == (START + timedelta(seconds=5), True)

    def test_goes_on_beside_the_machines_time(self) -> None:
        """Where somebody names another time, the machine counts by how far it is off."""
        dials = Dials()
        clock = dials.clock()
        dials.wall_ns += 7200 * SECOND_NS
        assert not clock.is_trusted
        clock.go_on_at(START + timedelta(minutes=5))
        dials.go_on(10)
        gone_on = (clock.now(), clock.is_trusted)
        dials.wall_ns += 61 * SECOND_NS
        jumped = (clock.now(), clock.is_trusted)
        at = START + timedelta(minutes=5, seconds=10)
        assert (gone_on, jumped) == ((at, True), (at, False))

    def test_set_right_after_all(self) -> None:
        """A machine that is set right is followed again, and a later jump is seen."""
        dials = Dials()
        clock = dials.clock()
        dials.wall_ns += 7200 * SECOND_NS
        assert not clock.is_trusted
        clock.go_on_at(START)
        dials.wall_ns -= 7200 * SECOND_NS
        set_right = (clock.now(), clock.is_trusted)
        dials.wall_ns += 7200 * SECOND_NS
        jumped = (clock.now(), clock.is_trusted)
        assert (set_right, jumped) == ((START, True), (START, False))

    def test_never_goes_on_at_an_earlier_time(self) -> None:
        """A time before the broker's own does not turn it back."""
        dials = Dials()
        clock = dials.clock()
        dials.wall_ns -= 7200 * SECOND_NS
        clock.go_on_at(START - timedelta(hours=1))
        assert (clock.now(), clock.is_trusted) == (START, True)

    def test_goes_on_where_the_wall_clock_is_set_back(self) -> None:
        """A wall clock set back neither turns time back nor stops it."""
        dials = Dials()
        clock = dials.clock()
        dials.go_on(10)
        assert clock.now() == START + timedelta(seconds=10)
        dials.wall_ns -= 3600 * SECOND_NS
        assert clock.now() == START + timedelta(seconds=10)
        dials.go_on(5)
        assert clock.now() == START + timedelta(seconds=15)

    def test_never_goes_back_in_any_thread(self) -> None:
        """Readers in several threads each see time that does not decrease."""
        clock = SystemClock()
        seen: list[list[datetime]] = [[] for _ in range(4)]
        threads = [
            Thread(target=lambda own=own: own.extend(clock.now() for _ in range(2000)))
            for own in seen
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [sorted(own) for own in seen] == seen

    def test_monotonic(self) -> None:
        """The other clock counts seconds, whatever is done to the wall clock."""
        dials = Dials()
        clock = dials.clock()
        dials.wall_ns = 0
        dials.monotonic_ns += 2 * SECOND_NS
        assert clock.monotonic_s() == 7.0


class TestSleep:
    async def test_past(self) -> None:
        """A time that has passed is not waited for, though the clock stands still."""
        await Dials().clock().sleep_until(START)

    async def test_future(self) -> None:
        """The sleeper wakes when its time has come, not before."""
        clock = SystemClock()
        at = clock.now() + timedelta(milliseconds=20)
        await clock.sleep_until(at)
        assert clock.now() >= at


class TestEntropy:
    def test_size(self) -> None:
        """As many bytes are drawn as are asked for, others each time."""
        entropy = SystemEntropy()
        drawn = {entropy.random_bytes(16) for _ in range(100)}
        assert (len(drawn), {len(each) for each in drawn}) == (100, {16})
