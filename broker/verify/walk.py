"""Follow a log from entry to entry: what they must be together.

Theory of operation. Receipts form their own chain, by sequence and digest. Every entry stands where
it says. An event's leaf is of a later event than the leaf before it. A batch begins behind the
batch before it, holds the events of the leaves since, and counts the entries since: so no event is
outside the log, no entry is missing from it. A receipt of a call that began has that call's intent
before it, which says the same of the run; one that did not begin has none. No call has a receipt
or an intent behind its receipt: none runs twice. Intents that no receipt ended are told.

A log from when it held receipts alone begins with such receipts, which name no index. The first
batch says at which event the rest began, and when: calls that began before may lack their intents.
"""

from collections import Counter
from dataclasses import dataclass, field

from broker.core.checkpoint import is_another_log
from broker.core.log_leaf import LeafKind
from broker.core.merkle import Frontier
from broker.errors import ReceiptInvalid
from broker.verify.call_set import CallSet
from broker.verify.chain import Tip
from broker.verify.entry import Judged
from broker.verify.run_facts import RunFacts
from broker.verify.verdict import Validity


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A call that began, by a receipt that no intent came before.

    Args:
        index: Of the receipt.
    """

    index: int
    call: str
    started_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An intent that no receipt has ended.

    Args:
        index: Of the intent.
        run: What it says of the run.
    """

    index: int
    run: RunFacts


@dataclass(slots=True, kw_only=True)
class Walk:
    """How far a log was found good.

    Args:
        origin: The log's name; one that names no installation is nobody's.
        tip: Of the receipts' chain.
        installation: That all entries must be of; empty before the first.
        epoch: Of the last entry.
        event: Sequence of the last event that has a leaf.
        covered: The last event that a batch covers; None before the first batch.
        since: When the first batch's first event was; empty where that was the first of all.
        counts: Entries since the last batch, by kind.
        intents: Those that no receipt has ended, by their calls.
        ended: Calls with a receipt.
        waiting: Receipts without intents before the first batch, which says whether that may be.
        excused: How many receipts of calls that began have no intent, being from before there were
            intents.
        kinds: All entries, by kind.
        undecided: What keeps the log from being valid, though nothing is wrong; the first of it.
        broken_at: Index of the entry that is wrong, while one is.
    """

    origin: str
    tree: Frontier = field(default_factory=Frontier.empty)
    tip: Tip = field(default_factory=Tip)
    installation: str = ""
    epoch: int = 1
    event: int = 0
    covered: int | None = None
    since: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    intents: dict[str, Intent] = field(default_factory=dict)
    ended: CallSet = field(default_factory=CallSet)
    waiting: list[Begun] = field(default_factory=list)
    excused: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    undecided: str = ""
    broken_at: int | None = None

    @property
    def size(self) -> int:
        """Give how many entries were good, from the first."""
        return self.tree.size

    @property
    def unbatched(self) -> int:
        """Count the entries behind the last batch."""
        return self.counts.total()

    @property
    def doubt(self) -> str:
        """Give what keeps a log that ends here from being valid; empty where nothing does.

        A log without a batch would otherwise need no intents at all.
        """
        if self.undecided or not self.waiting:
            return self.undecided
        begun = self.waiting[0]
        return (
            f"entry {begun.index}: {begun.call} began, but no intent of it is before its receipt, "
            "and no batch says yet whether it began before there were any"
        )

    def take(self, found: Judged, tile: bytes | None = None) -> None:
        """Take the next entry.

        Args:
            tile: The leaf hash that the log's tiles have for it, where there are tiles.

        Raises:
            ReceiptInvalid: It is wrong, or not what comes next; `broken_at` names the entry.
        """
        self.broken_at = index = self.size
        if found.validity is Validity.INVALID:
            raise ReceiptInvalid(found.step or "entry", found.message)
        if found.validity is Validity.INDETERMINATE:
            self.undecided = self.undecided or f"entry {index}: {found.message}"
        if found.kind is LeafKind.RECEIPT:
            self._link(found)
        self._check_broker(found)
        if found.index != index:
            raise ReceiptInvalid("place", f"it names index {found.index} as its place in the log")
        if found.kind is LeafKind.RECEIPT:
            self._end(found)
        elif found.kind is LeafKind.BATCH:
            self._cover(found)
        else:
            self._tell(found)
        if tile is not None and tile != found.leaf:
            raise ReceiptInvalid("tiles", "the tile of its hash has another one")
        if found.kind is not LeafKind.BATCH and found.is_placed:
            self.counts[found.kind.value] += 1
        self.kinds[found.kind.value] += 1
        self.tree, _ = self.tree.extended([found.leaf])
        self.broken_at = None

    def _link(self, found: Judged) -> None:
        fault, tip = self.tip.follow(
            installation=found.installation,
            epoch=found.epoch,
            sequence=found.sequence,
            previous=found.previous,
            head=found.sha256,
        )
        if fault:
            raise ReceiptInvalid("chain", fault)
        self.tip = tip

    def _check_broker(self, found: Judged) -> None:
        if is_another_log(self.origin, found.installation):
            raise ReceiptInvalid(
                "chain", "it is another installation's than the log's, by its origin"
            )
        if self.size and found.installation != self.installation:
            raise ReceiptInvalid("chain", "it is another installation's")
        if found.epoch < self.epoch:
            raise ReceiptInvalid("chain", "its epoch goes back")
        self.installation, self.epoch = found.installation, found.epoch

    def _tell(self, found: Judged) -> None:
        """Take the leaf of an event."""
        if found.sequence <= max(self.event, self.covered or 0):
            raise ReceiptInvalid(
                "batches", f"it is of event {found.sequence}, which the log had passed already"
            )
        self.event = found.sequence
        if found.run is not None:
            if found.call in self.intents:
                raise ReceiptInvalid("intents", f"{found.call} began before, and has not ended")
            if found.call in self.ended:
                raise ReceiptInvalid("intents", f"{found.call} has ended, yet it begins again")
            self.intents[found.call] = Intent(index=found.index, run=found.run)

    def _end(self, found: Judged) -> None:
        """Take a receipt: whether its call began, its intent tells."""
        is_new = self.ended.add(found.call)
        if found.is_placed and not is_new:
            raise ReceiptInvalid("intents", f"{found.call} has a receipt already: a call has one")
        intent = self.intents.pop(found.call, None)
        if found.started_at is None:
            if intent is not None:
                raise ReceiptInvalid(
                    "intents", f"it says that nothing began, but entry {intent.index} is its intent"
                )
            return
        if intent is not None:
            self._compare(intent, found)
            return
        begun = Begun(index=found.index, call=found.call, started_at=found.started_at)
        if not found.is_placed:
            self.excused += 1
        elif self.covered is None:
            self.waiting.append(begun)
        else:
            self._excuse(begun)

    def _compare(self, intent: Intent, found: Judged) -> None:
        """Hold a receipt to what its call's intent said before the run."""
        if found.run is not None and (thing := intent.run.difference(found.run)):
            raise ReceiptInvalid(
                "intents",
                f"its {thing} is another than its intent said, which is entry {intent.index}",
            )

    def _cover(self, found: Judged) -> None:
        """Take a batch: it leaves out neither an event nor an entry."""
        if found.last < found.first:
            raise ReceiptInvalid("batches", "it ends before it begins")
        if self.covered is not None and found.first != self.covered + 1:
            raise ReceiptInvalid(
                "batches", f"it begins at event {found.first}, not at {self.covered + 1}"
            )
        if self.event > found.last:
            raise ReceiptInvalid(
                "batches",
                f"it ends at event {found.last}, before event {self.event}, which the "
                "log has already",
            )
        for kind in LeafKind:
            if kind is not LeafKind.BATCH:
                self._check_count(kind.value, found.counts.get(kind.value, ""))
        if self.covered is None:
            self.since = found.since if found.first > 1 else ""
            for begun in self.waiting:
                self._excuse(begun)
            self.waiting.clear()
        self.covered = found.last
        self.counts.clear()

    def _check_count(self, kind: str, said: str) -> None:
        if said != str(self.counts[kind]):
            raise ReceiptInvalid(
                "batches",
                f"it counts {said} entries of kind {kind} since the batch before it, "
                f"{self.counts[kind]} are there",
            )

    def _excuse(self, begun: Begun) -> None:
        """Let a receipt have no intent where its call began before there were any."""
        if not self.since or begun.started_at > self.since:
            self.broken_at = begun.index
            raise ReceiptInvalid(
                "intents", f"{begun.call} began, but no intent of it is before its receipt"
            )
        self.excused += 1
