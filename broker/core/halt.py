"""Say which calls a halt covers."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from broker.core.call import Call
from broker.core.canonical import JsonObject
from broker.core.ids import AgentId, HaltId, Pseudonym, Sha256

_NO_AGENT = AgentId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which calls are halted: all, one agent's, those of one of its sessions, or one tool's.

    Args:
        everything: Every call, whoever makes it.
        agent: An agent's id; empty for no agent in particular.
        session_id: A session of that agent; empty for all of its calls.
        tool: A tool's name, without a version; empty for no tool in particular.
    """

    everything: bool = False
    agent: AgentId = _NO_AGENT
    session_id: str = ""
    tool: str = ""

    def __post_init__(self) -> None:
        if (self.everything, bool(self.agent), bool(self.tool)).count(True) != 1:
            raise ValueError("a halt names everything, an agent or a tool: exactly one of them")
        if self.session_id and not self.agent:
            raise ValueError("a session is an agent's: name the agent too")

    @property
    def kind(self) -> str:
        """Give `all`, `agent`, `session` or `tool`."""
        if self.everything:
            return "all"
        if self.tool:
            return "tool"
        return "session" if self.session_id else "agent"

    def covers(self, agent: AgentId, session_id: str, tool: str) -> bool:
        """Tell whether a call of this agent, in this session, of this tool is halted."""
        if self.everything:
            return True
        if self.tool:
            return tool == self.tool
        return agent == self.agent and self.session_id in ("", session_id)

    def covers_call(self, call: Call) -> bool:
        """Tell whether a recorded call is halted."""
        return self.covers(call.agent, call.session_id, call.tool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """An order of an administrator that nothing in a scope runs until it is lifted."""

    id: HaltId
    scope: Scope
    set_by: Pseudonym
    set_at: datetime
    reason_sha256: Sha256
    """Digest of the document that holds the reason in its maker's words."""

    @property
    def name(self) -> str:
        """Give the resource name, `halts/<id>`."""
        return f"halts/{self.id}"

    @property
    def event_data(self) -> JsonObject:
        """Give what the event says that sets it."""
        return {
            "halt": self.id,
            "scope": self.scope.kind,
            "agent": self.scope.agent,
            "session": self.scope.session_id,
            "tool": self.scope.tool,
            "by": self.set_by,
            "reason_sha256": self.reason_sha256,
        }


def halted_by(halts: Iterable[Halt], call: Call) -> Halt | None:
    """Find a halt that covers a call."""
    return next((halt for halt in halts if halt.scope.covers_call(call)), None)
