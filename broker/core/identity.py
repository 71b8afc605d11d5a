"""Say who is calling."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from broker.core.ids import AgentId


class Role(Enum):
    """What an identity may be used for; one identity may have several."""

    AGENT = "agent"
    APPROVER = "approver"
    AUDITOR = "auditor"
    POLICY = "policy"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A row of `[identities]`, found by the name in the client's certificate.

    Rules about people compare `person` with `owner`, never certificates: two certificates of one
    person are one person.
    """

    id: AgentId
    person: str
    """Who acts: the human behind an approver; empty for a machine."""
    owner: str
    """The human who answers for an agent; empty where nobody is named."""
    roles: frozenset[Role]
    groups: frozenset[str]
    attributes: tuple[tuple[str, str], ...]
    expires_at: datetime | None

    @property
    def people(self) -> frozenset[str]:
        """Name every human that stands behind this identity."""
        return frozenset(name for name in (self.person, self.owner) if name)
