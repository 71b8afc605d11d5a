"""A whole log of entries of every kind: what they must be together."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from broker.cli.audit import verify as command
from broker.cli.options import Output
from broker.core.canonical import canonical_json
from broker.core.dsse import envelope, pae, read_envelope
from broker.core.ids import sha256_hex
from broker.core.instant import rfc3339
from broker.core.log_leaf import LeafKind, batch_digest
from broker.core.merkle import leaf_hash
from broker.core.trust_root import KeyRole, KeyStatus, TrustRoot, write_trust_root
from broker.errors import ConfigurationError
from broker.verify.audit import AuditVerdict, verify_log
from broker.verify.audit_state import StateUnusable
from broker.verify.verdict import Validity
from tests.ports.samples import call_id
from tests.verify.log_vectors import Keys, checkpoint_of, new_keys, trusted
from tests.verify.mixed_log import MixedLog, ordinary
from tests.verify.receipts import CALL
from tests.verify.test_audit import outcome, write_log

VALID, INVALID, INDETERMINATE = Validity
GOOD = (VALID, None, None)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Give throw-away keys."""
    return new_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def root(keys: Keys) -> TrustRoot:
    """Give what readers trust."""
    return TrustRoot(
        version=1, keys=(trusted(KeyRole.RECEIPT, keys.receipt), trusted(KeyRole.LOG, keys.log))
    )


@pytest.fixture
def audit(keys: Keys, root: TrustRoot) -> Callable[..., AuditVerdict]:
    """Give what verifies entries under a checkpoint that covers them, or others."""

    def run(
        entries: list[bytes], *, signed: list[bytes] | None = None, **options: object
    ) -> AuditVerdict:
        head = checkpoint_of(entries if signed is None else signed, keys.log)
        return verify_log(head, entries, root, leaves=map(leaf_hash, entries), **options)

    return run


@pytest.fixture
def log(keys: Keys) -> MixedLog:
    """Give a log without entries."""
    return MixedLog(signer=keys.receipt)


def told(entry: bytes) -> dict[str, object]:
    """Read what a leaf says."""
    said: dict[str, object] = json.loads(read_envelope(entry).payload)
    return said


class TestWhole:
    def test_ordinary(self, keys: Keys, audit: Callable[..., AuditVerdict]) -> None:
        """A log of every kind is whole; what began without an end is named with its index."""
        log = ordinary(keys.receipt)
        verdict = audit(log.entries)
        assert outcome(verdict) == GOOD
        assert verdict.kinds == {
            "policy": 1,
            "key": 1,
            "intent": 2,
            "batch": 2,
            "receipt": 2,
            "approval": 1,
            "halt": 1,
        }
        assert [index for _, index in verdict.open_intents] == [4]
        assert (verdict.unbatched, verdict.excused) == (0, 0)

    def test_behind_the_last_batch(self, log: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """Entries of the second that no batch covers yet are counted."""
        log.begin(1)
        log.batch()
        log.end(1)
        verdict = audit(log.entries)
        assert (outcome(verdict), verdict.unbatched) == (GOOD, 1)

    def test_says_nothing_of_a_session(self, keys: Keys) -> None:
        """A halt's leaf has no text that a client chose."""
        halt = next(told(each) for each in ordinary(keys.receipt).entries[-2:])
        assert halt["halt"] == {"call": None, "halt": "AAAA", "scope": "session"}


class TestForged:
    """A broker's own key signs what must not be; each beside what may be."""

    def test_intent_left_out(self, log: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """A receipt of a call that began has that call's intent before it."""
        log.begin(1)
        log.end(1)
        log.batch()
        assert outcome(audit(log.entries)) == GOOD
        log.end(2)
        assert outcome(audit(log.entries)) == (INVALID, "intents", 3)

    def test_intent_left_out_at_the_beginning(
        self, log: MixedLog, audit: Callable[..., AuditVerdict]
    ) -> None:
        """Before the first batch it is known with it, and named by its own index."""
        log.end(1)
        log.end(2, "denied")
        log.batch()
        assert outcome(audit(log.entries)) == (INVALID, "intents", 0)

    def test_intent_left_out_where_no_batch_ever_comes(
        self, log: MixedLog, audit: Callable[..., AuditVerdict]
    ) -> None:
        """Only the first batch tells whether it may be: without one nobody can say."""
        log.tell("broker.started")
        log.end(1)
        verdict = audit(log.entries)
        assert outcome(verdict) == (INDETERMINATE, "intents", None)
        assert "entry 1" in verdict.message
        log.begin(2)
        log.end(2)
        assert audit(log.entries).validity is INDETERMINATE
        twin = MixedLog(signer=log.signer)
        twin.tell("broker.started")
        twin.begin(1)
        twin.end(1)
        assert outcome(audit(twin.entries)) == GOOD

    def test_intent_behind_its_end(self, log: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """An intent that comes after its receipt shows nothing."""
        log.tell("key.in_use")
        log.batch()
        fact = log.event("run.starting", 1)
        log.end(1)
        log.leaf(fact, replace(CALL, id=call_id(1)))
        log.batch()
        assert outcome(audit(log.entries)) == (INVALID, "intents", 2)

    def test_intent_of_what_never_began(
        self, log: MixedLog, audit: Callable[..., AuditVerdict]
    ) -> None:
        """A receipt that says that nothing began, of a call with an intent, is wrong."""
        log.begin(1)
        log.end(2, "denied")
        assert outcome(audit(log.entries)) == GOOD
        log.end(1, "denied")
        assert outcome(audit(log.entries)) == (INVALID, "intents", 2)

    def test_twice_begun(self, log: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """A call that runs does not begin again."""
        log.begin(1)
        log.begin(2)
        assert outcome(audit(log.entries)) == GOOD
        log.begin(1)
        assert outcome(audit(log.entries)) == (INVALID, "intents", 2)

    @pytest.mark.parametrize(
        ("changed", "word"),
        [
            ({"first": 4}, "begins at event 4, not at 3"),
            ({"first": 2}, "begins at event 2, not at 3"),
            ({"last": 3}, "ends at event 3, before event 4"),
            ({"entries": {LeafKind.KEY: 1}}, "counts 1 entries of kind key"),
            ({"entries": {LeafKind.KEY: 3}}, "counts 3 entries of kind key"),
            ({"entries": {LeafKind.KEY: 2, LeafKind.RECEIPT: 1}}, "1 entries of kind receipt"),
            ({"first": 3, "last": 2}, "ends before it begins"),
        ],
    )
    def test_batch(
        self,
        log: MixedLog,
        audit: Callable[..., AuditVerdict],
        changed: dict[str, object],
        word: str,
    ) -> None:
        """A batch leaves out neither an event nor an entry."""
        log.tell("key.in_use")
        log.event("call.received")
        log.batch()
        log.tell("key.in_use")
        log.tell("key.in_use")
        fair = replace(log, entries=[*log.entries], counts=log.counts.copy())
        fair.batch()
        assert outcome(audit(fair.entries)) == GOOD
        log.batch(**changed)
        verdict = audit(log.entries)
        assert outcome(verdict) == (INVALID, "batches", 4)
        assert word in verdict.message

    def test_batch_that_ends_first(self, log: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """A first batch that ends before it begins covers nothing."""
        log.event("call.received")
        log.batch(first=9, last=8)
        assert outcome(audit(log.entries)) == (INVALID, "batches", 0)

    @pytest.mark.parametrize("sequence", [1, 2, 3])
    def test_event_passed_already(
        self, log: MixedLog, audit: Callable[..., AuditVerdict], sequence: int
    ) -> None:
        """The leaf of an event that a batch or a later leaf has passed is out of order."""
        log.event("call.received")
        log.event("call.received")
        log.batch()
        log.tell("key.in_use")
        fact = log.event("key.in_use")
        assert outcome(audit(log.entries)) == GOOD
        log.leaf(fact, sequence=sequence)
        assert outcome(audit(log.entries)) == (INVALID, "batches", 2)

    @pytest.mark.parametrize("shift", [-1, 1])
    def test_leaf_elsewhere(
        self, log: MixedLog, audit: Callable[..., AuditVerdict], shift: int
    ) -> None:
        """A leaf stands at the index that it names."""
        log.tell("key.in_use")
        log.tell("key.in_use")
        assert outcome(audit(log.entries)) == GOOD
        log.shift = shift
        log.tell("key.in_use")
        assert outcome(audit(log.entries)) == (INVALID, "place", 2)

    @pytest.mark.parametrize("index", [1, 3, None])
    def test_receipt_elsewhere(
        self, log: MixedLog, audit: Callable[..., AuditVerdict], index: int | None
    ) -> None:
        """So does a receipt; one that names none stands where receipts alone would put it."""
        log.tell("key.in_use")
        log.tell("key.in_use")
        log.end(1, "denied", index=index)
        assert outcome(audit(log.entries)) == (INVALID, "place", 2)

    @pytest.mark.parametrize("again", ["key.in_use", "denied"])
    def test_another_installation(
        self,
        keys: Keys,
        root: TrustRoot,
        log: MixedLog,
        audit: Callable[..., AuditVerdict],
        again: str,
    ) -> None:
        """Every entry is of the one installation, by the origin and by the entries before."""
        log.tell("key.in_use")
        log.installation = "another"
        log.end(1, "denied") if again == "denied" else log.tell(again)
        assert outcome(audit(log.entries)) == (INVALID, "chain", 1)
        assert outcome(audit(log.entries[1:])) == (INVALID, "chain", 0)
        nobodys = checkpoint_of(log.entries, keys.log, "log.invalid/another")
        assert outcome(verify_log(nobodys, log.entries, root)) == (INVALID, "chain", 1)

    @pytest.mark.parametrize("again", ["key.in_use", "denied"])
    def test_epoch_goes_back(
        self, log: MixedLog, audit: Callable[..., AuditVerdict], again: str
    ) -> None:
        """A broker's lives come one after the other, through every kind."""
        log.epoch = 2
        log.tell("key.in_use")
        assert outcome(audit(log.entries)) == GOOD
        log.epoch = 1
        log.end(1, "denied") if again == "denied" else log.tell(again)
        assert outcome(audit(log.entries)) == (INVALID, "chain", 1)


class TestTampered:
    """Without a key, whoever has the files changes them."""

    @pytest.mark.parametrize(
        ("spoil", "step", "broken_at"),
        [
            (lambda all_: [*all_[:4], *all_[5:]], "place", 4),
            (lambda all_: [*all_[:2], all_[4], *all_[3:4], all_[2], *all_[5:]], "place", 2),
            (lambda all_: [*all_[:4], all_[2], *all_[5:]], "place", 4),
            (lambda all_: all_[:-1], "tree", None),
            (lambda all_: [*all_[:4], b"{}", *all_[5:]], "envelope", 4),
        ],
        ids=["intent removed", "intents swapped", "intent twice", "tail cut", "emptied"],
    )
    def test_changed(
        self,
        keys: Keys,
        audit: Callable[..., AuditVerdict],
        spoil: Callable[[list[bytes]], list[bytes]],
        step: str,
        broken_at: int | None,
    ) -> None:
        """The first entry that is wrong is named; what is cut off is told by the size."""
        entries = ordinary(keys.receipt).entries
        assert outcome(audit(entries)) == GOOD
        verdict = audit(spoil(entries), signed=entries)
        assert outcome(verdict) == (INVALID, step, broken_at)

    @pytest.mark.parametrize(
        ("change", "step"),
        [
            (lambda said: said | {"more": "1"}, "signature"),
            (lambda said: said | {"index": "3"}, "signature"),
        ],
    )
    def test_payload(
        self,
        keys: Keys,
        audit: Callable[..., AuditVerdict],
        change: Callable[[dict[str, object]], dict[str, object]],
        step: str,
    ) -> None:
        """A leaf whose payload was changed is signed by nobody."""
        entries = ordinary(keys.receipt).entries
        old = read_envelope(entries[2])
        payload = json.dumps(change(told(entries[2])), separators=(",", ":"), sort_keys=True)
        entries[2] = envelope(payload.encode(), old.signature, payload_type=old.payload_type)
        assert outcome(audit(entries)) == (INVALID, step, 2)

    @pytest.mark.parametrize(
        ("change", "payload_type", "step"),
        [
            (lambda said: said, "application/vnd.toolwarrant.log-intent.v1+json", None),
            (lambda said: said, "application/vnd.toolwarrant.log-intent.v2+json", "type"),
            (lambda said: said, "application/vnd.toolwarrant.log-key.v1+json", "shape"),
            (lambda said: said, "application/vnd.in-toto+json", "statement"),
            (lambda said: said | {"more": "1"}, None, "shape"),
            (lambda said: {**said, "index": "02"}, None, "shape"),
            (lambda said: {**said, "key_id": "0" * 64}, None, "key"),
        ],
    )
    def test_signed_anew(
        self,
        keys: Keys,
        audit: Callable[..., AuditVerdict],
        change: Callable[[dict[str, object]], dict[str, object]],
        payload_type: str | None,
        step: str | None,
    ) -> None:
        """A leaf is what its payload type says, no more, and names its key."""
        entries = ordinary(keys.receipt).entries
        old = read_envelope(entries[2])
        kind = payload_type or old.payload_type
        said = change(told(entries[2]))
        payload = json.dumps(said, separators=(",", ":"), sort_keys=True).encode()
        signature = keys.receipt.sign(pae(kind, payload))
        entries[2] = envelope(payload, signature, payload_type=kind)
        expected = GOOD if step is None else (INVALID, step, 2)
        assert outcome(audit(entries)) == expected

    def test_not_canonical(self, keys: Keys, audit: Callable[..., AuditVerdict]) -> None:
        """A leaf's payload has one form."""
        entries = ordinary(keys.receipt).entries
        old = read_envelope(entries[2])
        payload = json.dumps(told(entries[2]), sort_keys=True).encode()
        signature = keys.receipt.sign(pae(old.payload_type, payload))
        entries[2] = envelope(payload, signature, payload_type=old.payload_type)
        assert outcome(audit(entries)) == (INVALID, "canonical", 2)

    def test_by_the_log_key(self, keys: Keys, audit: Callable[..., AuditVerdict]) -> None:
        """The key that signs heads signs no entries."""
        assert outcome(audit(ordinary(keys.log).entries)) == (INVALID, "signature", 0)

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"valid_until_index": 11}, GOOD),
            ({"valid_until_index": 4}, (INVALID, "validity", 4)),
            ({"status": KeyStatus.WITHDRAWN}, (INDETERMINATE, "validity", None)),
        ],
    )
    def test_key_bounded(
        self, keys: Keys, changed: dict[str, object], expected: tuple[object, ...]
    ) -> None:
        """A leaf's key counts by the leaf's place, as a receipt's does."""
        entries = ordinary(keys.receipt).entries
        root = TrustRoot(
            version=1,
            keys=(
                trusted(KeyRole.RECEIPT, keys.receipt, **changed),
                trusted(KeyRole.LOG, keys.log),
            ),
        )
        assert outcome(verify_log(checkpoint_of(entries, keys.log), entries, root)) == expected


class TestFromReceiptsAlone:
    """A log that held receipts alone goes on with everything."""

    @pytest.fixture
    def old(self, log: MixedLog) -> MixedLog:
        """Give such a log with two receipts, and a call that ran when the broker was changed."""
        log.event("run.starting", 1)
        log.end(1, index=None)
        log.end(2, "denied", index=None)
        log.counts.clear()
        log.event("run.starting", 3)
        log.covered = len(log.events)
        return log

    def test_goes_on(self, old: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """Calls that began before there were intents may lack theirs, and are counted."""
        assert (outcome(audit(old.entries)), audit(old.entries).excused) == (GOOD, 1)
        old.began_at = old.began_at.replace(year=old.began_at.year + 1)
        old.tell("broker.started")
        old.end(3)
        # Until the first batch, a second later, nobody can say whether it began before.
        assert outcome(audit(old.entries)) == (INDETERMINATE, "intents", None)
        old.batch()
        assert outcome(audit(old.entries)) == GOOD
        old.begin(4)
        old.end(4)
        old.batch()
        verdict = audit(old.entries)
        assert (outcome(verdict), verdict.excused) == (GOOD, 2)

    @pytest.mark.parametrize("batched", [False, True])
    def test_began_later(
        self, old: MixedLog, audit: Callable[..., AuditVerdict], *, batched: bool
    ) -> None:
        """Whatever began since then has its intent, or is named."""
        # The samples' calls begin after this.
        old.began_at = old.began_at.replace(year=old.began_at.year - 1)
        old.tell("broker.started")
        if batched:
            old.batch()
        old.end(4)
        if not batched:
            old.batch()
        index = 4 if batched else 3
        assert outcome(audit(old.entries)) == (INVALID, "intents", index)


@pytest.fixture(scope="module")
def long(keys: Keys) -> MixedLog:
    """Give a log of some tiles, in which a call runs throughout."""
    log = MixedLog(signer=keys.receipt)
    log.begin(0)
    for number in range(1, 300):
        log.begin(number)
        log.end(number)
        if number % 50 == 0:
            log.batch()
    return log


class TestResume:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keep the place, and use processes, for less than a log that is worth it."""
        monkeypatch.setattr("broker.verify.audit._SAVED_EACH", 256)
        monkeypatch.setattr("broker.verify.spread._WORTH", 1)

    def test_on_two_cores(self, long: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """Processes find what one finds, in order, and the entry that is wrong."""
        alone, together = audit(long.entries), audit(long.entries, workers=2)
        assert (outcome(alone), alone) == (GOOD, together)
        spoilt = [*long.entries]
        spoilt[500], spoilt[501] = spoilt[501], spoilt[500]
        verdict = audit(spoilt, workers=2)
        assert outcome(verdict) == (INVALID, "place", 500)
        assert (outcome(audit(spoilt)), verdict.entries) == (outcome(verdict), 500)

    def test_goes_on(self, long: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """An audit that was cut off goes on from what it kept, to the same end."""
        kept: list[bytes] = []
        broken = [*long.entries[:420], b"?", *long.entries[421:]]
        assert audit(broken, signed=long.entries, save=kept.append).step == "envelope"
        seen: list[int] = []
        verdict = audit(long.entries, state=kept[-1], progress=seen.append)
        whole = audit(long.entries)
        assert verdict.resumed_at == 256
        assert seen == [512, len(long.entries)]
        assert replace(verdict, resumed_at=0) == whole
        assert verdict.open_intents[0][1] == 0

    def test_of_other_entries(self, long: MixedLog, audit: Callable[..., AuditVerdict]) -> None:
        """What was kept must be how the signed tree begins."""
        kept: list[bytes] = []
        audit(long.entries, save=kept.append)
        (before,) = kept[:1]
        other = ordinary(long.signer)
        while len(other.entries) < len(long.entries):
            other.tell("key.in_use")
        verdict = audit(other.entries, state=before)
        assert verdict.validity is INVALID

    @pytest.mark.parametrize("spoil", [lambda _: b"", lambda text: text.replace(b"/v2", b"/v1")])
    def test_unusable(
        self,
        long: MixedLog,
        audit: Callable[..., AuditVerdict],
        spoil: Callable[[bytes], bytes],
    ) -> None:
        """Anything else than what was kept is refused, as is one that is ahead of the log."""
        kept: list[bytes] = []
        audit(long.entries, save=kept.append)
        audit(long.entries, state=kept[-1])
        with pytest.raises(StateUnusable):
            audit(long.entries, state=spoil(kept[-1]))
        with pytest.raises(StateUnusable, match="came to entry"):
            audit(long.entries[:9], state=kept[-1])

    def test_of_another_log(
        self, keys: Keys, root: TrustRoot, long: MixedLog, audit: Callable[..., AuditVerdict]
    ) -> None:
        """What was kept of another log, or under other keys, is not gone on from."""
        kept: list[bytes] = []
        audit(long.entries, save=kept.append)
        elsewhere = checkpoint_of(long.entries, keys.log, "log.invalid/another")
        with pytest.raises(StateUnusable, match="another log"):
            verify_log(elsewhere, long.entries, root, state=kept[-1])
        head = checkpoint_of(long.entries, keys.log)
        with pytest.raises(StateUnusable, match="another trust root"):
            verify_log(head, long.entries, replace(root, version=2), state=kept[-1])

    def test_kept_before(
        self, keys: Keys, long: MixedLog, audit: Callable[..., AuditVerdict]
    ) -> None:
        """A checkpoint that was kept from before the state's place cannot be compared any more."""
        kept: list[bytes] = []
        audit(long.entries, save=kept.append)
        older = checkpoint_of(long.entries[:9], keys.log)
        assert outcome(audit(long.entries, kept=older)) == GOOD
        with pytest.raises(StateUnusable, match="past the checkpoint"):
            audit(long.entries, kept=older, state=kept[-1])

    def test_command(
        self,
        long: MixedLog,
        keys: Keys,
        root: TrustRoot,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The command keeps its place in a file, and says where it went on."""
        write_log(tmp_path / "log", long.entries, checkpoint_of(long.entries, keys.log))
        (tmp_path / "root").write_text(write_trust_root(root))
        found = []
        for _ in range(2):
            with pytest.raises(typer.Exit) as ended:
                command(
                    tmp_path / "log",
                    tmp_path / "root",
                    state=tmp_path / "state",
                    workers=1,
                    output=Output.JSON,
                )
            found.append((ended.value.exit_code, json.loads(capsys.readouterr().out)))
        assert [code for code, _ in found] == [0, 0]
        assert [said["resumed_at"] for _, said in found] == [0, len(long.entries)]
        assert found[0][1]["open_intents"][0]["index"] == "0"
        (tmp_path / "state").write_text("{}")
        with pytest.raises(ConfigurationError, match="begin anew"):
            command(tmp_path / "log", tmp_path / "root", state=tmp_path / "state")

    def test_command_after_a_fork(
        self,
        keys: Keys,
        root: TrustRoot,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A state of another history is told from a broken log, with what to do with either."""
        first, second = ordinary(keys.receipt), MixedLog(signer=keys.receipt)
        while len(second.entries) <= len(first.entries):
            second.tell("key.in_use")
        (tmp_path / "root").write_text(write_trust_root(root))

        def audit(entries: list[bytes]) -> tuple[int, dict[str, object], str]:
            shutil.rmtree(tmp_path / "log", ignore_errors=True)
            write_log(tmp_path / "log", entries, checkpoint_of(entries, keys.log))
            with pytest.raises(typer.Exit) as ended:
                command(
                    tmp_path / "log",
                    tmp_path / "root",
                    state=tmp_path / "state",
                    workers=1,
                    output=Output.JSON,
                )
            out, err = capsys.readouterr()
            return ended.value.exit_code, json.loads(out), err

        assert audit(first.entries)[0] == 0
        code, said, err = audit(second.entries)
        assert (code, said["step"], said["broken_at"]) == (1, "state", None)
        assert "another --state" in str(said["message"])
        assert "audit once without" not in err
        code, said, err = audit([*first.entries, b"?"])
        assert (code, said["step"], said["broken_at"]) == (1, "envelope", len(first.entries))
        assert "audit once without --state" in err
        with pytest.raises(ConfigurationError, match="went back"):
            audit(first.entries[:3])

    def test_two_trust_roots_of_one_version(
        self, keys: Keys, root: TrustRoot, long: MixedLog, audit: Callable[..., AuditVerdict]
    ) -> None:
        """Of two with one number one is somebody else's; a later and an earlier one are told."""
        kept: list[bytes] = []
        audit(long.entries, save=kept.append)
        head = checkpoint_of(long.entries, keys.log)
        other = replace(root, keys=(*root.keys, trusted(KeyRole.WITNESS, keys.witness)))
        with pytest.raises(StateUnusable, match="another trust root of the same version, 1"):
            verify_log(head, long.entries, other, state=kept[-1])
        verify_log(head, long.entries, replace(other, version=2), save=kept.append)
        with pytest.raises(StateUnusable, match="give the later one"):
            verify_log(head, long.entries, root, state=kept[-1])


class TestBatchDigest:
    def test_salt(self, keys: Keys) -> None:
        """Two batches of the same events have nothing in common."""
        events = ordinary(keys.receipt).events
        assert batch_digest(events, bytes(16)) != batch_digest(events, b"x" * 16)
        with pytest.raises(ValueError, match="16 bytes"):
            batch_digest(events, b"")

    def test_is_of_a_document(self, keys: Keys) -> None:
        """The digest is that of one canonical document, which anybody can make from the events."""
        events = ordinary(keys.receipt).events
        body = [
            {
                "sequence": str(each.sequence),
                "at": rfc3339(each.at),
                "epoch": str(each.epoch),
                "type": each.type,
                "call": each.call,
                "agent": each.agent,
                "data": each.data,
            }
            for each in events
        ]
        document = canonical_json(
            {"schema": "broker.event-batch/v1", "salt": "00" * 16, "body": {"events": body}}
        )
        assert batch_digest(events, bytes(16)) == sha256_hex(document)
