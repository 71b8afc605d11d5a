"""Know who may do what: identities, the people behind them, their pseudonyms."""

from collections.abc import Mapping
from datetime import datetime

from broker.core.call import Call
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId, Pseudonym
from broker.ports import Clock, Entropy, Store

_ACTORS = frozenset({Role.ADMIN, Role.POLICY})


class People:
    """Look identities up; name people by pseudonym. Used from one event loop."""

    def __init__(self, identities: Mapping[str, Identity], clock: Clock) -> None:
        self._identities = identities
        self._clock = clock
        self._pseudonyms: dict[str, Pseudonym] = {}

    async def load(self, store: Store, entropy: Entropy) -> None:
        """Draw or read the pseudonym of every person who may act."""
        who_acts = self._identities.values()
        names = {name for who in who_acts for name in who.people}
        names |= {_actor(who) for who in who_acts if who.roles & _ACTORS}
        for person in sorted(names):
            fresh = Pseudonym(f"p-{entropy.random_bytes(8).hex()}")
            self._pseudonyms[person] = await store.pseudonym(person, fresh)

    def identity(self, name: str) -> Identity | None:
        """Find an identity that has not expired, by the name in its certificate."""
        identity = self._identities.get(AgentId(name))
        return identity if identity and _is_valid(identity, self._clock.now()) else None

    def pseudonym(self, person: str) -> Pseudonym:
        """Give the pseudonym of a person who is behind some identity."""
        return self._pseudonyms[person]

    def actor(self, identity: Identity) -> Pseudonym:
        """Give the pseudonym of an administrator, or of who acts for policy; maybe a machine's."""
        return self._pseudonyms[_actor(identity)]

    def named(self, pseudonym: Pseudonym) -> str:
        """Give the person behind a pseudonym; empty where the configuration has lost them."""
        return next((name for name, own in self._pseudonyms.items() if own == pseudonym), "")

    def agents(self) -> list[AgentId]:
        """List the agents that are configured."""
        agents = [who.id for who in self._identities.values() if Role.AGENT in who.roles]
        return sorted(agents)

    def roles(self, agent: AgentId) -> frozenset[Role]:
        """Give the roles of an agent; none where it is no longer configured."""
        identity = self._identities.get(agent)
        return identity.roles if identity else frozenset()

    def owner(self, agent: AgentId) -> Pseudonym | None:
        """Name who answers for an agent, by pseudonym."""
        identity = self._identities.get(agent)
        return self._pseudonyms[identity.owner] if identity and identity.owner else None

    def is_own(self, call: Call, identity: Identity) -> bool:
        """Tell whether a person stands behind the agent of this call.

        People are compared, not certificates: a second certificate of the same person changes
        nothing. An agent that is no longer configured has nobody to compare: doubt means yes.
        """
        agent = self._identities.get(call.agent)
        return agent is None or identity.id == call.agent or bool(agent.people & identity.people)

    def may_decide(self, call: Call, identity: Identity) -> bool:
        """Tell whether an identity's vote on this call can count."""
        if Role.APPROVER not in identity.roles or not identity.person or call.hold is None:
            return False
        if self.is_own(call, identity):
            return False
        wanted = {requirement.group for requirement in call.hold.requirements}
        return "" in wanted or bool(wanted & identity.groups)

    def eligible(self, call: Call) -> Mapping[Pseudonym, frozenset[str]]:
        """Name everybody who may decide this call now, with the groups they are in now."""
        now = self._clock.now()
        people: dict[Pseudonym, frozenset[str]] = {}
        for identity in self._identities.values():
            may = _is_valid(identity, now) and Role.APPROVER in identity.roles
            if may and identity.person and not self.is_own(call, identity):
                pseudonym = self._pseudonyms[identity.person]
                people[pseudonym] = people.get(pseudonym, frozenset()) | identity.groups
        return people


def _actor(identity: Identity) -> str:
    return identity.person or identity.owner or identity.id


def _is_valid(identity: Identity, now: datetime) -> bool:
    return identity.expires_at is None or now < identity.expires_at
