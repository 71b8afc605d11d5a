"""A whole log: every entry, their chain, the tree that is signed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
import typer

from broker.cli.audit import verify as command
from broker.cli.options import Output
from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.ids import sha256_hex
from broker.core.merkle import leaf_hash
from broker.core.receipt import FIRST_PREVIOUS, seal
from broker.core.tiles import Tile, tiles_between, write_bundle
from broker.core.trust_root import KeyRole, KeyStatus, TrustRoot, write_trust_root
from broker.errors import ConfigurationError
from broker.verify.audit import AuditVerdict, verify_log
from broker.verify.log_folder import LogFolder
from broker.verify.verdict import Validity
from tests.core import rfc6962
from tests.verify.log_vectors import Keys, checkpoint_of, cosigned, new_keys, raw, trusted
from tests.verify.receipts import ENDINGS, position

SIZE = 260
"""One full tile, with a partial one behind it."""
VALID, INVALID, INDETERMINATE = Validity


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Give throw-away keys."""
    return new_keys(tmp_path_factory.mktemp("keys"))


def chained(keys: Keys, size: int) -> list[bytes]:
    """Give the receipts of a broker, one behind the other."""
    receipts: list[bytes] = []
    draft, previous = ENDINGS["denied"].draft(keys.receipt), FIRST_PREVIOUS
    for sequence in range(1, size + 1):
        place = position(sequence, previous)
        receipts.append(seal(draft, place, keys.receipt.sign))
        previous = sha256_hex(receipts[-1])
    return receipts


@pytest.fixture(scope="module")
def entries(keys: Keys) -> list[bytes]:
    """Give a log's entries."""
    return chained(keys, SIZE)


@pytest.fixture(scope="module")
def root(keys: Keys) -> TrustRoot:
    """Give what readers trust."""
    return TrustRoot(
        version=1,
        keys=(
            trusted(KeyRole.RECEIPT, keys.receipt),
            trusted(KeyRole.LOG, keys.log),
            trusted(KeyRole.WITNESS, keys.witness),
        ),
    )


def write_log(folder: Path, entries: list[bytes], checkpoint: bytes) -> None:
    """Lay a log out in a folder."""
    read = rfc6962.reader(entries)
    for tile in tiles_between(0, len(entries)):
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        own = entries[tile.start : tile.start + tile.width]
        path.write_bytes(write_bundle(own) if tile.level is None else b"".join(read(tile.nodes)))
    (folder / "checkpoint").write_bytes(checkpoint)


def outcome(verdict: AuditVerdict) -> tuple[Validity, str | None, int | None]:
    """Give what matters of a verdict."""
    return verdict.validity, verdict.step, verdict.broken_at


class TestVerifyLog:
    def test_whole(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """A log whose entries are genuine, chained and the tree that is signed is valid."""
        verdict = verify_log(
            checkpoint_of(entries, keys.log), entries, root, leaves=map(leaf_hash, entries)
        )
        assert outcome(verdict) == (VALID, None, None)
        assert (verdict.entries, verdict.head) == (SIZE, sha256_hex(entries[-1]))

    def test_empty(self, keys: Keys, root: TrustRoot) -> None:
        """A log without entries is whole, where its head says so."""
        assert outcome(verify_log(checkpoint_of([], keys.log), [], root)) == (VALID, None, None)
        signed = Checkpoint(origin="toolwarrant.invalid/x", size=0, root=bytes(32))
        wrong = sign_checkpoint(signed, raw(keys.log), keys.log.sign)
        assert outcome(verify_log(wrong, [], root)) == (INVALID, "tree", None)

    @pytest.mark.parametrize(
        ("spoil", "step", "broken_at"),
        [
            (lambda all_: [*all_[:7], flip(all_[7]), *all_[8:]], "signature", 7),
            (lambda all_: [*all_[:7], *all_[8:]], "chain", 7),
            (lambda all_: [*all_[:7], all_[8], all_[7], *all_[9:]], "chain", 7),
            (lambda all_: [*all_[:8], all_[7], *all_[8:]], "chain", 8),
            (lambda all_: [*all_[:7], b"", *all_[8:]], "envelope", 7),
            (lambda all_: all_[:-1], "tree", None),
            (lambda all_: [], "tree", None),
        ],
        ids=["bit", "deleted", "swapped", "twice", "emptied", "cut at the tail", "all gone"],
    )
    def test_changed(
        self,
        keys: Keys,
        entries: list[bytes],
        root: TrustRoot,
        spoil: Callable[[list[bytes]], list[bytes]],
        step: str,
        broken_at: int | None,
    ) -> None:
        """The first entry that is wrong is named; what is cut off is told by the size."""
        verdict = verify_log(checkpoint_of(entries, keys.log), spoil(entries), root)
        assert outcome(verdict) == (INVALID, step, broken_at)

    def test_cut_off(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """Of a log that was cut at its tail, it is told how much is missing."""
        verdict = verify_log(checkpoint_of(entries, keys.log), entries[:-3], root)
        assert verdict.message == "cut off: its checkpoint covers 260 entries, 257 are here"
        assert verdict.entries == SIZE - 3

    def test_written_anew(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """Entries that the receipt key signed anew, all in their chain, are not what the log
        signed; where the tiles are the old ones, the first of them is named.
        """
        forged = seal(
            ENDINGS["succeeded"].draft(keys.receipt),
            position(SIZE, sha256_hex(entries[-2])),
            keys.receipt.sign,
        )
        other = [*entries[:-1], forged]
        signed = checkpoint_of(entries, keys.log)
        assert outcome(verify_log(signed, other, root)) == (INVALID, "tree", None)
        verdict = verify_log(signed, other, root, leaves=map(leaf_hash, entries))
        assert outcome(verdict) == (INVALID, "tiles", SIZE - 1)

    def test_behind_the_checkpoint(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """What came after the checkpoint is not its to judge."""
        verdict = verify_log(checkpoint_of(entries[:9], keys.log), entries, root)
        assert (outcome(verdict), verdict.entries) == ((VALID, None, None), 9)

    def test_checkpoint_by_a_stranger(
        self, keys: Keys, entries: list[bytes], root: TrustRoot
    ) -> None:
        """Whoever else signs the same tree has not signed it for the log."""
        verdict = verify_log(checkpoint_of(entries, keys.stranger), entries, root)
        assert outcome(verdict) == (INVALID, "checkpoint", None)

    @pytest.mark.parametrize(
        ("origin", "expected"),
        [
            ("toolwarrant.invalid/7f3b9c", (VALID, None, None)),
            ("log.invalid/another", (VALID, None, None)),
            ("toolwarrant.invalid/another", (INVALID, "chain", 0)),
            ("toolwarrant.invalid/another/7f3b9c", (INVALID, "chain", 0)),
        ],
    )
    def test_origin(
        self,
        keys: Keys,
        entries: list[bytes],
        root: TrustRoot,
        origin: str,
        expected: tuple[Validity, str | None, int | None],
    ) -> None:
        """A log that has an installation's name holds that installation's receipts alone."""
        verdict = verify_log(checkpoint_of(entries[:3], keys.log, origin), entries, root)
        assert outcome(verdict) == expected

    def test_witnesses(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """As many witnesses as wanted must have cosigned."""
        signed = checkpoint_of(entries, keys.log)
        assert outcome(verify_log(signed, entries, root, quorum=1)) == (INVALID, "witnesses", None)
        verdict = verify_log(cosigned(signed, keys.witness), entries, root, quorum=1)
        assert (outcome(verdict), verdict.witnesses) == (
            (VALID, None, None),
            (keys.witness.key_id,),
        )

    @pytest.mark.parametrize(
        ("until", "expected"), [(SIZE, (VALID, None, None)), (9, (INVALID, "validity", 9))]
    )
    def test_key_bounded(
        self,
        keys: Keys,
        entries: list[bytes],
        root: TrustRoot,
        until: int,
        expected: tuple[Validity, str | None, int | None],
    ) -> None:
        """Each entry's place decides whether its key was valid: the first behind it is named."""
        bounded = trusted(
            KeyRole.RECEIPT, keys.receipt, valid_until_index=until, status=KeyStatus.WITHDRAWN
        )
        verdict = verify_log(
            checkpoint_of(entries, keys.log),
            entries,
            replace(root, keys=(bounded, *root.keys[1:])),
        )
        assert outcome(verdict) == expected

    def test_key_withdrawn(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """A key withdrawn from nobody knows which index on leaves the log undecided."""
        withdrawn = trusted(KeyRole.RECEIPT, keys.receipt, status=KeyStatus.WITHDRAWN)
        verdict = verify_log(
            checkpoint_of(entries, keys.log),
            entries,
            replace(root, keys=(withdrawn, *root.keys[1:])),
        )
        assert outcome(verdict) == (INDETERMINATE, "validity", None)
        assert verdict.message.startswith("entry 0: ")


class TestKept:
    @pytest.mark.parametrize("size", [0, 1, 200, SIZE])
    def test_grown(self, keys: Keys, entries: list[bytes], root: TrustRoot, size: int) -> None:
        """A log that grew from the checkpoint that was kept is valid."""
        verdict = verify_log(
            checkpoint_of(entries, keys.log),
            entries,
            root,
            kept=checkpoint_of(entries[:size], keys.log),
        )
        assert outcome(verdict) == (VALID, None, None)

    def test_forked(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """A log whose beginning is another than that which was kept is forked."""
        other = [*entries[:199], b"another"]
        verdict = verify_log(
            checkpoint_of(entries, keys.log), entries, root, kept=checkpoint_of(other, keys.log)
        )
        assert outcome(verdict) == (INVALID, "kept", None)
        assert "its first 200 entries are not those" in verdict.message

    def test_went_back(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """An older checkpoint than the one that was kept is a log that went back."""
        verdict = verify_log(
            checkpoint_of(entries[:9], keys.log),
            entries,
            root,
            kept=checkpoint_of(entries[:10], keys.log),
        )
        assert outcome(verdict) == (INVALID, "kept", None)
        assert "it had 10 entries, now it has 9" in verdict.message

    def test_of_another_log(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """A checkpoint of another log says nothing of this one."""
        verdict = verify_log(
            checkpoint_of(entries, keys.log),
            entries,
            root,
            kept=checkpoint_of(entries[:9], keys.log, "toolwarrant.invalid/other"),
        )
        assert outcome(verdict) == (INVALID, "kept", None)

    def test_unsigned(self, keys: Keys, entries: list[bytes], root: TrustRoot) -> None:
        """What was kept counts only where the log signed it."""
        verdict = verify_log(
            checkpoint_of(entries, keys.log),
            entries,
            root,
            kept=checkpoint_of(entries[:9], keys.stranger),
        )
        assert outcome(verdict) == (INVALID, "checkpoint", None)
        assert verdict.message.startswith("of the checkpoint that was kept: ")


class TestCommand:
    @pytest.fixture
    def log(self, tmp_path: Path, keys: Keys, entries: list[bytes], root: TrustRoot) -> Path:
        """Give a log's folder, its trust root beside it."""
        (tmp_path / "root").write_text(write_trust_root(root))
        write_log(tmp_path / "log", entries, checkpoint_of(entries, keys.log))
        return tmp_path / "log"

    @pytest.fixture
    def audit(
        self, log: Path, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., dict[str, object]]:
        """Give what runs the command and reads what it says, its exit code as `code`."""

        def run(target: Path = log, **options: object) -> dict[str, object]:
            with pytest.raises(typer.Exit) as ended:
                command(target, log.parent / "root", output=Output.JSON, **options)
            report: dict[str, object] = json.loads(capsys.readouterr().out)
            return report | {"code": ended.value.exit_code}

        return run

    def test_folder(self, audit: Callable[..., dict[str, object]]) -> None:
        """A broker's folder is valid, and is told what it is."""
        found = audit()
        assert (found["code"], found["verdict"], found["step"]) == (0, "valid", None)
        assert (found["entries"], found["tree_size"]) == (SIZE, str(SIZE))
        assert found["origin"] == "toolwarrant.invalid/7f3b9c"

    def test_entry_changed(self, log: Path, audit: Callable[..., dict[str, object]]) -> None:
        """An entry with one bit changed is named."""
        bundle = log / Tile(level=None, index=1, width=SIZE - 256).path
        data = bundle.read_bytes()
        bundle.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
        found = audit()
        assert (found["code"], found["step"], found["broken_at"]) == (1, "signature", 256)

    @pytest.mark.parametrize(
        ("tile", "change"),
        [
            (Tile(level=None, index=0), lambda data: data[:-1]),
            (Tile(level=None, index=0), lambda data: data + data[:9]),
            (Tile(level=0, index=0), lambda data: data[:-32]),
            (Tile(level=0, index=0), lambda data: data[32:64] + data[32:]),
            (Tile(level=0, index=1, width=SIZE - 256), None),
            (Tile(level=None, index=1, width=SIZE - 256), None),
        ],
        ids=["cut", "more", "hash gone", "hash changed", "tile gone", "bundle gone"],
    )
    def test_tile_changed(
        self,
        log: Path,
        audit: Callable[..., dict[str, object]],
        tile: Tile,
        change: Callable[[bytes], bytes] | None,
    ) -> None:
        """A tile that is not what its place has is told as such."""
        path = log / tile.path
        path.write_bytes(change(path.read_bytes())) if change else path.unlink()
        found = audit()
        assert (found["code"], found["step"]) == (1, "tiles")

    def test_checkpoint_changed(
        self, log: Path, keys: Keys, entries: list[bytes], audit: Callable[..., dict[str, object]]
    ) -> None:
        """Another head of the same size, signed by the log, is not the tree of the entries."""
        other = [*entries[:-1], b"another"]
        (log / "checkpoint").write_bytes(checkpoint_of(other, keys.log))
        found = audit()
        assert (found["code"], found["step"]) == (1, "tree")
        (log / "checkpoint").write_bytes(b"words\n")
        found = audit()
        assert (found["code"], found["step"]) == (1, "note")

    def test_kept(
        self, log: Path, keys: Keys, entries: list[bytes], audit: Callable[..., dict[str, object]]
    ) -> None:
        """The log must have grown from what the reader kept."""
        kept = log.parent / "kept"
        kept.write_bytes(checkpoint_of(entries[:9], keys.log))
        assert audit(kept=kept)["code"] == 0
        kept.write_bytes(checkpoint_of([*entries[:8], b"another"], keys.log))
        found = audit(kept=kept)
        assert (found["code"], found["step"]) == (1, "kept")

    def test_export(
        self, log: Path, keys: Keys, entries: list[bytes], audit: Callable[..., dict[str, object]]
    ) -> None:
        """An export is verified by a checkpoint that is handed over beside it."""
        export = log.parent / "export.jsonl"
        export.write_text(
            "".join(json.dumps({"receipt": entry.decode()}) + "\n" for entry in entries)
        )
        signed = log.parent / "signed"
        signed.write_bytes(checkpoint_of(entries[:100], keys.log))
        found = audit(export, checkpoint=signed)
        assert (found["code"], found["entries"]) == (0, 100)
        with pytest.raises(ConfigurationError, match="has no checkpoint"):
            audit(export)

    def test_what_is_no_log(self, log: Path, audit: Callable[..., dict[str, object]]) -> None:
        """No verdict is given of what is no log: an export with proofs, or nothing at all."""
        (log / "receipts").mkdir()
        assert audit()["code"] == 0
        (log / "tile").rename(log.parent / "tile")
        with pytest.raises(ConfigurationError, match=r"`receipts export --out`.*VERIFY\.md"):
            audit()
        with pytest.raises(ConfigurationError, match="there is no such folder"):
            audit(log.parent / "absent")

    def test_not_read_again(self, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """An auditor is told what a run that goes on from a state did not read."""
        said = []
        for _ in range(2):
            with pytest.raises(typer.Exit) as ended:
                command(log, log.parent / "root", state=log.parent / "state")
            assert ended.value.exit_code == 0
            said.append(capsys.readouterr().err)
        assert "were not read again" not in said[0]
        assert f"entries before {SIZE} were not read again" in said[1]

    def test_people(self, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """People are told the same in lines."""
        with pytest.raises(typer.Exit) as ended:
            command(log, log.parent / "root")
        assert ended.value.exit_code == 0
        out = capsys.readouterr().out
        assert out.startswith(f"VALID: whole: {SIZE} entries, as signed\n")
        assert f"  tree_size: {SIZE}\n" in out
        assert "  witnesses: -\n" in out

    def test_full_tile_stands_for_a_partial_one(
        self, log: Path, audit: Callable[..., dict[str, object]], entries: list[bytes], keys: Keys
    ) -> None:
        """An older head is verified from full tiles, where the partial ones have gone since."""
        signed = log.parent / "signed"
        signed.write_bytes(checkpoint_of(entries[:100], keys.log))
        assert audit(checkpoint=signed)["code"] == 0


def test_folder_is_read_by_tiles(tmp_path: Path, entries: list[bytes], keys: Keys) -> None:
    """Entries and leaf hashes come as they were written."""
    write_log(tmp_path, entries, checkpoint_of(entries, keys.log))
    folder = LogFolder(tmp_path)
    assert list(folder.entries(SIZE)) == entries
    assert list(folder.leaves(SIZE)) == [leaf_hash(entry) for entry in entries]


class Dropping(type(Path())):  # type: ignore[misc]
    """A path below which a broker drops a partial tile just before anybody opens it."""

    def open(self, *args: str) -> IO[bytes]:
        """Open the file, if it is no partial tile: that is gone."""
        if self.parent.suffix == ".p":
            shutil.rmtree(self.parent, ignore_errors=True)
        opened: IO[bytes] = super().open(*args)
        return opened


def test_folder_of_a_live_broker(tmp_path: Path, entries: list[bytes], keys: Keys) -> None:
    """A partial tile that goes while it is read, as its full one is there, is no damage."""
    write_log(tmp_path, entries[:200], checkpoint_of(entries[:200], keys.log))
    write_log(tmp_path, entries, checkpoint_of(entries, keys.log))
    folder = LogFolder(Dropping(tmp_path))
    assert list(folder.entries(200)) == entries[:200]
    assert list(folder.leaves(200)) == [leaf_hash(entry) for entry in entries[:200]]


def flip(envelope: bytes) -> bytes:
    """Change one bit of a receipt."""
    return envelope[:200] + bytes([envelope[200] ^ 1]) + envelope[201:]
