"""The log as auditors and agents reach it."""

import base64
import json
import subprocess

import grpc
import pytest

from broker.core.log_proof import read_log_proof
from broker.core.merkle_proof import check_consistency
from broker.core.trust_root import read_trust_root
from broker.v1 import receipt_pb2
from broker.verify.log import open_checkpoint
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.api.rpc import TIMEOUT_S, read_failure
from tests.broker_process import PROGRAM
from tests.log.fakes import checkpoint_in, entries_in


@pytest.fixture(scope="module")
def trust_root(served):
    """The trust root as `init` wrote it."""
    return read_trust_root((served.folder.path / "trust-root.json").read_bytes())


def head(auditor):
    """Ask for the latest head."""
    return auditor.receipts.GetCheckpoint(receipt_pb2.GetCheckpointRequest(), timeout=TIMEOUT_S)


def consistency(auditor, first, second=0):
    """Ask for a proof between sizes."""
    request = receipt_pb2.GetConsistencyProofRequest(first_size=first, second_size=second)
    return auditor.receipts.GetConsistencyProof(request, timeout=TIMEOUT_S)


def failure(work):
    """Give how an RPC fails."""
    with pytest.raises(grpc.RpcError) as caught:
        work()
    return read_failure(caught.value)


class TestInclusion:
    def test_of_ones_own(self, agent, auditor, trust_root):
        """At once after its call an agent has a proof, which holds with the trust root alone."""
        call = agent.execute("no_such_tool")
        found = agent.inclusion_proof(call)
        verdict = verify_receipt(call.receipt.encode(), trust_root, proof=found.proof.encode())
        assert (verdict.validity, verdict.step) == (Validity.VALID, None)
        assert verdict.logged is not None
        assert (verdict.logged.index, verdict.logged.checkpoint.size) == (
            found.index,
            found.tree_size,
        )
        assert auditor.inclusion_proof(call).index == found.index

    def test_of_anothers(self, agent, agent2):
        """Another agent's receipt is not there, nor is its proof."""
        call = agent.execute("no_such_tool")
        found = failure(lambda: agent2.inclusion_proof(call))
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        assert agent.inclusion_proof(call).proof

    def test_of_an_open_call(self, agent):
        """A call that has not ended is in no log."""
        call = agent.execute("workspace_delete", {"path": "x"})
        found = failure(lambda: agent.inclusion_proof(call))
        assert (found.code, "WaitCall" in found.message) == (grpc.StatusCode.NOT_FOUND, True)

    def test_of_another_receipt(self, agent, trust_root):
        """The proof of one call shows nothing of another."""
        one, other = agent.execute("no_such_tool"), agent.execute("no_such_tool")
        proof = agent.inclusion_proof(one).proof.encode()
        verdict = verify_receipt(other.receipt.encode(), trust_root, proof=proof)
        assert (verdict.validity, verdict.step) == (Validity.INVALID, "inclusion")


class TestCheckpoint:
    def test_is_signed(self, agent, auditor, trust_root, served):
        """The head is signed by the log's key, under the store's name, as its key says."""
        agent.inclusion_proof(agent.execute("no_such_tool"))
        found = head(auditor)
        signed = open_checkpoint(found.checkpoint.encode(), trust_root).checkpoint
        assert signed.size == found.tree_size
        assert signed.origin.startswith("toolwarrant.invalid/")
        assert found.verifier_key.startswith(f"{signed.origin}+")

    def test_is_the_one_in_the_folder(self, agent, auditor, served):
        """What readers of the files are shown is a log that the head's readers know."""
        agent.inclusion_proof(agent.execute("no_such_tool"))
        folder = served.folder.store.with_name("toolwarrant.db.tlog")
        shown = checkpoint_in((folder / "checkpoint").read_bytes())
        found = consistency(auditor, shown.size)
        check_consistency(
            first=shown.size,
            first_root=shown.root,
            second=found.second_size,
            second_root=checkpoint_in(head(auditor).checkpoint.encode()).root,
            proof=[base64.b64decode(each) for each in found.hashes],
        )

    def test_the_files_hold_the_receipts(self, agent, served):
        """The entries in the folder are the receipts, byte for byte."""
        call = agent.execute("no_such_tool")
        proof = agent.inclusion_proof(call)
        # Files follow the head that covers them, and come before the next one.
        agent.inclusion_proof(agent.execute("no_such_tool"))
        folder = served.folder.store.with_name("toolwarrant.db.tlog")
        names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
        files = {name: path.read_bytes() for name, path in names.items() if path.is_file()}
        size = checkpoint_in(files["checkpoint"]).size
        assert size > proof.index
        assert entries_in(files, size)[proof.index] == call.receipt.encode()


class TestCommandLine:
    """What a person types, from the proof to the whole log."""

    @pytest.fixture
    def run(self, served):
        """Run the program as an identity."""

        def run(*words, code=0, online=True):
            where = ["--config", served.folder.config, "--address", served.target]
            done = subprocess.run(
                [PROGRAM, *words, *(where if online else [])], capture_output=True, text=True
            )
            assert done.returncode == code, done.stderr
            return done.stdout

        return run

    def test_proof(self, agent, run, served, tmp_path):
        """A proof is written beside its receipt, and holds offline; never over another file."""
        call, proof = agent.execute("no_such_tool"), tmp_path / "receipt.tlog-proof"
        into = ("--into", tmp_path / "files", "--proof-out", proof, "--as", "agent")
        run("receipts", "get", call.name, *into)
        root = served.folder.path / "trust-root.json"
        verify = ("receipts", "verify", tmp_path / "files/receipt.json", "--trust-root", root)
        found = json.loads(run(*verify, "--proof", proof, "-o", "json", online=False))
        assert (found["verdict"], found["in_log"]) == ("valid", True)
        run(*verify, "--proof", proof, "--witness-quorum", "1", code=1, online=False)
        run(*verify, "--witness-quorum", "1", code=2, online=False)
        run("receipts", "get", call.name, "--proof-out", proof, code=2)

    def test_audit(self, agent, run, served, tmp_path):
        """The folder beside the store is verified with a head kept from earlier; an export, which
        has receipts alone, is told to be no whole log.
        """
        agent.inclusion_proof(agent.execute("no_such_tool"))
        kept, export = tmp_path / "kept", tmp_path / "export"
        kept.write_text(run("receipts", "checkpoint"))
        # Files follow the head that covers them, and come before the next one.
        agent.inclusion_proof(agent.execute("no_such_tool"))
        folder = served.folder.store.with_name("toolwarrant.db.tlog")
        root = ("--trust-root", served.folder.path / "trust-root.json")
        said = run("audit", "verify", folder, *root, "--kept", kept, online=False)
        assert said.startswith("VALID: whole: ")
        again = ("audit", "verify", folder, *root, "--state", tmp_path / "state", "-o", "json")
        first, second = (json.loads(run(*again, online=False)) for _ in range(2))
        assert (first["verdict"], second["verdict"]) == ("valid", "valid")
        assert (first["resumed_at"], second["resumed_at"]) == (0, first["entries"])
        assert {"batch", "key", "policy", "receipt"} <= set(first["kinds"])
        run("receipts", "export", export)
        said = run("audit", "verify", export, *root, "--checkpoint", kept, code=1, online=False)
        assert said.startswith("INVALID at step ")
        run("receipts", "verify-export", export, *root, online=False)


class TestConsistency:
    def test_between_heads(self, agent, auditor):
        """What an auditor kept of the log is how a later one begins."""
        older = read_log_proof(agent.inclusion_proof(agent.execute("no_such_tool")).proof.encode())
        newer = read_log_proof(agent.inclusion_proof(agent.execute("no_such_tool")).proof.encode())
        first, second = (checkpoint_in(each.checkpoint) for each in (older, newer))
        found = consistency(auditor, first.size, second.size)
        assert (found.first_size, found.second_size) == (first.size, second.size)
        check_consistency(
            first=first.size,
            first_root=first.root,
            second=second.size,
            second_root=second.root,
            proof=[base64.b64decode(each) for each in found.hashes],
        )

    @pytest.mark.parametrize(("first", "second"), [(0, 0), (2, 1), (1, 2**40), (-1, 0)])
    def test_no_such_sizes(self, agent, auditor, first, second):
        """Sizes that the log did not go through are refused, with the size that it has."""
        agent.inclusion_proof(agent.execute("no_such_tool"))
        found = failure(lambda: consistency(auditor, first, second))
        assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LOG_SIZE")
        assert "ask for sizes from 1" in found.message
