"""Have our log cosigned by a witness that others wrote."""

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.adapters.file_signer import FileSigner
from broker.core.trust_root import (
    KeyRole,
    TrustedKey,
    ed25519_pem,
    read_trust_root,
    write_trust_root,
)
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from conformance.log.litewitness import LiteWitness
from conformance.tools import ask
from tests.broker_process import PROGRAM, UNHURRIED, Folder, Served
from tests.log.fakes import MemoryFiles, add_receipts
from tests.log.lives import Life
from tests.ports.fake_clock import FakeClock
from tests.ports.shelf import MemoryShelf
from tests.verify.receipts import new_signer


@pytest.fixture
def witness() -> Iterator[LiteWitness]:
    """Give a witness that knows no log."""
    with LiteWitness() as found:
        yield found


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    """Give a log's key."""
    return new_signer(tmp_path_factory.mktemp("keys") / "log.key")


def life(signer: FileSigner, witness: LiteWitness, **more: object) -> Life:
    """Give a log that the witness is asked to cosign; the witness has no clock but the real one."""
    clock = FakeClock(datetime.now(UTC))
    return Life(signer, [witness], clock=clock, **more)  # type: ignore[arg-type]


class TestLog:
    @pytest.mark.parametrize("steps", [(1, 1, 1, 4), (255, 1, 300)])
    async def test_grows(
        self, signer: FileSigner, witness: LiteWitness, steps: tuple[int, ...]
    ) -> None:
        """From head to head it takes our proofs; what it cosigns counts for our reader."""
        async with life(signer, witness) as log:
            witness.add_log(log.log.verifier_key)
            for count in steps:
                await log.grow(count)
                await log.witnessing.ask()
                assert (log.reasons, log.count(log.shown)) == ([], 1)

    async def test_unknown(self, signer: FileSigner, witness: LiteWitness) -> None:
        """Before it knows the log it refuses; what it says is what its operator has to do."""
        async with life(signer, witness) as log:
            await log.grow(1)
            await log.witnessing.ask()
            assert (log.reasons, log.count(log.shown)) == (["WITNESS_LOG_UNKNOWN"], 0)

    async def test_of_another_key(
        self, signer: FileSigner, witness: LiteWitness, tmp_path: Path
    ) -> None:
        """A log of the same name under another key is refused."""
        other = new_signer(tmp_path / "other.key")
        async with life(other, witness) as log:
            witness.add_log(log.log.verifier_key)
        async with life(signer, witness) as log:
            await log.grow(1)
            await log.witnessing.ask()
            assert (log.reasons, log.count(log.shown)) == (["WITNESS_KEY_REFUSED"], 0)

    @pytest.mark.parametrize("size", [3, 4, 7], ids=["smaller", "as large", "larger"])
    async def test_refuses_a_fork(
        self, signer: FileSigner, witness: LiteWitness, size: int
    ) -> None:
        """A second history under one name and key is refused, alarmed, shown as nobody's."""
        async with life(signer, witness) as first:
            witness.add_log(first.log.verifier_key)
            await add_receipts(first.store, 100, 4)
            await first.grow(0)
            await first.witnessing.ask()
            assert (first.reasons, first.count(first.shown)) == ([], 1)
        async with life(signer, witness) as second:
            await second.grow(size)
            await second.witnessing.ask()
            assert second.reasons == ["LOG_FORK_SUSPECTED"]
            assert (second.disk.cosignatures, second.count(second.shown)) == ({}, 0)

    async def test_goes_on_with_the_first(self, signer: FileSigner, witness: LiteWitness) -> None:
        """Having refused a fork it cosigns the first history as before."""
        shelf, files = MemoryShelf(), MemoryFiles()
        async with life(signer, witness, shelf=shelf, files=files) as first:
            witness.add_log(first.log.verifier_key)
            await first.grow(4)
            await first.witnessing.ask()
        async with life(signer, witness) as second:
            await add_receipts(second.store, 100, 6)
            await second.grow(0)
            await second.witnessing.ask()
            assert second.reasons == ["LOG_FORK_SUSPECTED"]
        async with life(signer, witness, shelf=shelf, files=files) as first:
            await first.grow(4)
            await first.witnessing.ask()
            assert (first.reasons, first.count(first.shown)) == ([], 1)

    async def test_killed(self, signer: FileSigner, witness: LiteWitness) -> None:
        """Killed and started again it is caught up with, from where its database has the log."""
        async with life(signer, witness) as log:
            witness.add_log(log.log.verifier_key)
            await log.grow(2)
            await log.witnessing.ask()
            witness.kill()
            await log.grow(300)
            await log.witnessing.ask()
            assert (log.reasons, log.count(log.shown)) == (["WITNESS_UNREACHABLE"], 0)
            witness.start()
            log.clock.go_on_at(datetime.now(UTC))
            log.clock.advance(
                (log.witnessing._peers[0].due_at or log.clock.now()) - log.clock.now()
            )
            await log.witnessing.ask()
            assert (len(log.reasons), log.count(log.shown)) == (1, 1)

    async def test_verified_by_go(self, signer: FileSigner, witness: LiteWitness) -> None:
        """A proof by our log with its cosignature holds for the Go packages, who want a witness."""
        async with life(signer, witness) as log:
            witness.add_log(log.log.verifier_key)
            await log.grow(5)
            await log.witnessing.ask()
            receipt = await log.receipt(3)
            _, _, proof, _ = await log.witnessing.inclusion_proof(receipt)
            plain = await log.log.inclusion_proof(receipt)
            questions = [
                {
                    "check": "proof",
                    "proof": base64.b64encode(each).decode(),
                    "entry": base64.b64encode(receipt.envelope).decode(),
                    "quorum": 1,
                    "keys": [log.log.verifier_key],
                    "witnesses": [witness.vkey],
                }
                for each in (proof, plain[2])
            ]
        assert ask(questions) == ["accept", "reject"]


class TestBroker:
    """From the configuration to what a stranger verifies."""

    @pytest.fixture
    def folder(self, development_folder: Folder, witness: LiteWitness, tmp_path: Path) -> Folder:
        """Give a set with a witness that readers trust."""
        witnesses = f'[witnesses.lite]\nurl = "{witness.url}"\nkey = "{witness.vkey}"\n'
        folder = development_folder.copy(tmp_path / "dev", UNHURRIED, witnesses)
        trust_witness(folder.path / "trust-root.json", witness)
        return folder

    def test_cosigned(self, folder: Folder, witness: LiteWitness, tmp_path: Path) -> None:
        """A broker's log is cosigned as it runs; a proof is accepted by who wants a witness.

        While the witness is killed calls go on; their proofs, then, are none for that reader. When
        it is back, they are.
        """
        root = folder.path / "trust-root.json"
        trusted = read_trust_root(root.read_bytes())
        key_ids = [key.key_id for key in trusted.of_role(KeyRole.WITNESS)]
        with Served(folder) as served:

            def run(*words: object, online: bool = True) -> str:
                where = ["--config", folder.config, "--address", served.target] if online else []
                done = subprocess.run(
                    [PROGRAM, *words, *where], capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, (done.stderr, served.words())
                return done.stdout

            def verify(name: str) -> dict[str, Any]:
                files = (tmp_path / name / "receipt.json", "--trust-root", root)
                proof = ("--proof", tmp_path / f"{name}.tlog-proof")
                asked = ("--witness-quorum", "1", "-o", "json")
                said = run("receipts", "verify", *files, *proof, *asked, online=False)
                return dict(json.loads(said))

            def get(name: str, call: str) -> None:
                into = ("--into", tmp_path / name, "--proof-out", tmp_path / f"{name}.tlog-proof")
                run("receipts", "get", call, *into)

            agent, auditor = served.client("agent"), served.client("auditor")
            witness.add_log(auditor.checkpoint().verifier_key)
            get("first", agent.call("no_such_tool", {}).name)
            assert verify("first")["log"]["witnesses"] == key_ids
            witness.kill()
            call = agent.call("no_such_tool", {})
            plain = agent.inclusion_proof(call.name, unwitnessed=True).proof.encode()
            read = (call.receipt.encode(), trusted)
            assert verify_receipt(*read, proof=plain).validity is Validity.VALID
            assert verify_receipt(*read, proof=plain, quorum=1).step == "witnesses"
            witness.start()
            get("after", call.name)
            assert verify("after")["log"]["witnesses"] == key_ids
            (tmp_path / "kept").write_text(auditor.checkpoint(witnessed=True).checkpoint)
            folder_of_log = served.folder.store.with_name("toolwarrant.db.tlog")
            audit = ("audit", "verify", folder_of_log, "--trust-root", root)
            asked = ("--checkpoint", tmp_path / "kept", "--witness-quorum", "1")
            assert run(*audit, *asked, online=False).startswith("VALID: whole: ")


def trust_witness(file: Path, witness: LiteWitness) -> None:
    """Add a witness's key to a trust root."""
    root = read_trust_root(file.read_bytes())
    key = TrustedKey.from_pem(KeyRole.WITNESS, ed25519_pem(witness.public_key))
    file.write_text(
        write_trust_root(replace(root, version=root.version + 1, keys=(*root.keys, key)))
    )
