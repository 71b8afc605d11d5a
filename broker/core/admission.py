"""Count what each agent did, to limit it with and to show it to policy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from broker.core.ids import AgentId
from broker.core.policy_input import UNLIMITED, History
from broker.errors import ResourceExhausted

_BUCKETS = 60
_MINUTE_S = 1
_HOUR_S = 60
_DAY_S = 24 * 60
_BYTES_A_CALL = 64 * 1024
_VALUES_A_CALL = 256


@dataclass(slots=True)
class TokenBucket:
    """Let through a steady rate with bursts.

    Args:
        rate: Tokens a second, above 0.
        burst: Tokens that can be saved up, at least 1.
    """

    rate: float
    burst: float
    tokens: float
    filled_at_s: float = 0.0

    def take(self, now_s: float, cost: float = 1.0) -> float:
        """Take tokens, a whole burst at the most; return 0, or the seconds until there are."""
        cost = min(cost, self.burst)
        elapsed_s = max(0.0, now_s - self.filled_at_s)
        self.tokens = min(self.burst, self.tokens + elapsed_s * self.rate)
        self.filled_at_s = now_s
        if self.tokens >= cost:
            self.tokens -= cost
            return 0.0
        return (cost - self.tokens) / self.rate

    def owe(self, cost: float) -> None:
        """Take tokens that may not be there yet, a whole burst below none at the most."""
        self.tokens = max(-self.burst, self.tokens - cost)


@dataclass(slots=True)
class Window:
    """Count over the last 60 steps of time, in bounded memory.

    Args:
        step_s: Seconds of one step; the window is 60 of them, to the precision of one.
    """

    step_s: int
    counts: list[int] = field(default_factory=lambda: [0] * _BUCKETS)
    sum: int = 0
    step: int = 0

    def add(self, unix_s: int) -> None:
        """Count one."""
        self._advance(unix_s)
        self.counts[self.step % _BUCKETS] += 1
        self.sum += 1

    def total(self, unix_s: int) -> int:
        """Give the sum of the window that ends now."""
        self._advance(unix_s)
        return self.sum

    def _advance(self, unix_s: int) -> None:
        step = unix_s // self.step_s
        if step <= self.step:
            return
        for missed in range(max(self.step + 1, step - _BUCKETS + 1), step + 1):
            self.sum -= self.counts[missed % _BUCKETS]
            self.counts[missed % _BUCKETS] = 0
        self.step = step


@dataclass(slots=True)
class Windows:
    """Count over the last minute, hour and day."""

    minute: Window = field(default_factory=lambda: Window(_MINUTE_S))
    hour: Window = field(default_factory=lambda: Window(_HOUR_S))
    day: Window = field(default_factory=lambda: Window(_DAY_S))

    def add(self, unix_s: int) -> None:
        """Count one in each."""
        for window in (self.minute, self.hour, self.day):
            window.add(unix_s)


@dataclass(slots=True)
class _Session:
    tools: dict[str, None] = field(default_factory=dict)
    used_at_s: int = 0


@dataclass(slots=True)
class _Agent:
    bucket: TokenBucket
    calls: Windows = field(default_factory=Windows)
    denied: Windows = field(default_factory=Windows)
    by_tool: dict[str, Window] = field(default_factory=dict)
    sessions: dict[str, _Session] = field(default_factory=dict)
    open_calls: set[str] = field(default_factory=set)
    held_calls: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """How much one agent may ask for."""

    calls_per_second: float
    burst: int
    open_calls: int
    held_calls: int
    sessions: int


class Admission:
    """Keep the books of every agent: one admitter gives all calls an order.

    Bounded per agent: windows of fixed size, tools of the catalogue only, sessions of the last day,
    of which a further one is refused rather than one forgotten: what was used in it would be shed.
    Not thread-safe; every method returns without waiting, so one event loop orders them.
    """

    def __init__(
        self, quotas: Quotas, tools: Iterable[str], budgets: Mapping[AgentId, int] | None = None
    ) -> None:
        """Open the books.

        Args:
            tools: Names of the catalogue; only these are counted one by one.
            budgets: Calls a day of the agents that have a budget.
        """
        self._quotas = quotas
        self._tools = frozenset(tools)
        self._budgets = budgets or {}
        self._agents: dict[AgentId, _Agent] = {}

    def admit_request(self, agent: AgentId, monotonic_s: float, size_bytes: int = 0) -> None:
        """Count a request against the agent's rate, before anything is stored.

        A large request counts as several: it is stored several times over, in the policy input,
        the view and the record, so that a rate of calls alone would not bound the disk.

        Raises:
            ResourceExhausted: Over the rate; says when to retry.
        """
        cost = 1 + size_bytes // _BYTES_A_CALL
        wait_s = self._book(agent).bucket.take(monotonic_s, cost)
        if wait_s > 0:
            raise ResourceExhausted(
                f"more than {self._quotas.calls_per_second:g} calls a second, of which "
                f"{_BYTES_A_CALL // 1024} KiB of arguments count as one, and "
                f"{_VALUES_A_CALL} values in them: "
                f"retry after {wait_s:.2f} s",
                subject="agent:calls_per_second",
                retry_after_s=wait_s,
                reason="RATE_LIMITED",
            )

    def charge_values(self, agent: AgentId, values: int) -> None:
        """Count the values of an admitted request against the rate of the requests after it.

        Reading a value takes time from everybody, however few bytes it has.

        Args:
            values: Members of objects with items of arrays.
        """
        self._book(agent).bucket.owe(values // _VALUES_A_CALL)

    def check_open(self, agent: AgentId) -> None:
        """Check that the agent may have one more open call.

        Raises:
            ResourceExhausted: It has as many as it may.
        """
        if len(self._book(agent).open_calls) >= self._quotas.open_calls:
            raise ResourceExhausted(
                f"{self._quotas.open_calls} calls of this agent are open: "
                "wait for one to end, or cancel one",
                subject="agent:open_calls",
                retry_after_s=1.0,
                reason="TOO_MANY_OPEN_CALLS",
            )

    def open_session(self, agent: AgentId, session: str, tool: str, at: datetime) -> None:
        """Enter the session of a call that is about to be recorded, if it is new.

        Raises:
            ResourceExhausted: The agent used as many sessions in the last day as it may.
        """
        book, unix_s = self._book(agent), int(at.timestamp())
        if tool not in self._tools or session in book.sessions:
            return
        self._forget_old_sessions(book, unix_s)
        if len(book.sessions) >= self._quotas.sessions:
            longest_unused = next(iter(book.sessions.values()))
            raise ResourceExhausted(
                f"this agent used {len(book.sessions)} sessions in the last day: "
                "go on in one of them",
                subject="agent:sessions",
                retry_after_s=longest_unused.used_at_s + _DAY_S * _BUCKETS - unix_s + 1.0,
                reason="TOO_MANY_SESSIONS",
            )
        book.sessions[session] = _Session(used_at_s=unix_s)

    def may_hold(self, agent: AgentId) -> bool:
        """Tell whether the agent may have one more held call."""
        book = self._agents.get(agent)
        return book is None or len(book.held_calls) < self._quotas.held_calls

    def reserve(self, agent: AgentId, call: str) -> None:
        """Count a call as open from before it is recorded, so that parallel ones see it."""
        self._book(agent).open_calls.add(call)

    def settle(self, agent: AgentId, call: str, *, is_open: bool, is_held: bool) -> None:
        """Note where a call stands now."""
        book = self._book(agent)
        (book.open_calls.add if is_open else book.open_calls.discard)(call)
        (book.held_calls.add if is_held else book.held_calls.discard)(call)

    def count(self, agent: AgentId, session: str, tool: str, at: datetime) -> None:
        """Count a call into the history of those after it; do so before the first wait."""
        book = self._book(agent)
        unix_s = int(at.timestamp())
        book.calls.add(unix_s)
        if tool in self._tools:
            book.by_tool.setdefault(tool, Window(_DAY_S)).add(unix_s)
            # Moved to the end: the first is then always the one unused for longest.
            entry = book.sessions[session] = book.sessions.pop(session, _Session())
            entry.tools[tool] = None
            entry.used_at_s = unix_s
            self._forget_old_sessions(book, unix_s)

    def count_denied(self, agent: AgentId, at: datetime) -> None:
        """Count a call that was denied."""
        self._book(agent).denied.add(int(at.timestamp()))

    def history(self, agent: AgentId, session: str, at: datetime) -> History:
        """Snapshot what policy is shown of the agent's past."""
        book = self._book(agent)
        unix_s = int(at.timestamp())
        tools = {name: window.total(unix_s) for name, window in book.by_tool.items()}
        calls, denied = _totals(book.calls, unix_s), _totals(book.denied, unix_s)
        entry = book.sessions.get(session)
        return History(
            calls=calls,
            denied=denied,
            by_tool={name: count for name, count in sorted(tools.items()) if count},
            prior_tools=tuple(entry.tools) if entry else (),
            budget_spent=calls[-1] - denied[-1],
            budget_limit=self._budgets.get(agent, UNLIMITED),
        )

    def _book(self, agent: AgentId) -> _Agent:
        book = self._agents.get(agent)
        if book is None:
            burst = float(self._quotas.burst)
            bucket = TokenBucket(self._quotas.calls_per_second, burst, tokens=burst)
            book = self._agents[agent] = _Agent(bucket)
        return book

    @staticmethod
    def _forget_old_sessions(book: _Agent, unix_s: int) -> None:
        oldest_s = unix_s - _DAY_S * _BUCKETS
        while book.sessions:
            first = next(iter(book.sessions))
            if book.sessions[first].used_at_s >= oldest_s:
                break
            del book.sessions[first]


def _totals(windows: Windows, unix_s: int) -> tuple[int, int, int]:
    return (
        windows.minute.total(unix_s),
        windows.hour.total(unix_s),
        windows.day.total(unix_s),
    )
