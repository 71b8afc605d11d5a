"""Keep what agents are labelled with in memory."""

from collections.abc import Iterable

from broker.core.ids import AgentId
from broker.ports import Store

_NONE: frozenset[str] = frozenset()


class Labels:
    """Say at once what an agent is labelled with, in each of its sessions. Used from one loop.

    Memory may be behind the store for as long as a commit's answer takes, or where it was lost:
    nothing begins by that, since the store compares the number of labels itself.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[AgentId, frozenset[str]] = {}

    async def load(self) -> None:
        """Take up what the store has.

        Raises:
            StoreUnavailable: It cannot be read now; memory is as before.
        """
        for agent, labels in (await self._store.labels()).items():
            self.add(agent, labels)

    def of(self, agent: AgentId) -> frozenset[str]:
        """Give an agent's labels; as none is ever taken away, their number is their version."""
        return self._held.get(agent, _NONE)

    def add(self, agent: AgentId, labels: Iterable[str]) -> None:
        """Take note of labels that an agent has, durably."""
        self._held[agent] = self.of(agent).union(labels)
