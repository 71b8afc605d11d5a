"""What `toolwarrant receipts export --out` gives to strangers."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli.main import app
from broker.core.log_proof import read_log_proof
from broker.core.signed_note import read_note
from broker.v1.call_pb2 import Call
from broker.verify.command import run as verify
from tests.broker_process import PROGRAM, Served


@pytest.fixture
def run(served: Served):
    """Run `receipts export` as the auditor."""

    def run(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        where = ("--config", served.folder.config, "--address", served.target)
        done = subprocess.run(
            [PROGRAM, "receipts", "export", *words, *where],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


def files_in(folder: Path) -> dict[str, Path]:
    """List files by their path below a folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def sequence_of(call: Call) -> int:
    """Read the place of a call's receipt."""
    payload = base64.b64decode(json.loads(call.receipt)["payload"])
    return int(json.loads(payload)["predicate"]["identity"]["sequence"])


class TestEvidence:
    def test_of_one_call(self, agent, run, served, tmp_path):
        """The folder has all that verifies one call's receipt, and nothing else."""
        call, out = agent.execute("workspace_read", {"path": ".env"}), tmp_path / "evidence"
        said = json.loads(run("--out", out, "--call", call.name, "-o", "json").stdout)
        assert said == {"receipts": 1, "target": str(out)}
        name = f"{sequence_of(call):010d}-{call.name.removeprefix('calls/')}"
        trust_root = json.loads((served.folder.path / "trust-root.json").read_text())
        ids = {role: key["keyid"] for key in trust_root["keys"] for role in [key["role"]]}
        found = files_in(out)
        assert sorted(found) == sorted(
            [
                *("VERIFY.md", "checkpoint", "trust-root.json"),
                *(f"keys/{ids['receipt']}.pem", f"keys/{ids['log']}.vkey"),
                *(f"receipts/{name}.json", f"proofs/{name}.tlog-proof"),
                *(f"bundles/{name}.sigstore.json", f"documents/{name}.request.json"),
            ]
        )
        assert {path.stat().st_mode & 0o777 for path in found.values()} == {0o600}
        assert found[f"receipts/{name}.json"].read_text() == call.receipt
        code = verify(
            found[f"receipts/{name}.json"],
            served.folder.path / "trust-root.json",
            proof=found[f"proofs/{name}.tlog-proof"],
            request=found[f"documents/{name}.request.json"],
        )
        assert code == 0

    def test_what_it_says_is_the_same(self, agent, run, tmp_path):
        """Bundle, checkpoint and key are of the same receipt and log."""
        call, out = agent.execute("no_such_tool"), tmp_path / "evidence"
        run("--out", out, "--call", call.name)
        found = files_in(out)
        (bundle,) = (json.loads(found[name].read_text()) for name in found if "bundles/" in name)
        assert bundle["dsseEnvelope"] == json.loads(call.receipt)
        assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        origin = read_note(found["checkpoint"].read_bytes()).text.decode().partition("\n")[0]
        (vkey,) = (found[name].read_text() for name in found if name.endswith(".vkey"))
        assert vkey.startswith(f"{origin}+")
        (proof,) = (found[name].read_bytes() for name in found if "proofs/" in name)
        assert read_log_proof(proof).checkpoint.startswith(origin.encode())
        (pem,) = (found[name] for name in found if name.endswith(".pem"))
        der = base64.b64decode("".join(pem.read_text().splitlines()[1:-1]))
        assert hashlib.sha256(der).hexdigest() == pem.stem

    def test_of_all_calls(self, agent, run, tmp_path):
        """Without a call named, each receipt is there, as a bare export has them."""
        after = ("--after", sequence_of(agent.execute("no_such_tool")) - 1)
        agent.execute("no_such_tool")
        run("--out", tmp_path / "evidence", *map(str, after))
        run(tmp_path / "chain", *map(str, after))
        receipts = files_in(tmp_path / "evidence/receipts")
        chain = files_in(tmp_path / "chain")
        assert len(receipts) > 1
        assert {name: path.read_text() for name, path in receipts.items()} == {
            name: path.read_text() for name, path in chain.items() if name in receipts
        }

    def test_a_trust_root_of_ones_own(self, agent, run, served, tmp_path):
        """The auditor's own trust root is put in, where one is named."""
        call, out = agent.execute("no_such_tool"), tmp_path / "evidence"
        own = tmp_path / "own.json"
        root = json.loads((served.folder.path / "trust-root.json").read_text())
        own.write_text(json.dumps({**root, "version": 7}))
        run("--out", out, "--call", call.name, "--trust-root", own)
        assert (out / "trust-root.json").read_text() == own.read_text()

    @pytest.mark.parametrize(
        "words",
        [
            (),
            ("chain", "--out", "evidence"),
            ("chain", "--call", "01JABCDEFGHJKMNPQRSTVWXYZ0"),
            ("chain", "--trust-root", "trust-root.json"),
            ("--out", "evidence", "--call", "01JABCDEFGHJKMNPQRSTVWXYZ0", "--after", "1"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, words, tmp_path, monkeypatch):
        """A target too many or too few is wrong usage, before any broker is asked."""
        monkeypatch.chdir(tmp_path)
        assert CliRunner().invoke(app, ["receipts", "export", *words]).exit_code == 2
        assert files_in(tmp_path) == {}

    def test_a_trust_root_that_is_not_there(self, run, tmp_path):
        """A file that cannot be read is named, and nothing is written."""
        missing = tmp_path / "nothing"
        said = run("--out", tmp_path / "evidence", "--trust-root", missing, code=2)
        assert str(missing) in said.stderr
        assert files_in(tmp_path) == {}

    def test_nothing_is_overwritten(self, run, tmp_path):
        """A folder that is there stays as it is."""
        (tmp_path / "mine").write_text("kept")
        said = run("--out", tmp_path, code=2)
        assert "name a folder that is not there" in said.stderr
        assert list(files_in(tmp_path)) == ["mine"]
