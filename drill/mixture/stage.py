"""Let agents at their desks make calls, while fate does its work."""

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from drill.mixture.book import Book, Made
from drill.mixture.desk import Desk, FetchTargets
from drill.mixture.faults import Fate, Fault
from drill.mixture.trials import Trial
from drill.mixture.uses import seed
from tests.broker_process import Served
from tests.e2e.crash.load import AGENTS
from tests.e2e.crash.own_engine import OwnEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of it.

    Args:
        untouched: The calls that no fault overlapped.
    """

    made: tuple[Made, ...]
    untouched: tuple[Made, ...]
    faults: tuple[Fault, ...]

    def __add__(self, other: "Played") -> "Played":
        return Played(
            made=self.made + other.made,
            untouched=self.untouched + other.untouched,
            faults=self.faults + other.faults,
        )

    def __str__(self) -> str:
        """Say in a line what was called, how it ended, what was done to it."""
        counts = {
            "tools": Counter(each.wish.tool for each in self.made),
            "outcomes": Counter(each.state.value for each in self.made),
            "faults": Counter(fault.kind for fault in self.faults),
        }
        parts = "; ".join(_counted(title, count) for title, count in counts.items())
        return f"{len(self.made)} calls, {len(self.untouched)} of them met no fault; {parts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Who plays, where.

    Args:
        desks: How many of each agent.
        trials: What they do, with how often among the others.
        once: What they do first, each once.
        changes: Kind of a fault with what is changed while the broker is dead.
        live_changes: The same of what is changed while it takes calls.
        farewell: Called before the broker is killed, while it still answers.
    """

    served: Served
    engine: OwnEngine
    places: FetchTargets
    desks: int
    trials: Mapping[Trial, int]
    once: Sequence[Trial] = ()
    changes: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    live_changes: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    farewell: Callable[[], object] = lambda: None

    def play(self, chance: random.Random, turns: int, plan: Mapping[str, int]) -> Played:
        """Do so many turns at least, with all of a plan's faults; every call is final then."""
        book = Book(turns)
        fate = Fate(
            self.served,
            self.engine,
            book,
            random.Random(chance.random()),
            changes=self.changes,
            live_changes=self.live_changes,
            farewell=self.farewell,
        )
        desks = [
            Desk(
                agent,
                self.served,
                chance=random.Random(chance.random()),
                book=book,
                places=self.places,
            )
            for agent in AGENTS
            for _ in range(self.desks)
        ]
        dealt = deque(chance.sample(self.once, len(self.once)))
        threads = [
            threading.Thread(target=_work, args=(desk, book, dealt, self.trials)) for desk in desks
        ]
        for thread in threads:
            thread.start()
        try:
            fate.work(plan)
        except BaseException as error:
            # The desks stop too, whatever ended this one's work: they are joined below.
            book.fail(error)
            raise
        finally:
            for thread in threads:
                thread.join()
            for desk in desks:
                desk.leave()
        if book.errors:
            raise book.errors[0]
        return Played(
            made=tuple(book.made),
            untouched=tuple(each for each in book.made if not fate.touched(each)),
            faults=tuple(fate.faults),
        )


def _work(desk: Desk, book: Book, dealt: deque[Trial], mixture: Mapping[Trial, int]) -> None:
    trials, weights = list(mixture), list(mixture.values())
    try:
        seed(desk)
        while book.take():
            try:
                trial = dealt.popleft()
            except IndexError:
                (trial,) = desk.chance.choices(trials, weights)
            trial(desk)
            book.turn_done()
    except BaseException as error:
        # A thread's fault is told by `play`.
        book.fail(error)


def _counted(title: str, counts: Counter[str]) -> str:
    return f"{title}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
