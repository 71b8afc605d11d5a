"""Tell people how the broker does: structured logs with Prometheus metrics."""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from broker.core.call import Call
from broker.core.freshness import Freshness
from broker.core.halt import Halt
from broker.core.lifecycle import CallState, Step
from broker.errors import BrokerError

_FAST_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_RUN_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
_HELD_S = (1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0)
_RANKS = {Freshness.FRESH: 0, Freshness.STALE: 1, Freshness.REFUSING: 2}


def configure_logs(level: str, form: str) -> None:
    """Send logs to standard error.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `json` for programs, `console` for people.
    """
    renderer: Any = structlog.processors.JSONRenderer(_json_line)
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: _Lines(sys.stderr.fileno()),
        cache_logger_on_first_use=True,
    )


def _json_line(event: object, **_: object) -> bytes:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Text that is no UTF-8: escaped it can be told all the same.
        return json.dumps(event, default=repr, sort_keys=True).encode()


class _Lines:
    """A logger that writes each line at once, by one system call, and loses what cannot be written.

    A full disk, or a reader that went away, must not end the call whose step is being told.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def msg(self, line: str | bytes) -> None:
        """Write a line."""
        data = line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            os.write(self._descriptor, data + b"\n")

    debug = info = warning = error = critical = msg


class Telemetry:
    """Count and log each step of a call; content never comes here (see `broker.ports`)."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._held: dict[str, datetime] = {}
        self.registry = CollectorRegistry()
        # Each belongs to this registry: two brokers in one process count apart.
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self._calls = counter("toolwarrant_calls", "Calls that ended.", ["state", "tool"])
        self._open = gauge("toolwarrant_open_calls", "Calls by open state.", ["state"])
        self._decision = histogram(
            "toolwarrant_decision_seconds",
            "Time until policy answered.",
            ["engine"],
            buckets=_FAST_S,
        )
        self._sandbox = histogram(
            "toolwarrant_sandbox_seconds", "Wall time of runs.", ["tool"], buckets=_RUN_S
        )
        self._hold_age = histogram(
            "toolwarrant_hold_age_seconds", "How long holds waited.", buckets=_HELD_S
        )
        self._oldest = gauge(
            "toolwarrant_oldest_hold_timestamp_seconds",
            "When the oldest open hold was opened; 0: none.",
        )
        self._lag = histogram(
            "toolwarrant_receipt_lag_seconds",
            "From the end of a call to its durable receipt.",
            buckets=_FAST_S,
        )
        self._halts = gauge("toolwarrant_active_halts", "Halts that are active.")
        self._taken = counter(
            "toolwarrant_sandboxes",
            "Containers that calls got: those that had waited, those that calls waited for.",
            ["way"],
        )
        self._waiting = gauge("toolwarrant_waiting_sandboxes", "Containers that wait for calls.")
        self._witness_lag = gauge(
            "toolwarrant_witness_lag_entries",
            "Entries of the log that a witness has not cosigned.",
            ["witness"],
        )
        self._unwitnessed = gauge(
            "toolwarrant_unwitnessed_entries",
            "Entries of the log that no head covers which enough witnesses cosigned.",
        )
        self._refusals = counter(
            "toolwarrant_refused_rpcs", "RPCs that ended in an error.", ["rpc", "reason"]
        )
        self._alarms = counter("toolwarrant_alarms", "Faults to look at.", ["reason"])
        self._states: dict[str, CallState] = {}
        self._last_freshness = Freshness.FRESH
        self._meter_policy()

    def _meter_policy(self) -> None:
        self._looks = Counter(
            "toolwarrant_bundle_looks",
            "Looks for a new policy bundle.",
            ["outcome"],
            registry=self.registry,
        )
        self._freshness = Gauge(
            "toolwarrant_policy_freshness",
            "0: the source of bundles confirms the active one, or there is none; 1: stale; "
            "2: refusing.",
            registry=self.registry,
        )
        self._confirmed = Gauge(
            "toolwarrant_policy_confirmed_timestamp_seconds",
            "When the source of bundles last confirmed the active one; 0: never, or no source.",
            registry=self.registry,
        )

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus on a listener of its own, in a thread of its own.

        Raises:
            OSError: The address is taken.
        """
        start_http_server(port, addr=host, registry=self.registry)

    def recorded(self, call: Call, steps: Sequence[Step]) -> None:
        """Note a durable commit of a call."""
        self._log.info(
            steps[-1].value,
            call=call.id,
            state=call.state.value,
            agent=call.agent,
            tool=call.tool,
            rule=call.evaluations[-1].rule,
            cause=call.cause.value if call.cause else None,
        )
        self._count_open(call)
        self._note_hold(call)
        if call.state.is_final and call.ended_at is not None:
            # A tool that the catalogue lacks has no label of its own: agents choose that text.
            self._calls.labels(call.state.value, call.tool if call.image else "").inc()
            lag_s = (datetime.now(UTC) - call.ended_at).total_seconds()
            self._lag.observe(max(0.0, lag_s))
            if call.usage is not None:
                self._sandbox.labels(call.tool).observe(call.usage.wall_ms / 1000)

    def taken_up(self, call: Call) -> None:
        """Note an open call of an earlier life."""
        self._count_open(call)
        self._note_hold(call)

    def decided(self, engine: str, seconds: float) -> None:
        """Note how long policy took to answer."""
        self._decision.labels(engine).observe(seconds)

    def policy_active(self, revision: str, instead_of: str) -> None:
        """Note a policy bundle that decides from now on."""
        self._log.info("policy.active", revision=revision, instead_of=instead_of)

    def refused(self, rpc: str, reason: str) -> None:
        """Note an RPC that ended in an error."""
        self._refusals.labels(rpc, reason).inc()
        self._log.debug("refused", rpc=rpc, reason=reason)

    def halted(self, halt: Halt, active: int) -> None:
        """Note a halt that was set, or found at start."""
        self._halts.set(active)
        self._log.warning("halt.set", active=active, **_facts(halt))

    def resumed(self, halt: Halt, active: int) -> None:
        """Note a halt that was lifted."""
        self._halts.set(active)
        self._log.warning("halt.lifted", active=active, **_facts(halt))

    def sandbox_taken(self, *, was_waiting: bool) -> None:
        """Note a container that a call gets."""
        self._taken.labels("warm" if was_waiting else "cold").inc()

    def sandboxes_waiting(self, containers: int) -> None:
        """Note how many containers wait for calls."""
        self._waiting.set(containers)

    def bundle_looked(self, outcome: str) -> None:
        """Note how a look for a new bundle ended."""
        self._looks.labels(outcome).inc()
        self._log.debug("bundle.looked", outcome=outcome)

    def policy_freshness(self, state: Freshness, confirmed_at: datetime | None) -> None:
        """Note how far the active policy may be relied on."""
        self._freshness.set(_RANKS[state])
        self._confirmed.set(confirmed_at.timestamp() if confirmed_at else 0)
        if state is Freshness.FRESH and self._last_freshness is not state:
            self._log.info("policy.confirmed", was=self._last_freshness.value)
        self._last_freshness = state

    def witnesses_lag(self, entries: Mapping[str, int], unwitnessed: int) -> None:
        """See `broker.ports.Telemetry`."""
        for witness, behind in entries.items():
            self._witness_lag.labels(witness).set(behind)
        self._unwitnessed.set(unwitnessed)

    def stopping(self, running: int) -> None:
        """See `broker.ports.Telemetry`."""
        self._log.info("stopping", running=running)

    def alarm(self, what: str, error: BaseException) -> None:
        """Note a fault that an operator has to look at."""
        known = isinstance(error, BrokerError)
        reason = error.reason if isinstance(error, BrokerError) else type(error).__name__
        self._alarms.labels(reason).inc()
        self._log.error(what, reason=reason, error=str(error), exc_info=None if known else error)

    def _count_open(self, call: Call) -> None:
        before = self._states.pop(call.id, None)
        if before is not None:
            self._open.labels(before.value).dec()
        if not call.state.is_final:
            self._states[call.id] = call.state
            self._open.labels(call.state.value).inc()

    def _note_hold(self, call: Call) -> None:
        if call.state is CallState.HELD and call.hold is not None:
            self._held[call.id] = call.hold.opened_at
        elif (opened_at := self._held.pop(call.id, None)) is not None:
            self._hold_age.observe((datetime.now(UTC) - opened_at).total_seconds())
        oldest = min(self._held.values(), default=None)
        self._oldest.set(oldest.timestamp() if oldest else 0)


def _facts(halt: Halt) -> dict[str, str]:
    scope = halt.scope
    named = {"agent": scope.agent, "session": scope.session_id, "tool": scope.tool}
    since = halt.set_at.isoformat()
    return {"halt": halt.id, "scope": scope.kind, "since": since} | {
        key: text for key, text in named.items() if text
    }
