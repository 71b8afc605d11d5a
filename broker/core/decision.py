"""Give policy's answer its meaning: a decision, its obligations, what approval it wants."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import Enum

from broker.core.canonical import JsonObject

RUNTIMES = ("runc", "runsc", "kata")
"""Runtimes from the weakest isolation to the strongest, unless the operator names more of them.

`policies_rego` holds the same order for inputs that name none.
"""
LACKS_ALLOW = frozenset({"broker.not_allowed", "broker.hold_without_allow"})
"""Rules of the broker's own by which a call is denied that lacks an allow alone."""


class Effect(Enum):
    """What policy says of a call."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


class Mode(Enum):
    """What a team package on trial does with what it finds; an enforced one has no trial."""

    WARN = "warn"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why policy said so.

    `message` is for the security team; `agent_message` is what the agent is told.
    """

    rule: str
    message: str
    agent_message: str
    severity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Ceilings of one run; each at least 1."""

    cpu_millicores: int
    memory_bytes: int
    pids: int
    timeout_s: int
    output_bytes: int
    tmp_bytes: int

    def __post_init__(self) -> None:
        for name, limit in self.by_name().items():
            if limit < 1:
                raise ValueError(f"limit {name} must be at least 1")

    def by_name(self) -> dict[str, int]:
        """List the limits by their names on the wire."""
        return {name: getattr(self, name) for name in LIMIT_NAMES}


LIMIT_NAMES = tuple(limit.name for limit in fields(Limits))
"""Spelt alike in policy's answers, in `tool.yaml`, in receipts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligations:
    """Under which conditions the call may run, after the broker's own clamp."""

    runtime: str
    limits: Limits
    egress: tuple[str, ...]
    secrets: tuple[str, ...]
    redact: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """How many approvers of which group; the empty group means any eligible approver."""

    group: str
    count: int


def persons_wanted(requirements: Iterable[Requirement]) -> Counter[str]:
    """Add up how many persons each group must send."""
    wanted: Counter[str] = Counter()
    for requirement in requirements:
        wanted[requirement.group] += requirement.count
    return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a hold asks for. An empty list of requirements is never met."""

    requirements: tuple[Requirement, ...]
    decide_within_s: int
    run_within_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRules:
    """Which rules of one package applied to a call, by the set that each adds to."""

    allow: tuple[str, ...]
    hold: tuple[str, ...]
    deny: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a package in mode warn or shadow would have made of a decision.

    Args:
        package: Such as `teams.shop`.
        rules: Its own.
        effect: Of `would_be`.
        reasons: Of `would_be`.
        would_be: The whole decision, were this package alone of those on trial enforced. Its
            obligations, approval and labels are unchecked: `read_decision` may refuse them.
    """

    package: str
    mode: Mode
    rules: OwnRules
    effect: Effect
    reasons: tuple[Reason, ...]
    would_be: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Policy's whole answer, checked; `approval` stands if and only if the effect is HOLD.

    Nothing but the record, and what an agent is warned of, comes of `trials`.
    """

    effect: Effect
    reasons: tuple[Reason, ...]
    risk: int
    obligations: Obligations
    approval: Approval | None
    labels: tuple[str, ...]
    trials: tuple[Trial, ...] = ()
    output: JsonObject


def denial(
    rule: str, message: str, agent_message: str, *, severity: str = "medium", risk: int = 50
) -> Decision:
    """Make a denial of the broker's own, in the form of policy's output.

    Args:
        rule: Starts with `broker.`, such as `broker.tool_unknown`.
        message: For the security team.
        agent_message: For the agent: what it can do next.
        risk: 0 to 100.
    """
    reason = Reason(rule=rule, message=message, agent_message=agent_message, severity=severity)
    return Decision(
        effect=Effect.DENY,
        reasons=(reason,),
        risk=risk,
        obligations=_NOTHING,
        approval=None,
        labels=(),
        output={
            "effect": Effect.DENY.value,
            "reasons": [
                {
                    "rule": rule,
                    "message": message,
                    "agent_message": agent_message,
                    "severity": severity,
                }
            ],
            "risk": risk,
            "obligations": {
                "runtime": RUNTIMES[0],
                "limits": {},
                "egress": [],
                "secrets": [],
                "redact": [],
            },
            "labels": [],
        },
    )


_NOTHING = Obligations(
    runtime=RUNTIMES[0],
    limits=Limits(**dict.fromkeys(LIMIT_NAMES, 1)),
    egress=(),
    secrets=(),
    redact=(),
)
