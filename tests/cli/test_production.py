"""`toolwarrant init --production`: what it makes, and what it does not take."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from broker.adapters.file_signer import FileSigner, generate_key
from broker.adapters.pki import DEVELOPMENT_MARK
from broker.config import load
from broker.core.trust_root import KeyRole, TrustedKey, read_trust_root, write_trust_root
from tests.cli.test_trust_root import offline_key, openssl
from tests.cli.within import toolwarrant
from tests.softhsm import new_token

AUTHORITY = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an authority and two holders of root keys have."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, subject, ca in (
        ("ca", "/O=Example/CN=Example CA", "TRUE"),
        ("leaf", "/O=Example/CN=nobody", "FALSE"),
        ("dev", f"/O={DEVELOPMENT_MARK}/CN=x", "TRUE"),
    ):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", subject)
        openssl(folder, *AUTHORITY, *files, "-addext", f"basicConstraints=critical,CA:{ca}")
    both = (folder / "ca.crt").read_bytes() + (folder / "ca.key").read_bytes()
    (folder / "both.pem").write_bytes(both)
    for name in ("root1", "root2"):
        offline_key(folder, name)
    return folder


GIVEN = {
    "--ca": "ca.crt",
    "--root-threshold": "2",
    "--dns": "broker.example.org",
    "--server-uri": "spiffe://example.org/broker",
}
ROOTS = ("--root-key", "root1.pub", "--root-key", "root2.pub")


def init(elsewhere: Path, target: Path, *roots: str, **changed: str):
    """Make a production set, without images."""
    given = {**GIVEN, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    words = [word for pair in given.items() if pair[1] for word in pair]
    argv = ("init", str(target), "--production", "--no-images", *words, *(roots or ROOTS))
    return toolwarrant(*argv, cwd=elsewhere)


@pytest.fixture(scope="module")
def prod(elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set as it is made."""
    target = tmp_path_factory.mktemp("made") / "prod"
    done = init(elsewhere, target)
    assert done.returncode == 0, done.stderr
    return target


class TestWhatItMakes:
    def test_the_servers_keys_alone(self, prod: Path) -> None:
        """Three private keys, all the server's, and nobody else's file."""
        made = {str(file.relative_to(prod)) for file in prod.rglob("*") if file.is_file()}
        assert made == {
            "toolwarrant.toml",
            "images.lock.json",
            "trust-root.json",
            "keys/receipt.key",
            "keys/log.key",
            "pki/server.key",
            "pki/server.csr",
            "pki/ca.crt",
        }
        assert {(prod / name).stat().st_mode & 0o077 for name in made} == {0}

    def test_nothing_is_marked_as_development(self, prod: Path) -> None:
        """Neither the configuration nor the request; nobody may call yet."""
        config = load(prod / "toolwarrant.toml")
        assert (config.receipts.development, config.identities) == (False, {})
        request = (prod / "pki" / "server.csr").read_bytes()
        assert DEVELOPMENT_MARK.encode() not in request

    def test_the_request_names_the_server(self, prod: Path) -> None:
        """The names that were given, and one identity."""
        request = x509.load_pem_x509_csr((prod / "pki" / "server.csr").read_bytes())
        sans = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert sans.get_values_for_type(x509.DNSName) == ["broker.example.org"]
        uris = sans.get_values_for_type(x509.UniformResourceIdentifier)
        assert (uris, request.is_signature_valid) == (["spiffe://example.org/broker"], True)

    def test_the_trust_root_waits_for_signatures(self, prod: Path) -> None:
        """It has the server's two keys and the root keys, whose signatures it needs."""
        root = read_trust_root((prod / "trust-root.json").read_bytes())
        found = [key.role.value for key in root.keys]
        assert (found, root.root_threshold) == (["receipt", "log", "root", "root"], 2)
        verified = toolwarrant("trust-root", "verify", "trust-root.json", cwd=prod)
        assert verified.returncode == 1

    def test_a_second_time_it_is_refused(self, elsewhere: Path, prod: Path) -> None:
        """Keys that are there are never overwritten."""
        before = (prod / "keys" / "receipt.key").read_bytes()
        done = init(elsewhere, prod)
        assert (done.returncode, "already holds" in done.stderr) == (2, True)
        assert (prod / "keys" / "receipt.key").read_bytes() == before

    def test_a_log_key_on_a_token(
        self, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No log key is made where there is one already; it is in the trust root."""
        token = new_token(tmp_path / "token")
        monkeypatch.setenv("SOFTHSM2_CONF", str(token.conf))
        token.make_key("log")
        token.make_key("p256", "secp256r1", number=2)
        done = init(elsewhere, tmp_path / "prod", log_key=token.uri("log"))
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "prod" / "keys" / "log.key").exists()
        config = load(tmp_path / "prod" / "toolwarrant.toml")
        assert config.receipts.log_key == token.uri("log")
        other = init(elsewhere, tmp_path / "other", log_key=token.uri("p256"))
        assert (other.returncode, "Ed25519" in other.stderr) == (2, True)


class TestWhatItRefuses:
    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"ca": "leaf.crt"}, "is no authority"),
            ({"ca": "dev.crt"}, "is a development authority"),
            ({"ca": "both.pem"}, "holds a private key"),
            ({"ca": "root1.pub"}, "holds no X.509 certificates"),
            ({"ca": "absent"}, "cannot be read"),
            ({"ca": ""}, "give --ca"),
            ({"dns": ""}, "name the host"),
            ({"ip": "not an address"}, "--ip"),
            ({"root_threshold": "3"}, "give a number from 1 to 2"),
            ({"root_threshold": "0"}, "give a number from 1 to 2"),
            ({"log_key": "pkcs11:object=log"}, "must name the token"),
        ],
    )
    def test_one_change_away(
        self, elsewhere: Path, tmp_path: Path, changed: dict[str, str], said: str
    ) -> None:
        """Whatever is missing or wrong is named, and nothing is written."""
        done = init(elsewhere, tmp_path / "prod", **changed)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "prod").exists()

    def test_a_root_keys_private_half(self, elsewhere: Path, tmp_path: Path) -> None:
        """It is no public key, and it has no business here."""
        roots = ("--root-key", "root1.key", "--root-key", "root2.pub")
        done = init(elsewhere, tmp_path / "prod", *roots)
        assert (done.returncode, "never a private" in done.stderr) == (2, True)

    def test_one_root_key_twice(self, elsewhere: Path, tmp_path: Path) -> None:
        """Two signatures of one key are one."""
        roots = ("--root-key", "root1.pub", "--root-key", "root1.pub")
        done = init(elsewhere, tmp_path / "prod", *roots)
        assert (done.returncode, (tmp_path / "prod").exists()) == (2, False)

    def test_a_development_set_takes_nothing_of_it(self, elsewhere: Path, tmp_path: Path) -> None:
        """A forgotten --production makes no development set by accident."""
        argv = ("init", str(tmp_path / "dev"), "--no-images", "--ca", "ca.crt")
        done = toolwarrant(*argv, cwd=elsewhere)
        assert (done.returncode, (tmp_path / "dev").exists()) == (2, False)


class TestRotate:
    """`toolwarrant keys rotate`, where no broker runs; tests/e2e/test_keys.py has one."""

    @pytest.fixture
    def dev(self, tmp_path: Path) -> Path:
        """A development set whose broker never ran."""
        toolwarrant("init", "dev", "--no-images", cwd=tmp_path)
        return tmp_path / "dev"

    def rotate(self, dev: Path, *argv: str):
        return toolwarrant("keys", "rotate", *argv, "--config", "toolwarrant.toml", cwd=dev)

    def test_a_policy_key(self, dev: Path) -> None:
        """The one before has its end."""
        done = self.rotate(dev, "policy")
        assert done.returncode == 0, done.stderr
        assert "sign the bundle anew" in done.stderr
        root = read_trust_root((dev / "trust-root.json").read_bytes())
        policy = root.of_role(KeyRole.POLICY)
        assert root.version == 2
        assert [key.valid_until_index for key in policy] == [0, None]
        assert policy[1].key_id == FileSigner(f"file:{dev}/keys/policy-2.key").key_id

    @pytest.mark.parametrize("role", ["receipt", "log", "policy"])
    def test_twice_at_once(self, dev: Path, role: str) -> None:
        """It would end a key where it begins: refused, nothing made; another role's goes on."""
        assert self.rotate(dev, role).returncode == 0
        before = (dev / "trust-root.json").read_bytes()
        done = self.rotate(dev, role)
        assert (done.returncode, "no broker has started by it" in done.stderr) == (1, True)
        assert "then start the broker" in done.stderr
        assert (dev / "trust-root.json").read_bytes() == before
        assert not (dev / "keys" / f"{role}-3.key").exists()
        other = "log" if role == "receipt" else "receipt"
        assert self.rotate(dev, other).returncode == 0

    def test_twice_where_root_keys_sign(self, dev: Path) -> None:
        """The version that waits to be signed is named."""
        root = read_trust_root((file := dev / "trust-root.json").read_bytes())
        generate_key(dev / "root.key")
        key = TrustedKey.from_pem(KeyRole.ROOT, FileSigner(f"file:{dev}/root.key").public_key_pem)
        file.write_text(write_trust_root(replace(root, keys=(*root.keys, key), root_threshold=1)))
        assert self.rotate(dev, "receipt").returncode == 0
        done = self.rotate(dev, "log")
        assert (done.returncode, "trust-root-2.json is there already" in done.stderr) == (1, True)

    @pytest.mark.parametrize("role", ["root", "witness", "approver", "none"])
    def test_a_role_whose_keys_are_others(self, dev: Path, role: str) -> None:
        """Keys that people hold are no broker's to make."""
        before = (dev / "trust-root.json").read_bytes()
        assert self.rotate(dev, role).returncode == 2
        assert (dev / "trust-root.json").read_bytes() == before

    def test_an_envelope_of_nobodys(self, dev: Path) -> None:
        """Who signed a trust root that names no root keys has to change it."""
        file = dev / "trust-root.json"
        payload = base64.b64encode(file.read_bytes()).decode()
        file.write_text(json.dumps({"payload": payload, "payloadType": "x", "signatures": []}))
        before = file.read_bytes()
        done = self.rotate(dev, "receipt")
        assert (done.returncode, "does not name by whom" in done.stderr) == (2, True)
        assert file.read_bytes() == before

    @pytest.mark.parametrize(("role", "algorithm"), [("log", "ecdsa-p256"), ("receipt", "")])
    def test_a_key_that_cannot_follow(self, dev: Path, role: str, algorithm: str) -> None:
        """A log takes Ed25519 alone; a key that has a role is the next one of none."""
        file = dev / "keys" / "log.key"
        if algorithm:
            file = dev / "next.key"
            generate_key(file, algorithm=algorithm)
        before = (dev / "trust-root.json").read_bytes()
        done = self.rotate(dev, role, "--key", f"file:{file}")
        assert (done.returncode, (dev / "trust-root.json").read_bytes()) == (2, before)
