"""Build the one document that policy is asked about."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from broker.core.canonical import JsonObject
from broker.core.decision import RUNTIMES, Limits
from broker.core.derived import derive
from broker.core.identity import Identity
from broker.core.ids import CallId, Sha256
from broker.core.instant import rfc3339

SCHEMA = "broker.policy-input/v1"
UNLIMITED = 2**53 - 1
"""Budget of an agent that has none: the largest integer of I-JSON."""

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTool:
    """What policy is told of a tool."""

    name: str
    version: str
    image_digest: str
    """The Engine's image id."""
    effects: Mapping[str, bool]
    """`read_only`, `destructive`, `idempotent`, `reversible`, `open_world`."""
    labels: tuple[str, ...]
    limits: Limits
    egress: tuple[str, ...]
    secrets: tuple[str, ...]
    runtime: str
    input_schema: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the agent did before this call, never the call itself.

    `calls` and `denied` count the last minute, hour and day.
    """

    calls: tuple[int, int, int]
    denied: tuple[int, int, int]
    by_tool: Mapping[str, int]
    prior_tools: tuple[str, ...]
    budget_spent: int
    budget_limit: int = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySession:
    """The session that the call belongs to; `purpose` is the agent's own claim.

    `labels` are its agent's: another session sheds none.
    """

    id: str
    labels: frozenset[str]
    purpose: str


def policy_input(
    *,
    call: CallId,
    now: datetime,
    identity: Identity,
    session: PolicySession,
    tool: PolicyTool,
    arguments: JsonObject,
    arguments_sha256: Sha256,
    tree_sha256: Sha256,
    paths: tuple[str, ...],
    history: History,
    runtimes: tuple[str, ...] = RUNTIMES,
) -> JsonObject:
    """Build the input document; its canonical JSON is what engines get.

    Args:
        now: The broker's time, aware.
        paths: Every path of the session's workspace, as the call sees it.
        runtimes: From the weakest isolation to the strongest.
    """
    return {
        "schema": SCHEMA,
        "request_id": call,
        "time": _time(now.astimezone(UTC)),
        "agent": _agent(identity),
        "session": {
            "id": session.id,
            "labels": sorted(session.labels),
            "purpose": session.purpose,
        },
        "tool": _tool(tool, arguments, arguments_sha256),
        "derived": derive(tool.input_schema, arguments),
        "workspace": {"tree_sha256": tree_sha256, "paths": sorted(paths)},
        "history": _history(history),
        "runtimes": list(runtimes),
    }


def _time(now: datetime) -> JsonObject:
    return {
        "rfc3339": rfc3339(now),
        "unix_s": int(now.timestamp()),
        "weekday": _WEEKDAYS[now.weekday()],
        "hour": now.hour,
        "minute": now.minute,
    }


def _agent(identity: Identity) -> JsonObject:
    return {
        "id": identity.id,
        "roles": sorted(role.value for role in identity.roles),
        "groups": sorted(identity.groups),
        "attributes": dict(identity.attributes),
    }


def _tool(tool: PolicyTool, arguments: JsonObject, arguments_sha256: Sha256) -> JsonObject:
    return {
        "name": tool.name,
        "version": tool.version,
        "image_digest": tool.image_digest,
        "effects": dict(tool.effects),
        "labels": sorted(tool.labels),
        "limits": tool.limits.by_name(),
        "egress": sorted(tool.egress),
        "secrets": sorted(tool.secrets),
        "runtime": tool.runtime,
        "arguments": arguments,
        "arguments_sha256": arguments_sha256,
    }


def _history(history: History) -> JsonObject:
    return {
        "calls": _windows(history.calls),
        "denied": _windows(history.denied),
        "by_tool": dict(history.by_tool),
        "prior_tools": list(history.prior_tools),
        "budget": {"spent": history.budget_spent, "limit": history.budget_limit},
    }


def _windows(counts: tuple[int, int, int]) -> JsonObject:
    return dict(zip(("last_minute", "last_hour", "last_day"), counts, strict=True))
