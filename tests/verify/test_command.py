"""The command: files in, exit code out."""

import io
import json
import subprocess
import sys

import pytest

from broker.core.trust_root import KeyStatus, write_trust_root
from broker.verify.command import run
from tests.verify.log_vectors import ORIGIN, all_vectors
from tests.verify.receipts import REQUEST, RESULT, new_signer, sealed, trust

IMPORTED = """
import sys, broker.verify.command, broker.verify.chain
foreign = ("grpc", "docker", "google", "aiohttp", "broker.adapters", "broker.api", "broker.v1")
print(sorted(name for name in sys.modules if name.startswith(foreign)))
"""


LITTLE_MEMORY = """
import resource
from broker.verify.program import main
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
main()
"""


@pytest.fixture
def signer(tmp_path):
    return new_signer(tmp_path / "key")


@pytest.fixture
def files(signer, tmp_path):
    (tmp_path / "receipt.json").write_bytes(sealed("succeeded", signer))
    (tmp_path / "root.json").write_text(write_trust_root(trust(signer)))
    (tmp_path / "request.json").write_bytes(REQUEST.text)
    (tmp_path / "result.json").write_bytes(RESULT.text)
    return tmp_path


@pytest.fixture
def logged(tmp_path):
    """Give the files of a receipt that is in a log."""
    vector = next(each for each in all_vectors(tmp_path) if each.name == "log/accept/in the log")
    (tmp_path / "receipt.json").write_bytes(vector.envelope)
    (tmp_path / "root.json").write_text(write_trust_root(vector.trust_root))
    (tmp_path / "proof").write_bytes(vector.proof)
    return tmp_path


def run_json(capsys, *arguments, **options):
    code = run(*arguments, output="json", **options)
    return code, json.loads(capsys.readouterr().out)


class TestCommand:
    def test_valid(self, files, capsys):
        """A genuine receipt exits 0 and says that no log was asked."""
        code = run(files / "receipt.json", files / "root.json")
        out = capsys.readouterr().out
        assert code == 0
        assert out.startswith("VALID: the receipt is genuine\n")
        assert "note: not shown to be in the log\n" in out
        assert "  state: SUCCEEDED\n" in out

    def test_valid_with_documents(self, files, capsys):
        """With both documents, nothing but the log is left open."""
        code, found = run_json(
            capsys,
            files / "receipt.json",
            files / "root.json",
            request=files / "request.json",
            result=files / "result.json",
        )
        assert (code, found["verdict"], found["step"]) == (0, "valid", None)
        assert found["notes"] == ["not shown to be in the log"]
        assert found["receipt"]["call"] == "calls/01JABCDEFGHJKMNPQRSTVWXYZ0"
        assert found["receipt"]["sequence"] == "1"
        assert found["in_log"] is False

    def test_one_byte_changed(self, files, capsys):
        """A changed receipt exits 1 and names the step."""
        text = (files / "receipt.json").read_bytes()
        (files / "receipt.json").write_bytes(text[:300] + bytes([text[300] ^ 1]) + text[301:])
        code, found = run_json(capsys, files / "receipt.json", files / "root.json")
        assert (code, found["verdict"], found["receipt"]) == (1, "invalid", None)
        assert found["step"] in ("signature", "envelope")

    def test_another_request(self, files, capsys):
        """A document that is not the receipt's exits 1."""
        code, found = run_json(
            capsys, files / "receipt.json", files / "root.json", request=files / "result.json"
        )
        assert (code, found["step"]) == (1, "documents")

    def test_withdrawn_key(self, files, signer, capsys):
        """A key that may not have been valid exits 3."""
        root = trust(signer, status=KeyStatus.WITHDRAWN)
        (files / "root.json").write_text(write_trust_root(root))
        code, found = run_json(capsys, files / "receipt.json", files / "root.json")
        assert (code, found["verdict"], found["step"]) == (3, "indeterminate", "validity")

    @pytest.mark.parametrize("root", [b"", b"{}", b'{"keys":[],"version":1}', b"words"])
    def test_a_broken_trust_root(self, files, root, capsys):
        """Without a trust root nothing is valid."""
        (files / "root.json").write_bytes(root)
        code, found = run_json(capsys, files / "receipt.json", files / "root.json")
        assert (code, found["step"]) == (1, "trust_root")

    def test_in_the_log(self, logged, capsys):
        """With a proof, it says where in which log the receipt is."""
        code, found = run_json(
            capsys, logged / "receipt.json", logged / "root.json", proof=logged / "proof"
        )
        assert (code, found["in_log"]) == (0, True)
        assert found["log"] == {
            "origin": ORIGIN,
            "index": "4",
            "tree_size": "7",
            "witnesses": [],
        }
        assert found["notes"][0].startswith("no witness cosigned")

    def test_in_the_log_for_people(self, logged, capsys):
        """People are told the same, a line for each."""
        assert run(logged / "receipt.json", logged / "root.json", proof=logged / "proof") == 0
        out = capsys.readouterr().out
        assert f"  log_origin: {ORIGIN}\n  log_index: 4\n  log_tree_size: 7\n" in out
        assert "not shown to be in the log" not in out

    def test_not_in_the_log(self, logged, capsys):
        """A receipt that the proof does not show exits 1, however genuine."""
        text = (logged / "proof").read_text().replace("index 4", "index 5")
        (logged / "proof").write_text(text)
        code, found = run_json(
            capsys, logged / "receipt.json", logged / "root.json", proof=logged / "proof"
        )
        assert (code, found["step"], found["in_log"]) == (1, "inclusion", False)

    def test_too_few_witnesses(self, logged, capsys):
        """Fewer witnesses than wanted exit 1."""
        code, found = run_json(
            capsys,
            logged / "receipt.json",
            logged / "root.json",
            proof=logged / "proof",
            witness_quorum=1,
        )
        assert (code, found["step"]) == (1, "witnesses")

    @pytest.mark.parametrize(("proof", "quorum"), [(None, 1), ("proof", 0), ("proof", -1)])
    def test_what_it_cannot_count_is_refused(self, logged, proof, quorum, capsys):
        """Witnesses cannot be counted without a proof, nor fewer than one be asked for."""
        code = run(
            logged / "receipt.json",
            logged / "root.json",
            proof=proof and logged / proof,
            witness_quorum=quorum,
        )
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert "--witness-quorum N: give a number from 1" in err

    def test_a_missing_file(self, files, capsys):
        """A file that is not there is the caller's mistake, not the receipt's."""
        assert run(files / "nothing.json", files / "root.json") == 2
        assert "No such file" in capsys.readouterr().err

    def test_a_file_without_end(self, files):
        """What is longer than any receipt is not read to its end."""
        done = subprocess.run(
            [sys.executable, "-c", LITTLE_MEMORY, "/dev/zero", "--trust-root", files / "root.json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout[:27]) == (1, "INVALID at step envelope: l")

    def test_an_unknown_output(self, files, capsys):
        """Another form of output is refused."""
        assert run(files / "receipt.json", files / "root.json", output="xml") == 2

    def test_one_line_end_is_the_shells(self, files):
        """A line end behind the envelope, as `echo` leaves it, is not part of it; two are."""
        text = (files / "receipt.json").read_bytes()
        (files / "receipt.json").write_bytes(text + b"\n")
        assert run(files / "receipt.json", files / "root.json") == 0
        (files / "receipt.json").write_bytes(text + b"\n\n")
        assert run(files / "receipt.json", files / "root.json") == 1

    def test_standard_input(self, files, monkeypatch):
        """`-` reads the receipt from standard input."""
        text = (files / "receipt.json").read_bytes()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert run("-", files / "root.json") == 0

    def test_it_needs_nothing_of_the_broker(self):
        """The verifier runs without grpc, docker, adapters or a network."""
        found = subprocess.run(
            [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True
        )
        assert found.stdout == "[]\n"
