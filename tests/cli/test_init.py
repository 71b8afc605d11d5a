"""What `toolwarrant init` leaves behind."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.adapters.file_signer import FileSigner
from broker.adapters.pki import DEVELOPMENT_MARK, pair_fault, read_certificate
from broker.config import Config, load
from broker.core.identity import Role
from broker.core.trust_root import KeyRole, read_trust_root
from broker.errors import ConfigurationError
from broker.init import IDENTITIES, SPIFFE_PREFIX, initialise, pin_images

NOW = datetime.now(UTC)
NAMES = ("agent", "agent2", "approver", "approver2", "auditor", "policy", "admin")


def make(folder: Path, **settings: dict[str, str]) -> Config:
    """Make a set without images; read its configuration."""
    said: list[str] = []
    path = initialise(folder, now=NOW, report=said.append, settings=settings, build=False)
    return load(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh set."""
    folder = tmp_path_factory.mktemp("init") / "dev"
    make(folder)
    return folder


class TestFiles:
    """Which files there are."""

    def test_everything_is_there_for_its_owner_alone(self, folder: Path) -> None:
        """Files have mode 0600, folders 0700; nothing else was written."""
        pki = {f"pki/{name}.{kind}" for name in (*NAMES, "server") for kind in ("crt", "key")}
        files = {
            "toolwarrant.toml",
            "trust-root.json",
            "images.lock.json",
            "keys/receipt.key",
            "keys/log.key",
            "keys/policy.key",
            "pki/ca.crt",
            "pki/ca.key",
        } | pki
        found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
        assert {name for name, path in found.items() if path.is_file()} == files
        assert {found[name].stat().st_mode & 0o7777 for name in files} == {0o600}
        folders = [folder, *(path for path in found.values() if path.is_dir())]
        assert {path.stat().st_mode & 0o7777 for path in folders} == {0o700}

    def test_nothing_is_left_beside_it(self, folder: Path) -> None:
        """The draft has become the set."""
        assert [path.name for path in folder.parent.iterdir()] == ["dev"]

    def test_the_trust_root_names_the_keys(self, folder: Path) -> None:
        """Verifiers trust exactly the keys that sign, each in its role; each is another."""
        receipts = load(folder / "toolwarrant.toml").receipts
        policy = f"file:{folder}/keys/policy.key"
        signers = [FileSigner(uri) for uri in (receipts.key, receipts.log_key, policy)]
        root = read_trust_root((folder / "trust-root.json").read_bytes())
        assert [(key.role, key.key_id) for key in root.keys] == [
            (KeyRole.RECEIPT, signers[0].key_id),
            (KeyRole.LOG, signers[1].key_id),
            (KeyRole.POLICY, signers[2].key_id),
        ]
        assert len({signer.key_id for signer in signers}) == 3

    def test_without_images_none_is_pinned(self, folder: Path) -> None:
        """The lock is there, empty: `serve` runs what is pinned, nothing else."""
        assert (folder / "images.lock.json").read_text() == "{}\n"

    def test_pinning_replaces_the_lock(self, tmp_path: Path) -> None:
        """New ids replace the old ones at once."""
        lock = tmp_path / "images.lock.json"
        pin_images(lock, {"b": "sha256:2", "a": "sha256:1"})
        pin_images(lock, {"a": "sha256:3"})
        assert lock.read_text() == '{\n  "a": "sha256:3"\n}\n'
        assert [path.name for path in tmp_path.iterdir()] == ["images.lock.json"]


class TestCertificates:
    """What the certificates say."""

    @pytest.mark.parametrize("name", NAMES)
    def test_a_client_is_named_by_one_uri(self, folder: Path, name: str) -> None:
        """Exactly one URI SAN, nothing else, marked as development, for clients only."""
        pem = (folder / "pki" / f"{name}.crt").read_bytes()
        facts = read_certificate(pem, name)
        assert facts.uris == (f"spiffe://toolwarrant.dev/{name}",)
        assert facts.common_name == name
        assert (facts.dns_names, facts.ip_addresses) == ((), ())
        assert (facts.is_development, facts.is_authority) == (True, False)
        assert facts.not_after - NOW.replace(microsecond=0) == timedelta(days=90)
        assert _purposes(pem) == [ExtendedKeyUsageOID.CLIENT_AUTH]

    def test_the_server_is_this_machine(self, folder: Path) -> None:
        """DNS localhost, IP 127.0.0.1, for servers only."""
        pem = (folder / "pki" / "server.crt").read_bytes()
        facts = read_certificate(pem, "server")
        assert facts.dns_names == ("localhost",)
        assert facts.ip_addresses == ("127.0.0.1",)
        assert facts.uris == ("spiffe://toolwarrant.dev/server",)
        assert facts.is_development
        assert _purposes(pem) == [ExtendedKeyUsageOID.SERVER_AUTH]

    @pytest.mark.parametrize("name", [*NAMES, "server"])
    def test_every_pair_fits_its_ca(self, folder: Path, name: str) -> None:
        """Key and certificate belong together, under this CA, as OpenSSL loads them."""
        pki = folder / "pki"
        texts = [(pki / file).read_bytes() for file in (f"{name}.crt", f"{name}.key", "ca.crt")]
        assert pair_fault(*texts) is None
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")

    def test_a_pair_that_does_not_fit_is_named(self, folder: Path, tmp_path: Path) -> None:
        """Another's key, another's CA, something else: each is told."""
        make(tmp_path / "other")
        certificate, key, ca = (
            (folder / "pki" / name).read_bytes() for name in ("agent.crt", "agent.key", "ca.crt")
        )
        agent2 = (folder / "pki" / "agent2.key").read_bytes()
        other = (tmp_path / "other" / "pki" / "ca.crt").read_bytes()
        assert (
            pair_fault(certificate, agent2, ca) == "the private key belongs to another certificate"
        )
        assert pair_fault(certificate, key, other) == "the certificate was not signed by the CA"
        assert pair_fault(b"", key, ca) == "certificate and key must be unencrypted PEM"
        assert pair_fault(certificate, key, b"") == "the CA must be PEM"

    def test_the_ca_signs_nothing_more(self, folder: Path) -> None:
        """The CA may sign leaves only, and is marked as one for development."""
        ca = x509.load_pem_x509_certificate((folder / "pki" / "ca.crt").read_bytes())
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (constraints.ca, constraints.path_length) == (True, 0)
        assert DEVELOPMENT_MARK in ca.subject.rfc4514_string()


class TestConfiguration:
    """What the configuration says."""

    def test_the_development_set_may_call_and_approve(self, folder: Path) -> None:
        """Each identity has its role; agents have the limits that the contract names."""
        config = load(folder / "toolwarrant.toml")
        roles = {name: _identity(config, name).roles for name in NAMES}
        assert roles == {
            "agent": {Role.AGENT},
            "agent2": {Role.AGENT},
            "approver": {Role.APPROVER},
            "approver2": {Role.APPROVER},
            "auditor": {Role.AUDITOR},
            "policy": {Role.POLICY},
            "admin": {Role.ADMIN},
        }
        assert (config.limits.calls_per_second, config.limits.burst) == (20, 50)
        assert config.receipts.development is True
        assert config.server.listen == "127.0.0.1:7443"

    def test_no_approver_stands_behind_an_agent(self, folder: Path) -> None:
        """Approvers are persons other than the agents' owners, and other than each other."""
        config = load(folder / "toolwarrant.toml")
        agents = _identity(config, "agent").people | _identity(config, "agent2").people
        approver, approver2 = _identity(config, "approver"), _identity(config, "approver2")
        assert agents == {"agent-owner"}
        assert approver.people & approver2.people == frozenset()
        assert (approver.people | approver2.people) & agents == frozenset()
        assert (approver.groups, approver2.groups) == ({"operators"}, {"operators", "security"})

    def test_every_pair_is_an_identity(self, folder: Path) -> None:
        """No certificate was issued to somebody whom the configuration does not know."""
        config = load(folder / "toolwarrant.toml")
        assert config.identities.keys() == {f"{SPIFFE_PREFIX}{name}" for name in IDENTITIES}

    def test_what_was_chosen_is_written(self, tmp_path: Path) -> None:
        """Settings that were given stand in the file."""
        config = make(tmp_path / "dev", server={"listen": "0.0.0.0:9"}, metrics={"listen": ""})
        assert (config.server.listen, config.metrics.listen) == ("0.0.0.0:9", "")


class TestRefusals:
    """When nothing is written."""

    def test_a_second_run_is_refused(self, folder: Path) -> None:
        """Keys that are there are not touched; the message says what to do."""
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(ConfigurationError, match="choose another folder, or move this one"):
            make(folder)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("name", ["pki", "keys", "trust-root.json", "toolwarrant.db"])
    def test_a_part_of_a_set_is_enough(self, tmp_path: Path, name: str) -> None:
        """A folder with any of our files is somebody's."""
        (tmp_path / name).mkdir()
        with pytest.raises(ConfigurationError, match=f"already holds {name}"):
            make(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        """A folder with something else in it takes a set beside that."""
        (tmp_path / "notes.txt").write_text("mine")
        make(tmp_path)
        assert (tmp_path / "notes.txt").read_text() == "mine"
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "images.lock.json",
            "keys",
            "notes.txt",
            "pki",
            "toolwarrant.toml",
            "trust-root.json",
        ]

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        """A name that is a file's is refused."""
        (tmp_path / "dev").write_text("")
        with pytest.raises(ConfigurationError, match="is no folder"):
            make(tmp_path / "dev")

    def test_a_folder_in_a_file_is_refused_first(self, tmp_path: Path) -> None:
        """Before anything is built; the file that stands in the way is named."""
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match=r"/file is no folder"):
            initialise(tmp_path / "file" / "dev" / "x", now=NOW, report=pytest.fail)

    def test_a_wrong_setting_leaves_nothing(self, tmp_path: Path) -> None:
        """A set that `serve` would refuse is not delivered, not even in part."""
        with pytest.raises(ConfigurationError, match="listen"):
            make(tmp_path / "dev", server={"listen": "nowhere"})
        assert list(tmp_path.iterdir()) == []


def _identity(config: Config, name: str) -> object:
    certificate_name = f"{SPIFFE_PREFIX}{name}"
    return config.identities[certificate_name].identity(certificate_name)


def _purposes(pem: bytes) -> list[x509.ObjectIdentifier]:
    certificate = x509.load_pem_x509_certificate(pem)
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
