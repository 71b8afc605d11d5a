"""What a policy key signs, `opa` verifies, and the other way round."""

import base64
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.bundle import SIGNATURES, pack_members, unpack
from broker.core.trust_root import KeyRole, KeyStatus, TrustRoot
from broker.errors import BundleInvalid
from broker.verify.bundle import verify_bundle
from tests.activation.bundles import Key, variant
from tests.activation.conftest import public_key

AWKWARD = {
    "texts": ["\u2028\u2029", "</script>&<", '\x00\x1f\x7f\b\f\n\r\t"\\/', "é \U0001f469 \ufeff"],
    "numbers": [0, -1, 1.5, 1e21, 1e-7, 2**64, -0.0, 100.0],
    "b": {"z": None, "a": True, "B": False, "é": [], "\U0001f469": {}, "\uffee": 1},
}


def run(opa: str, *argv: object) -> "subprocess.CompletedProcess[str]":
    """Run the program."""
    words = [opa, *map(str, argv)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def verified_by_opa(opa: str, folder: Path, archive: bytes, key: Key, algorithm: str) -> str:
    """Give what `opa` has to say against a bundle."""
    (folder / "signed.tar.gz").write_bytes(archive)
    argv = ("--bundle", folder / "signed.tar.gz", "--output", folder / "out.tar.gz")
    keys = ("--verification-key", public_key(folder, key), "--signing-alg", algorithm)
    done = run(opa, "build", *argv, *keys)
    # Which of the two it says it on is not the same for every command.
    return f"{done.returncode} {done.stdout}{done.stderr}" if done.returncode else ""


def reason(archive: bytes, root: TrustRoot) -> str:
    """Give why a bundle is refused; empty where it is not."""
    try:
        verify_bundle(archive, root)
    except BundleInvalid as error:
        return error.reason
    return ""


def of_opa(opa: str, folder: Path, archive: bytes, key: Key, algorithm: str, key_id: str) -> bytes:
    """Let `opa sign` sign a bundle."""
    (folder / "unsigned.tar.gz").write_bytes(archive)
    argv = ("--signing-key", key.file, "--signing-alg", algorithm, "--output-file-path", folder)
    kid = ("--claims-file", folder / "claims.json") if not key_id else ()
    (folder / "claims.json").write_text(json.dumps({"keyid": key.trusted.key_id}))
    done = run(opa, "sign", "--bundle", folder / "unsigned.tar.gz", *argv, *kid)
    assert done.returncode == 0, done.stderr
    signatures = (folder / SIGNATURES).read_bytes()
    return pack_members({**unpack(archive, "it"), SIGNATURES: signatures})


@pytest.mark.parametrize(("algorithm", "jws"), [("ecdsa-p256", "ES256"), ("ed25519", "EdDSA")])
class TestOpa:
    def test_verifies_ours(self, opa, shipped, tmp_path, algorithm, jws):
        """Of awkward data too; a changed file it refuses as we do."""
        key = Key(algorithm=algorithm)
        signed = key.sign(variant(shipped, 7, AWKWARD))
        assert verified_by_opa(opa, tmp_path, signed, key, jws) == ""
        assert reason(signed, TrustRoot(version=1, keys=(key.trusted,))) == ""
        members = unpack(signed, "it")
        changed = pack_members({**members, "data.json": b"{}"})
        assert "digest mismatch" in verified_by_opa(opa, tmp_path, changed, key, jws)
        assert reason(changed, TrustRoot(version=1, keys=(key.trusted,))) == "BUNDLE_TAMPERED"

    def test_signs_for_us(self, opa, shipped, tmp_path, algorithm, jws):
        """What `opa sign` wrote, with the key's id as `keyid`, is taken."""
        key = Key(algorithm=algorithm)
        signed = of_opa(opa, tmp_path, variant(shipped, 7, AWKWARD), key, jws, "")
        assert (
            verify_bundle(signed, TrustRoot(version=1, keys=(key.trusted,))) == key.trusted.key_id
        )


def resigned(archive: bytes, key: Key, header: dict[str, object], **payload: object) -> bytes:
    """Sign a bundle by the key with another header, and more in the payload."""
    members = unpack(key.sign(archive), "it")
    token = json.loads(members[SIGNATURES])["signatures"][0]
    parts = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]
    parts = [{**parts[0], **header}, {**parts[1], **payload}]
    signed = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    )
    raw = key.signer.sign(signed.encode())
    tail = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    text = json.dumps({"signatures": [f"{signed}.{tail}"]}).encode()
    return pack_members({**members, SIGNATURES: text})


class TestRefused:
    """Each for its own reason; the twin of each, one change away, is taken."""

    def test_twin(self, shipped, key, root):
        """What they all are but for one change."""
        assert reason(key.sign(variant(shipped, 1)), root) == ""

    def test_unsigned(self, shipped, root):
        """Nobody signed it."""
        assert reason(variant(shipped, 1), root) == "BUNDLE_UNSIGNED"

    def test_unknown_key(self, shipped, root):
        """By a key that the trust root does not name."""
        assert reason(Key().sign(variant(shipped, 1)), root) == "BUNDLE_KEY_UNKNOWN"

    @pytest.mark.parametrize("role", [KeyRole.RECEIPT, KeyRole.LOG, KeyRole.ROOT])
    def test_key_of_another_role(self, shipped, others, root, role):
        """By a key that the trust root names for something else."""
        assert reason(others[role].sign(variant(shipped, 1)), root) == "BUNDLE_KEY_ROLE"

    @pytest.mark.parametrize("change", [{"status": KeyStatus.WITHDRAWN}, {"valid_until_index": 9}])
    def test_withdrawn_key(self, shipped, key, change):
        """By a policy key that is used no more."""
        root = TrustRoot(version=1, keys=(replace(key.trusted, **change),))
        assert reason(key.sign(variant(shipped, 1)), root) == "BUNDLE_KEY_WITHDRAWN"

    def test_anothers_name(self, shipped, key, root):
        """By a key that says that it is the policy key."""
        other = Key()
        forged = resigned(variant(shipped, 1), other, {"kid": key.trusted.key_id})
        assert reason(forged, root) == "BUNDLE_SIGNATURE_UNREADABLE"
        # Its own signature is DER, which no JWS has: the same with one of the right length.
        edwards = Key(algorithm="ed25519")
        forged = resigned(variant(shipped, 1), edwards, {"kid": key.trusted.key_id, "alg": "ES256"})
        assert reason(forged, root) == "BUNDLE_SIGNATURE_WRONG"

    @pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES384", 7, None])
    def test_algorithm(self, shipped, key, root, algorithm):
        """The header names another algorithm than the key's."""
        forged = resigned(variant(shipped, 1), key, {"alg": algorithm})
        assert reason(forged, root) == "BUNDLE_SIGNATURE_UNREADABLE"

    def test_the_other_algorithm(self, shipped, root, key):
        """A P-256 key signs nothing by EdDSA."""
        forged = resigned(variant(shipped, 1), key, {"alg": "EdDSA"})
        assert reason(forged, root) == "BUNDLE_SIGNATURE_WRONG"

    def test_scope(self, shipped):
        """Signed for something else."""
        edwards = Key(algorithm="ed25519")
        root = TrustRoot(version=1, keys=(edwards.trusted,))
        assert reason(resigned(variant(shipped, 1), edwards, {}), root) == ""
        forged = resigned(variant(shipped, 1), edwards, {}, scope="write")
        assert reason(forged, root) == "BUNDLE_SIGNATURE_UNREADABLE"

    @pytest.mark.parametrize(
        "name", ["policy.wasm", "data.json", ".manifest", "teams/default/tools.rego"]
    )
    def test_changed(self, shipped, key, root, name):
        """One byte of a file is another; one file is missing."""
        members = unpack(key.sign(variant(shipped, 1)), "it")
        text = members[name]
        changed = text.replace(b"broker", b"brokes", 1) if b"broker" in text else text + b" 1"
        if name == "data.json":
            changed = text.replace(b"probe", b"prose", 1)
        assert reason(pack_members({**members, name: changed}), root) == "BUNDLE_TAMPERED"
        members.pop(name)
        assert reason(pack_members(members), root) == "BUNDLE_TAMPERED"

    def test_added(self, shipped, key, root):
        """A file more than was signed."""
        members = unpack(key.sign(variant(shipped, 1)), "it")
        more = pack_members({**members, "teams/x/x.rego": b"package teams.x\n"})
        assert reason(more, root) == "BUNDLE_TAMPERED"

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"{}",
            b"[]",
            b'{"signatures": []}',
            b'{"signatures": ["a.b.c", "a.b.c"]}',
            b'{"signatures": ["a.b.c"]}',
            b'{"signatures": ["...."]}',
            b'{"signatures": [7]}',
            b'{"signatures": ["e30.e30."]}',
            b'{"signatures": ["\xc3\xa9.e30.e30"]}',
            b'{"signatures": ["a"], "plugin": "vault"}',
        ],
    )
    def test_another_form(self, shipped, key, root, text):
        """What is no signature of OPA's form."""
        members = unpack(key.sign(variant(shipped, 1)), "it")
        broken = pack_members({**members, SIGNATURES: text})
        assert reason(broken, root) == "BUNDLE_SIGNATURE_UNREADABLE"

    def test_a_name_twice(self, shipped, key, root):
        """Of data that two readers could read in two ways."""
        members = unpack(key.sign(variant(shipped, 1)), "it")
        twice = pack_members({**members, "data.json": b'{"a":1,"a":2}'})
        assert reason(twice, root) == "BUNDLE_BROKEN"
