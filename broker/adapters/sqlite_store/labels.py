"""Keep what agents are labelled with; refuse the start of what was decided under fewer labels."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping

from broker.core.call import Call
from broker.core.ids import AgentId
from broker.errors import PremiseChanged
from broker.ports import LABELS_PREMISE


def label_agent(connection: sqlite3.Connection, call: Call) -> None:
    """Let a call that begins label its agent.

    Raises:
        PremiseChanged: The agent has other labels than policy saw when it was asked last.
    """
    rows = connection.execute("SELECT label FROM labels WHERE agent = ?", (call.agent,))
    held = {label for (label,) in rows}
    if call.evaluations[-1].label_version != len(held):
        raise PremiseChanged(LABELS_PREMISE)
    for number, label in enumerate(sorted(call.labels - held), start=len(held) + 1):
        connection.execute(
            "INSERT INTO labels VALUES (?, ?, ?, ?)", (call.agent, number, label, call.id)
        )


def list_labels(connection: sqlite3.Connection) -> Mapping[AgentId, frozenset[str]]:
    """List what every agent is labelled with."""
    found: defaultdict[AgentId, set[str]] = defaultdict(set)
    for agent, label in connection.execute("SELECT agent, label FROM labels"):
        found[agent].add(label)
    return {agent: frozenset(labels) for agent, labels in found.items()}
