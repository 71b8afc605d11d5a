"""Prove from a store's file what must hold however often its broker died."""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from broker.core.lifecycle import CallState, Step, after
from broker.core.trust_root import read_trust_root
from broker.verify.audit import verify_log
from broker.verify.chain import verify_chain
from broker.verify.log_folder import LogFolder
from broker.verify.verdict import Validity

_STEPS = {step.value for step in Step}


@dataclass(frozen=True)
class Record:
    """What a store's file says, read behind the broker's back.

    Args:
        states: Call with its state.
        steps: Call with its steps in order.
        receipts: Calls in the order of their receipts.
        entries: Of the log; None where the bytes are still to be made.
    """

    states: dict[str, CallState]
    steps: dict[str, list[Step]]
    receipts: list[str]
    envelopes: list[bytes]
    entries: list[bytes | None]
    sequences: list[int]
    epoch: int

    def started(self, call: str) -> int:
        """Count how often a call got over the point of no return."""
        return self.steps[call].count(Step.START)


def read_record(store: Path) -> Record:
    """Read the whole record."""
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)
    try:
        # One snapshot for all of it: a broker may be writing.
        connection.execute("BEGIN")
        states = {
            f"calls/{call}": CallState(state)
            for call, state in connection.execute("SELECT id, state FROM calls ORDER BY id")
        }
        steps: dict[str, list[Step]] = {call: [] for call in states}
        sequences = []
        for sequence, call, kind in connection.execute(
            "SELECT sequence, call, type FROM events ORDER BY sequence"
        ):
            sequences.append(sequence)
            # Other events of a call say what it did meanwhile, such as where it connected.
            if call is not None and kind in _STEPS:
                steps[f"calls/{call}"].append(Step(kind))
        sealed = connection.execute("SELECT call, envelope FROM receipts ORDER BY sequence")
        receipts = [(f"calls/{call}", bytes(envelope)) for call, envelope in sealed]
        entries = [
            entry
            for (entry,) in connection.execute(
                "SELECT coalesce(receipts.envelope, leaf) FROM log_entries"
                " LEFT JOIN receipts ON kind = 'receipt' AND receipts.sequence = reference"
                " LEFT JOIN log_leaves ON log_leaves.place = log_entries.place"
                " ORDER BY log_entries.place"
            )
        ]
        epoch = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
    finally:
        connection.close()
    return Record(
        states=states,
        steps=steps,
        receipts=[call for call, _ in receipts],
        envelopes=[envelope for _, envelope in receipts],
        entries=entries,
        sequences=sequences,
        epoch=int(epoch[0]),
    )


def check_record(record: Record, trust_root: Path) -> None:
    """Fail where a call is not what its events made it, ran twice, or lacks its one receipt.

    Events and receipts are without gaps, every receipt verifies and names the one before it.
    """
    assert record.sequences == list(range(1, len(record.sequences) + 1))
    for call, steps in record.steps.items():
        state: CallState | None = None
        for step in steps:
            state = after(state, step)
        assert state is record.states[call], call
        assert steps.count(Step.START) <= 1, call
    final = sorted(call for call, state in record.states.items() if state.is_final)
    assert sorted(record.receipts) == final
    assert set(Counter(record.receipts).values()) <= {1}
    verdict = verify_chain(record.envelopes, read_trust_root(trust_root.read_bytes()))
    # Before the first receipt there is nothing that could be valid.
    wanted = Validity.VALID if record.envelopes else Validity.INDETERMINATE
    assert verdict.validity is wanted, verdict.message
    assert verdict.entries == len(record.envelopes)


def check_log(record: Record, store: Path, trust_root: Path, kept: bytes | None) -> bytes | None:
    """Fail where what readers are shown of the log is not whole, or not the record's beginning.

    Args:
        kept: What this gave after an earlier kill: the log must have grown from it.

    Returns:
        The checkpoint that readers see; None where they were shown none yet.
    """
    shown = store.with_name(f"{store.name}.tlog")
    if not (shown / "checkpoint").exists():
        assert kept is None, "readers are shown no log any more"
        return None
    folder = LogFolder(shown)
    checkpoint, size = folder.checkpoint(), len(record.entries)
    covered = int(checkpoint.splitlines()[1])
    assert covered <= size, "readers are shown entries that the record does not have"
    entries = list(folder.entries(covered))
    assert entries == record.entries[:covered]
    verdict = verify_log(
        checkpoint,
        entries,
        read_trust_root(trust_root.read_bytes()),
        leaves=folder.leaves(covered),
        kept=kept,
    )
    assert verdict.validity is Validity.VALID, verdict.message
    return checkpoint
