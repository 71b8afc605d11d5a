"""Keys that a broker does not start with, and that doctor finds."""

import asyncio
import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from broker.activation import kept
from broker.core.bundle import pack_members, unpack
from broker.shipped import policies_dir
from tests.activation.bundles import Key, read, variant
from tests.bundles.signed import numbered
from tests.cli.test_program import toolwarrant
from tests.ports.samples import event
from tests.ports.shelf import SqliteShelf


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set without images. Copy it, change nothing in it."""
    folder = tmp_path_factory.mktemp("made")
    toolwarrant("init", "dev", "--no-images", "--listen", "127.0.0.1:1", cwd=folder)
    return folder / "dev"


@pytest.fixture
def dev(made: Path, tmp_path: Path) -> Path:
    """A copy of the test's own."""
    return Path(shutil.copytree(made, tmp_path / "dev"))


def run(dev: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that reads the set's configuration."""
    return toolwarrant(*command, "--config", "toolwarrant.toml", cwd=dev)


def replace(dev: Path, old: str, new: str) -> None:
    """Change a line of the configuration."""
    config = dev / "toolwarrant.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))


SERVER_CRT, AGENT_CRT = 'certificate = "pki/server.crt"', 'certificate = "pki/agent.crt"'
CLIENT_CA, NO_CA = 'client_ca = "pki/ca.crt"', 'client_ca = "pki/ca.key"'
LOG_KEY = 'log_key = "file:keys/log.key"'
LOG_AGENT_KEY, LOG_RECEIPT_KEY = (
    f'log_key = "file:{file}"' for file in ("pki/agent.key", "keys/receipt.key")
)
RECEIPT_KEY, AGENT_KEY = 'key = "file:keys/receipt.key"', 'key = "file:pki/agent.key"'


async def _keep(path: Path, archive: bytes) -> None:
    """Let a store have a bundle that was active."""
    store = await SqliteShelf(path).open()
    await store.keep_bundle(kept(read(archive)), event("policy.activated"))
    await store.close()


class TestServe:
    """`serve`."""

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            (
                SERVER_CRT,
                AGENT_CRT,
                "pki/server.key: the private key belongs to another certificate",
            ),
            (CLIENT_CA, NO_CA, "pki/ca.key: is no X.509 certificate in PEM"),
            (RECEIPT_KEY, AGENT_KEY, "trust-root.json: does not name the receipt key "),
            (LOG_KEY, LOG_AGENT_KEY, "agent.key: a log is signed by an Ed25519 key"),
            (LOG_KEY, LOG_RECEIPT_KEY, "trust-root.json: does not name the log key "),
        ],
        ids=["foreign certificate", "no CA", "foreign receipt key", "ECDSA", "foreign log key"],
    )
    def test_a_key_that_does_not_fit_stops_the_start(
        self, dev: Path, old: str, new: str, said: str
    ) -> None:
        """The file is named: not the address, and not with the first receipt."""
        replace(dev, old, new)
        done = run(dev, "serve")
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr

    def test_a_trust_root_that_is_none_stops_the_start(self, dev: Path) -> None:
        """A file that no verifier could read is named."""
        (dev / "trust-root.json").write_text("{")
        done = run(dev, "serve")
        assert (done.returncode, done.stdout) == (2, "")
        assert "trust-root.json: is no trust root: " in done.stderr

    def test_a_key_that_has_been_withdrawn_stops_the_start(self, dev: Path) -> None:
        """What it would sign counted nowhere."""
        root = dev / "trust-root.json"
        root.write_text(root.read_text().replace('"active"', '"withdrawn"'))
        done = run(dev, "serve")
        assert (done.returncode, done.stdout) == (2, "")
        assert "trust-root.json: does not name the receipt key " in done.stderr

    def test_the_twin_comes_as_far_as_the_images(self, dev: Path) -> None:
        """With the set as it was made, what is missing is the images."""
        assert "images.lock.json: pins no image" in run(dev, "serve").stderr


class TestOlderSet:
    """A set that `init` made before there was a log."""

    @pytest.fixture
    def older(self, dev: Path) -> Path:
        """Take everything of the log away again."""
        (dev / "keys" / "log.key").unlink()
        replace(dev, f"{LOG_KEY}\n", "")
        root = json.loads((dev / "trust-root.json").read_text())
        root["keys"] = [key for key in root["keys"] if key["role"] != "log"]
        (dev / "trust-root.json").write_text(json.dumps(root))
        return dev

    def test_it_stops_the_start_and_says_what_to_do(self, older: Path) -> None:
        """The missing key is named, with the command that makes it."""
        done = run(older, "serve")
        assert (done.returncode, done.stdout) == (2, "")
        assert "keys/log.key: there is no log key, as in a set from before the log" in done.stderr
        assert "`toolwarrant receipts log-key` makes it" in done.stderr

    def test_doctor_says_the_same(self, older: Path) -> None:
        """What `serve` refuses, doctor finds, with the remedy."""
        out = run(older, "doctor").stdout
        assert "FAIL  log key: " in out
        assert "`toolwarrant receipts log-key` makes it" in out

    def test_the_command_mends_it(self, older: Path) -> None:
        """After it the set is as a new one's, and its other keys are untouched."""
        before = json.loads((older / "trust-root.json").read_text())
        done = run(older, "receipts", "log-key")
        assert done.returncode == 0
        after = json.loads((older / "trust-root.json").read_text())
        assert after["version"] == before["version"] + 1
        assert after["keys"][:-1] == before["keys"]
        assert after["keys"][-1]["role"] == "log"
        assert (older / "keys" / "log.key").stat().st_mode & 0o777 == 0o600
        assert (older / "trust-root.json").stat().st_mode & 0o777 == 0o600
        assert "ok    log key: " in run(older, "doctor").stdout
        assert "images.lock.json: pins no image" in run(older, "serve").stderr

    def test_a_second_time_it_does_nothing(self, older: Path) -> None:
        """The key that is there stays, and so does the trust root."""
        run(older, "receipts", "log-key")
        files = [older / "keys" / "log.key", older / "trust-root.json"]
        before = [file.read_bytes() for file in files]
        assert "nothing was done" in run(older, "receipts", "log-key").stdout
        assert [file.read_bytes() for file in files] == before

    def test_a_signed_trust_root_is_left_to_its_signers(self, older: Path) -> None:
        """What root keys signed is not changed without them."""
        root = older / "trust-root.json"
        payload = base64.b64encode(root.read_bytes()).decode()
        signed = json.dumps({"payload": payload, "payloadType": "x", "signatures": []})
        root.write_text(signed)
        done = run(older, "receipts", "log-key")
        assert done.returncode == 2
        assert "is signed by root keys" in done.stderr
        assert root.read_text() == signed


class TestDoctor:
    """`doctor`."""

    def test_a_pair_that_does_not_fit_is_found(self, dev: Path) -> None:
        """A certificate beside another's key connects nowhere."""
        (dev / "pki" / "agent.key").write_bytes((dev / "pki" / "agent2.key").read_bytes())
        assert "FAIL  pair agent: the private key belongs to another" in run(dev, "doctor").stdout

    def test_a_server_certificate_of_another_ca_is_fine(self, dev: Path) -> None:
        """Whoever signs the clients' certificates need not have signed the broker's."""
        toolwarrant("init", "other", "--no-images", cwd=dev)
        replace(dev, CLIENT_CA, 'client_ca = "other/pki/ca.crt"')
        assert "ok    server certificate: " in run(dev, "doctor").stdout
        assert "FAIL  server certificate" not in run(dev, "doctor").stdout

    def test_a_broken_bundle_is_found(self, dev: Path) -> None:
        """What `serve` refuses, doctor does not call ready."""
        (dev / "policy.tar.gz").write_bytes(b"no bundle")
        replace(dev, 'bundle = ""', 'bundle = "policy.tar.gz"')
        assert "FAIL  policy bundle: " in run(dev, "doctor").stdout

    def test_a_bundle_that_nobody_signed_is_found(self, dev: Path) -> None:
        """Nor what `serve` refuses since no policy key signed it; with that word it takes it."""
        shipped = (policies_dir() / "bundle.tar.gz").read_bytes()
        (dev / "policy.tar.gz").write_bytes(variant(shipped, 1))
        replace(dev, 'bundle = ""', 'bundle = "policy.tar.gz"')
        assert "FAIL  policy bundle: " in run(dev, "doctor").stdout
        replace(dev, "unsigned_bundle = false", "unsigned_bundle = true")
        assert "ok    policy bundle: " in run(dev, "doctor").stdout

    def test_a_bundle_that_no_engine_loads_is_found(self, dev: Path) -> None:
        """A start tries it on a call of nobody; so does doctor."""
        members = dict(unpack((policies_dir() / "bundle.tar.gz").read_bytes(), "it"))
        members["policy.wasm"] = b"no wasm"
        (dev / "policy.tar.gz").write_bytes(pack_members(members))
        replace(dev, 'bundle = ""', 'bundle = "policy.tar.gz"')
        replace(dev, "unsigned_bundle = false", "unsigned_bundle = true")
        said = run(dev, "doctor").stdout
        assert "FAIL  policy engine: wasm, inside the broker, does not load the bundle: " in said
        replace(dev, 'bundle = "policy.tar.gz"', 'bundle = ""')
        assert "ok    policy engine: wasm, inside the broker" in run(dev, "doctor").stdout

    def test_the_bundle_that_decides_is_named(self, dev: Path) -> None:
        """The one that was active last, not the configured one; refused where a start would be."""
        key = Key.of(dev / "keys" / "policy.key")
        asyncio.run(_keep(dev / "toolwarrant.db", key.sign(numbered(7))))
        assert "ok    policy bundle: test-7, " in run(dev, "doctor").stdout
        file = dev / "trust-root.json"
        root = json.loads(file.read_text())
        for each in root["keys"]:
            if each["keyid"] == key.trusted.key_id:
                each["status"] = "withdrawn"
        file.write_text(json.dumps(root))
        said = run(dev, "doctor").stdout
        assert "FAIL  policy bundle: the policy bundle that was active last: policy key " in said
        assert "let an active policy key sign it anew, or a newer one" in said

    def test_sockets_that_are_open_to_others_are_found(self, dev: Path) -> None:
        """No call with egress can run where others may enter the folder of sockets."""
        assert "ok    egress sockets: " in run(dev, "doctor").stdout
        (dev / "egress").mkdir(mode=0o755)
        assert "FAIL  egress sockets: " in run(dev, "doctor").stdout
