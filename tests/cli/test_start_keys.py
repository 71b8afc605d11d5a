"""Keys that a broker does not start with, and that doctor finds."""

import subprocess
from pathlib import Path

import pytest

from tests.cli.test_program import toolwarrant


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A set of the test's own, without images."""
    toolwarrant("init", "dev", "--no-images", "--listen", "127.0.0.1:1", cwd=tmp_path)
    return tmp_path / "dev"


def run(dev: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that reads the set's configuration."""
    return toolwarrant(command, "--config", "toolwarrant.toml", cwd=dev)


def replace(dev: Path, old: str, new: str) -> None:
    """Change a line of the configuration."""
    config = dev / "toolwarrant.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))


SERVER_CRT, AGENT_CRT = 'certificate = "pki/server.crt"', 'certificate = "pki/agent.crt"'
CLIENT_CA, NO_CA = 'client_ca = "pki/ca.crt"', 'client_ca = "pki/ca.key"'
RECEIPT_KEY, AGENT_KEY = 'key = "file:keys/receipt.key"', 'key = "file:pki/agent.key"'


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
        ],
        ids=["foreign certificate", "no CA", "foreign receipt key"],
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

    def test_sockets_that_are_open_to_others_are_found(self, dev: Path) -> None:
        """No call with egress can run where others may enter the folder of sockets."""
        assert "ok    egress sockets: " in run(dev, "doctor").stdout
        (dev / "egress").mkdir(mode=0o755)
        assert "FAIL  egress sockets: " in run(dev, "doctor").stdout
