"""The signer that keeps its key in a file."""

import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

from broker.adapters.file_signer import FileSigner, generate_key
from broker.core.ids import sha256_hex
from broker.core.trust_root import spki_der
from broker.errors import ConfigurationError


@pytest.fixture(params=["ed25519", "ecdsa-p256"])
def key_file(request, tmp_path):
    path = tmp_path / "receipt.key"
    generate_key(path, algorithm=request.param)
    return path


def openssl_key(path, *arguments):
    subprocess.run(["openssl", *arguments, "-out", path], check=True, capture_output=True)
    path.chmod(0o600)
    return path


class TestFileSigner:
    def test_it_signs_for_its_public_key(self, key_file):
        """A signature verifies under the key that the signer names."""
        signer = FileSigner(f"file:{key_file}")
        public = serialization.load_pem_public_key(signer.public_key_pem.encode())
        scheme = (ECDSA(hashes.SHA256()),) if hasattr(public, "curve") else ()
        assert public.verify(signer.sign(b"message"), b"message", *scheme) is None

    def test_the_key_id_is_the_digest_of_the_spki(self, key_file):
        """The key id can be had from the PEM alone."""
        signer = FileSigner(f"file:{key_file}")
        assert signer.key_id == sha256_hex(spki_der(signer.public_key_pem))

    def test_a_relative_path_is_of_the_folder(self, key_file):
        """The configuration's folder is what a relative path is relative to."""
        found = FileSigner("file:receipt.key", folder=key_file.parent)
        assert found.key_id == FileSigner(f"file:{key_file}").key_id

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
    def test_a_key_that_others_may_use_is_refused(self, key_file, mode):
        """Any right of the group or of others is one too many."""
        key_file.chmod(mode)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            FileSigner(f"file:{key_file}")

    @pytest.mark.parametrize("mode", [0o600, 0o400])
    def test_a_key_of_its_owner_alone_is_taken(self, key_file, mode):
        """Only the owner's rights are free."""
        key_file.chmod(mode)
        assert FileSigner(f"file:{key_file}").key_id

    @pytest.mark.parametrize("uri", ["", "file:", "/receipt.key", "pkcs11:token", "FILE:x"])
    def test_another_scheme_is_refused(self, uri):
        """A URI that is not `file:PATH` names no key."""
        with pytest.raises(ConfigurationError, match="file:PATH"):
            FileSigner(uri)

    def test_no_file(self, tmp_path):
        """A missing key stops the start and is named."""
        with pytest.raises(ConfigurationError, match="the key cannot be read"):
            FileSigner(f"file:{tmp_path / 'none.key'}")

    def test_a_folder(self, tmp_path):
        """What is no regular file is no key."""
        with pytest.raises(ConfigurationError, match="not a regular file"):
            FileSigner(f"file:{tmp_path}")

    def test_no_key_in_it(self, tmp_path):
        """A file of something else is no key."""
        path = tmp_path / "x.key"
        path.write_text("nothing")
        path.chmod(0o600)
        with pytest.raises(ConfigurationError, match="no unencrypted PKCS#8"):
            FileSigner(f"file:{path}")

    @pytest.mark.parametrize(
        "arguments",
        [
            ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
            ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
            ("genpkey", "-algorithm", "X25519"),
        ],
    )
    def test_keys_of_other_kinds_are_refused(self, tmp_path, arguments):
        """Only Ed25519 and P-256 sign receipts."""
        path = openssl_key(tmp_path / "other.key", *arguments)
        with pytest.raises(ConfigurationError, match="Ed25519 or ECDSA P-256"):
            FileSigner(f"file:{path}")

    def test_a_key_that_openssl_made(self, tmp_path):
        """A key from `openssl genpkey` is taken as it is."""
        path = openssl_key(tmp_path / "key", "genpkey", "-algorithm", "ed25519")
        assert FileSigner(f"file:{path}").public_key_pem.startswith("-----BEGIN PUBLIC KEY-----")


class TestGenerateKey:
    def test_it_is_its_owners_alone(self, key_file):
        """The file has mode 0600 from the start."""
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600

    def test_it_never_overwrites(self, key_file):
        """A key that is there stays."""
        before = key_file.read_bytes()
        with pytest.raises(FileExistsError):
            generate_key(key_file)
        assert key_file.read_bytes() == before

    def test_an_unknown_algorithm(self, tmp_path):
        """Another algorithm makes no file."""
        with pytest.raises(ValueError, match="is not ed25519 or ecdsa-p256"):
            generate_key(tmp_path / "key", algorithm="rsa")
        assert list(tmp_path.iterdir()) == []
