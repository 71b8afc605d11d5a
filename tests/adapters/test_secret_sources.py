"""Where secrets come from: files, credentials, variables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.adapters.secret_sources import ConfiguredSecrets
from broker.core.secret import MOST_BYTES
from broker.errors import SecretUnavailable

VALUE = b"s3cr3t-Token/42"


def secret_file(path: Path, value: bytes = VALUE, mode: int = 0o600) -> Path:
    """Write a file."""
    path.write_bytes(value)
    path.chmod(mode)
    return path


def read(uri: str, environment: dict[str, str] | None = None) -> bytes:
    """Read the secret `token` from somewhere."""
    provider = ConfiguredSecrets({"token": uri}, environment if environment is not None else {})
    try:
        return provider.read_now("token").value
    finally:
        provider.close()


def refusal(uri: str, environment: dict[str, str] | None = None) -> str:
    """Fail to read it; give the message, which tells nothing of the value."""
    with pytest.raises(SecretUnavailable) as caught:
        read(uri, environment)
    assert VALUE.decode() not in str(caught.value)
    assert caught.value.message.startswith("secret token: ")
    return caught.value.description


class TestFile:
    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
    def test_read(self, tmp_path: Path, mode: int) -> None:
        """A file that its owner alone may use is read, without a line end behind the value."""
        file = secret_file(tmp_path / "f", VALUE + b"\n", mode)
        assert read(f"file:{file}") == VALUE

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644])
    def test_others_may_use(self, tmp_path: Path, mode: int) -> None:
        """Any right of the group or of others is one too many."""
        said = refusal(f"file:{secret_file(tmp_path / 'f', mode=mode)}")
        assert f"mode {mode:04o}" in said

    def test_anothers(self, tmp_path: Path) -> None:
        """A file of another user is refused: they can change it whatever its mode."""
        file = secret_file(tmp_path / "f")
        os.chown(file, 12345, 12345)
        assert "belongs to another user" in refusal(f"file:{file}")

    def test_through_a_link(self, tmp_path: Path) -> None:
        """A link is followed, as mounted secrets are links; the file that is read is judged."""
        (tmp_path / "link").symlink_to(secret_file(tmp_path / "f"))
        assert read(f"file:{tmp_path / 'link'}") == VALUE
        (tmp_path / "f").chmod(0o644)
        assert "mode 0644" in refusal(f"file:{tmp_path / 'link'}")

    def test_no_file(self, tmp_path: Path) -> None:
        """What is not there, a folder, and a pipe that nobody writes to, are named."""
        os.mkfifo(tmp_path / "pipe", 0o600)
        assert "No such file" in refusal(f"file:{tmp_path / 'absent'}")
        assert "not a regular file" in refusal(f"file:{tmp_path}")
        assert "not a regular file" in refusal(f"file:{tmp_path / 'pipe'}")

    @pytest.mark.parametrize(
        ("value", "word"),
        [
            (b"12345678901", "shorter than 12"),
            (b"x" * (MOST_BYTES + 1), "longer"),
            (b"a" * 19 + b"\0", "NUL"),
        ],
        ids=["short", "long", "NUL"],
    )
    def test_no_value(self, tmp_path: Path, value: bytes, word: str) -> None:
        """What cannot be a secret is refused with the reason."""
        assert word in refusal(f"file:{secret_file(tmp_path / 'f', value)}")

    def test_the_longest(self, tmp_path: Path) -> None:
        """The twin: as long as may be, with a line end of two bytes, is read whole."""
        value = b"x" * MOST_BYTES
        file = secret_file(tmp_path / "f", value + b"\r\n")
        assert read(f"file:{file}") == value


class TestCredential:
    @pytest.mark.parametrize("mode", [0o400, 0o440])
    def test_read(self, tmp_path: Path, mode: int) -> None:
        """What systemd gave is read; the mask of its access list shows as the group's right."""
        secret_file(tmp_path / "db.pw", mode=mode)
        assert read("credential:db.pw", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == VALUE

    @pytest.mark.parametrize("mode", [0o444, 0o460, 0o450])
    def test_others_may_use(self, tmp_path: Path, mode: int) -> None:
        """Others' rights, or a group that may write, are refused."""
        secret_file(tmp_path / "db.pw", mode=mode)
        folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        assert f"mode {mode:04o}" in refusal("credential:db.pw", folder)

    def test_without_systemd(self) -> None:
        """Where there is no folder of credentials, the remedy is named."""
        assert "LoadCredential=" in refusal("credential:db.pw")


class TestVariable:
    def test_taken(self) -> None:
        """A variable is read, and no longer in the environment; its neighbours are."""
        environment = {"TOKEN": VALUE.decode(), "OTHER": "x"}
        assert read("env:TOKEN", environment) == VALUE
        assert environment == {"OTHER": "x"}

    def test_for_two_secrets(self) -> None:
        """Two secrets may name one variable."""
        environment = {"TOKEN": VALUE.decode()}
        provider = ConfiguredSecrets({"a": "env:TOKEN", "b": "env:TOKEN"}, environment)
        values = [provider.read_now(name).value for name in ("a", "b")]
        provider.close()
        assert (values, environment) == ([VALUE, VALUE], {})

    def test_unset(self) -> None:
        """A variable that is not set is named."""
        assert "variable TOKEN is not set" in refusal("env:TOKEN")

    @pytest.mark.parametrize("takes", [True, False])
    def test_no_child_inherits_it(self, monkeypatch: pytest.MonkeyPatch, takes: bool) -> None:
        """A child that is started afterwards does not have it; the twin takes none, and it has."""
        monkeypatch.setenv("TOOLWARRANT_TEST_TOKEN", VALUE.decode())
        if takes:
            ConfiguredSecrets({"token": "env:TOOLWARRANT_TEST_TOKEN"}, os.environ).close()
        code = "print(open('/proc/self/environ').read())"
        printed = subprocess.check_output([sys.executable, "-c", code], text=True)
        assert (VALUE.decode() in printed) is not takes

    def test_it_shows_in_no_repr(self) -> None:
        """Neither the provider nor what it keeps shows the value."""
        provider = ConfiguredSecrets({"token": "env:TOKEN"}, {"TOKEN": VALUE.decode()})
        provider.close()
        assert VALUE.decode() not in f"{provider!r} {vars(provider)!r}"
