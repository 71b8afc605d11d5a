"""Do to broker, Engine and containers what fate does; keep what happened when."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from broker.client import Client
from broker.init import SPIFFE_PREFIX
from drill.mixture.book import Book, Made
from tests.broker_process import Served
from tests.e2e.crash.load import AGENTS
from tests.e2e.crash.own_engine import OwnEngine

_LONGEST_PAUSE_S = 2.0
# Longer than the broker gives any step of an ending.
_LONG_HANG_S = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happened, from when until when; monotonic seconds.

    Args:
        agent: Whose calls it touched; empty: everybody's.
        is_felt: Whether it touched any: a call that goes wrong meanwhile is not excused else.
    """

    kind: str
    began_s: float
    ended_s: float
    agent: str = ""
    is_felt: bool = True

    def touches(self, made: Made) -> bool:
        """Tell whether a call was under way meanwhile."""
        mine = self.is_felt and self.agent in ("", made.agent)
        return mine and self.began_s <= made.ended_s and made.began_s <= self.ended_s


class Fate:
    """Injects faults, one after the other, by the progress of a book."""

    def __init__(
        self,
        served: Served,
        engine: OwnEngine,
        book: Book,
        chance: random.Random,
        *,
        changes: Mapping[str, Callable[[], object]],
        live_changes: Mapping[str, Callable[[], object]],
        farewell: Callable[[], object],
    ) -> None:
        self._served = served
        self._engine = engine
        self._book = book
        self._chance = chance
        self._farewell = farewell
        self.faults: list[Fault] = []
        self._kinds: dict[str, Callable[[], None]] = {
            "container killed": self._kill_container,
            "first process killed": self._kill_first_process,
            "agent halted": self._halt,
            "Engine killed": self._kill_engine,
            "Engine hung": lambda: self._hang_engine(self._pause_s()),
            "Engine hung long": lambda: self._hang_engine(_LONG_HANG_S),
            "broker killed": lambda: self._kill_broker("broker killed", lambda: None),
            **{kind: partial(self._kill_broker, kind, change) for kind, change in changes.items()},
            **{kind: partial(self._change, kind, each) for kind, each in live_changes.items()},
        }

    def work(self, plan: Mapping[str, int]) -> None:
        """Inject a plan's faults, each at a random turn."""
        kinds = sorted(Counter(plan).elements())
        self._chance.shuffle(kinds)
        for turn in sorted(self._chance.sample(range(self._book.turns), len(kinds))):
            self._book.wait_for(turn)
            if self._book.has_failed:
                return
            self._kinds[kinds.pop()]()
        self._book.fate_done()

    def touched(self, made: Made) -> bool:
        """Tell whether a fault overlapped a call."""
        return any(fault.touches(made) for fault in self.faults)

    @contextmanager
    def _noted(self, kind: str, agent: str = "") -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self._note(kind, began_s, agent)

    def _note(self, kind: str, began_s: float, agent: str = "", *, is_felt: bool = True) -> None:
        ended_s = time.monotonic()
        self.faults.append(
            Fault(kind=kind, began_s=began_s, ended_s=ended_s, agent=agent, is_felt=is_felt)
        )

    def _pause_s(self) -> float:
        return self._chance.uniform(0, _LONGEST_PAUSE_S)

    def _kill_container(self) -> None:
        self._meet("container killed", self._engine.kill_container)

    def _kill_first_process(self) -> None:
        self._meet("first process killed", self._engine.kill_first_process)

    def _meet(self, kind: str, kill: Callable[[str], bool]) -> None:
        """Kill a container that is there, as soon as there is one."""
        while not self._book.has_failed:
            for each in self._shuffled(self._engine.containers()):
                began_s = time.monotonic()
                if kill(each):
                    # Until then a call can still get it where it waited: its stream is open.
                    self._engine.wait_for_end(each)
                    self._note(kind, began_s)
                    return

    def _shuffled(self, containers: list[str]) -> list[str]:
        return self._chance.sample(containers, len(containers))

    def _halt(self) -> None:
        agent = self._chance.choice(AGENTS)
        config, address = self._served.folder.config, self._served.target
        with (
            Client.from_config(config, "admin", address=address) as admin,
            self._noted("agent halted", agent),
        ):
            done = admin.halt("a drill", agent=f"{SPIFFE_PREFIX}{agent}")
            time.sleep(self._pause_s())
            admin.resume(done.halt.name)

    def _kill_engine(self) -> None:
        with self._noted("Engine killed"):
            self._engine.kill()
            time.sleep(self._pause_s())
            self._engine.start()

    def _hang_engine(self, pause_s: float) -> None:
        with self._noted("Engine hung" if pause_s < _LONG_HANG_S else "Engine hung long"):
            self._engine.hang()
            time.sleep(pause_s)
            self._engine.go_on()

    def _kill_broker(self, kind: str, change: Callable[[], object]) -> None:
        """Kill the broker; its next life finds something changed."""
        with self._noted(kind):
            self._farewell()
            self._served.kill()
            change()
            time.sleep(self._pause_s() / 4)
            self._served.start()

    def _change(self, kind: str, change: Callable[[], object]) -> None:
        """Change something of a broker that lives, which no call may feel."""
        began_s = time.monotonic()
        change()
        self._note(kind, began_s, is_felt=False)
