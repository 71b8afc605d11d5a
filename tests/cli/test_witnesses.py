"""What an operator writes of witnesses, what is said of mistakes in it."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli.main import app
from broker.config import load
from broker.core.signed_note import COSIGNATURE_V1, ED25519, verifier_key
from broker.core.trust_root import (
    KeyRole,
    KeyStatus,
    TrustedKey,
    TrustRoot,
    ed25519_pem,
    read_trust_root,
    write_trust_root,
)
from broker.core.witness import Witness
from broker.diagnosis import diagnose
from broker.errors import ConfigurationError
from broker.witness_ring import read_addresses, read_witnesses
from tests.ports.samples import START

NAME = "witness.test/1"
RAW = bytes(range(32))
VKEY = verifier_key(NAME, COSIGNATURE_V1, RAW)
KEY = TrustedKey.from_pem(KeyRole.WITNESS, ed25519_pem(RAW))
OTHER = TrustedKey.from_pem(KeyRole.WITNESS, ed25519_pem(bytes(range(1, 33))))
LOG = TrustedKey.from_pem(KeyRole.LOG, ed25519_pem(bytes(range(2, 34))))
URL = 'url = "https://witness.test/"'


def read(folder: Path, text: str, *keys: TrustedKey) -> list[Witness]:
    """Read the witnesses of a configuration, by a trust root with these keys."""
    (folder / "dev.toml").write_text(text)
    root = TrustRoot(version=1, keys=(LOG, *keys))
    return read_witnesses(load(folder / "dev.toml"), root)


class TestRead:
    @pytest.mark.parametrize(("key", "signs_as"), [(VKEY, NAME), (KEY.key_id, None)])
    def test_found(self, tmp_path: Path, key: str, signs_as: str | None) -> None:
        """A witness is named by its verifier key, whose name then binds, or by its key id."""
        found = read(tmp_path, f'[witnesses.w]\n{URL}\nkey = "{key}"', OTHER, KEY)
        assert found == [Witness(name="w", key=KEY, signs_as=signs_as)]

    def test_none(self, tmp_path: Path) -> None:
        """A broker has no witnesses by itself."""
        assert read(tmp_path, "", KEY) == []

    @pytest.mark.parametrize(
        "keys",
        [
            (),
            (OTHER,),
            (replace(KEY, status=KeyStatus.WITHDRAWN),),
            (replace(KEY, valid_until_index=9),),
            (replace(KEY, role=KeyRole.RECEIPT),),
        ],
        ids=["none", "another", "withdrawn", "with an end", "another role"],
    )
    @pytest.mark.parametrize("key", [VKEY, KEY.key_id])
    def test_not_trusted(self, tmp_path: Path, key: str, keys: tuple[TrustedKey, ...]) -> None:
        """A witness that no reader would count is refused."""
        with pytest.raises(ConfigurationError, match="no such active key of role witness") as error:
            read(tmp_path, f'[witnesses.w]\n{URL}\nkey = "{key}"', *keys)
        assert error.value.line == 3

    @pytest.mark.parametrize("key", [VKEY, KEY.key_id])
    def test_named(self, tmp_path: Path, key: str) -> None:
        """Where readers count a witness under one name alone, it signs under that name."""
        text = f'[witnesses.w]\n{URL}\nkey = "{key}"'
        (found,) = read(tmp_path, text, replace(KEY, name=NAME))
        assert found.signs_as == NAME

    def test_named_otherwise(self, tmp_path: Path) -> None:
        """One that signs under another name than readers count is refused."""
        with pytest.raises(ConfigurationError, match="or gives it another name"):
            read(tmp_path, f'[witnesses.w]\n{URL}\nkey = "{VKEY}"', replace(KEY, name="w.test/2"))

    @pytest.mark.parametrize(
        "key",
        [VKEY[:-1], VKEY.replace("1", "2", 1), verifier_key(NAME, ED25519, RAW)],
        ids=["cut", "another name", "a log's"],
    )
    def test_no_verifier_key(self, tmp_path: Path, key: str) -> None:
        """What is no verifier key of a witness is refused."""
        with pytest.raises(ConfigurationError, match=r"witnesses\.w\.key: is no verifier key"):
            read(tmp_path, f'[witnesses.w]\n{URL}\nkey = "{key}"', KEY)

    def test_twice(self, tmp_path: Path) -> None:
        """One key under two names would count once, so it is named once."""
        text = f'[witnesses.a]\n{URL}\nkey = "{VKEY}"\n[witnesses.b]\n{URL}\nkey = "{KEY.key_id}"'
        with pytest.raises(ConfigurationError, match="is another witness's, too"):
            read(tmp_path, text, KEY)

    @pytest.mark.parametrize(("quorum", "is_fine"), [(1, True), (2, False)])
    def test_quorum(self, tmp_path: Path, quorum: int, is_fine: bool) -> None:
        """More than there are cannot be wanted."""
        text = f'[receipts]\nwitness_quorum = {quorum}\n[witnesses.w]\n{URL}\nkey = "{VKEY}"'
        if is_fine:
            assert len(read(tmp_path, text, KEY)) == 1
        else:
            with pytest.raises(ConfigurationError, match="is more than the 1 of"):
                read(tmp_path, text, KEY)


class TestAuthorities:
    @pytest.mark.parametrize("text", [None, "", "no certificate"])
    def test_unusable(self, tmp_path: Path, text: str | None) -> None:
        """A file of authorities that is not there, or holds none, is refused."""
        if text is not None:
            (tmp_path / "ca.crt").write_text(text)
        (tmp_path / "dev.toml").write_text(f'[witnesses.w]\n{URL}\nkey = "x"\nca_file = "ca.crt"')
        with pytest.raises(ConfigurationError, match=r"witnesses\.w\.ca_file: cannot be read") as e:
            read_addresses(load(tmp_path / "dev.toml"))
        assert e.value.line == 4


class TestKey:
    def test_entry(self) -> None:
        """A verifier key is made the entry that a trust root takes."""
        done = CliRunner().invoke(app, ["receipts", "witness-key", VKEY])
        text = json.dumps({"version": 1, "keys": [json.loads(done.stdout)]})
        assert read_trust_root(text.encode()).keys == (replace(KEY, name="witness.test/1"),)

    @pytest.mark.parametrize("key", [VKEY[:-1], "x", verifier_key(NAME, ED25519, RAW)])
    def test_none(self, key: str) -> None:
        """What is none is refused."""
        done = CliRunner().invoke(app, ["receipts", "witness-key", key])
        assert (done.exit_code, "no verifier key of a witness" in done.stderr) == (2, True)


class TestDoctor:
    def said(self, folder: Path, text: str, *keys: TrustedKey) -> list[tuple[str, str]]:
        """Give what doctor says of witnesses."""
        (folder / "dev.toml").write_text(text)
        root = write_trust_root(TrustRoot(version=1, keys=(LOG, *keys)))
        (folder / "trust-root.json").write_text(root)
        found = diagnose(load(folder / "dev.toml"), START)
        return [(f.level.value, f.said) for f in found if f.subject.startswith("witness")]

    def test_none(self, tmp_path: Path) -> None:
        """Without witnesses it says what that leaves open: more than a word in production."""
        (level, said), *_ = self.said(tmp_path, "")
        assert (level, "could show others another log" in said) == ("ok", True)
        assert self.said(tmp_path, "[receipts]\ndevelopment = false")[0][0] == "warn"

    def test_wrong(self, tmp_path: Path) -> None:
        """What keeps a broker from starting fails."""
        ((level, said),) = self.said(tmp_path, f'[witnesses.w]\n{URL}\nkey = "{VKEY}"')
        assert (level, "no such active key" in said) == ("fail", True)

    def test_reached(self, tmp_path: Path) -> None:
        """It says whether somebody answers where a witness should."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            text = f'[witnesses.w]\nurl = "http://127.0.0.1:{port}"\nkey = "{VKEY}"'
            ((level, said),) = self.said(tmp_path, text, KEY)
            assert (level, "its key is in the trust root" in said) == ("ok", True)
        ((level, said),) = self.said(tmp_path, text, KEY)
        assert (level, "cannot be reached" in said) == ("warn", True)
