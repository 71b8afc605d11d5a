"""The trust root: which keys a reader believes."""

import base64
import json

import pytest

from broker.core.canonical import canonical_json
from broker.core.trust_root import (
    KeyRole,
    KeyStatus,
    Standing,
    TrustedKey,
    TrustRoot,
    read_trust_root,
    spki_der,
    write_trust_root,
)
from broker.errors import ReceiptInvalid
from tests.verify.receipts import new_signer, trust


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return new_signer(tmp_path_factory.mktemp("keys") / "key")


@pytest.fixture(scope="module")
def ecdsa(tmp_path_factory):
    return new_signer(tmp_path_factory.mktemp("keys") / "key", "ecdsa-p256")


@pytest.fixture
def fields(signer):
    return json.loads(write_trust_root(trust(signer)))


def read(fields: object) -> TrustRoot:
    return read_trust_root(json.dumps(fields).encode())


class TestTrustRoot:
    def test_it_is_written_as_the_contract_says(self, signer):
        """Each key has exactly the six fields, with the SPKI PEM and its digest."""
        assert json.loads(write_trust_root(trust(signer))) == {
            "version": 1,
            "keys": [
                {
                    "role": "receipt",
                    "keyid": signer.key_id,
                    "public_key": signer.public_key_pem,
                    "valid_from_index": 0,
                    "valid_until_index": None,
                    "status": "active",
                }
            ],
        }

    @pytest.mark.parametrize(
        "changed",
        [
            {},
            {"status": KeyStatus.WITHDRAWN},
            {"valid_from_index": 5, "valid_until_index": 2**40},
            {"role": KeyRole.LOG},
        ],
    )
    def test_it_reads_back(self, signer, ecdsa, changed):
        """What was written is read."""
        root = trust(signer, ecdsa, **changed)
        assert read_trust_root(write_trust_root(root).encode()) == root

    @pytest.mark.parametrize("signatures", [[], [{"sig": "AA==", "keyid": "k"}] * 3])
    def test_it_may_come_in_an_envelope(self, signer, signatures):
        """The payload of a DSSE envelope is read the same, however many root keys signed it."""
        root = trust(signer)
        payload = base64.b64encode(write_trust_root(root).encode()).decode()
        wrapped = {"payload": payload, "payloadType": "any/type", "signatures": signatures}
        assert read(wrapped) == root

    def test_indices_may_be_strings(self, fields, signer):
        """64-bit numbers are read in either writing."""
        fields["keys"][0] |= {"valid_from_index": "7", "valid_until_index": str(2**62)}
        assert read(fields) == trust(signer, valid_from_index=7, valid_until_index=2**62)

    def test_what_is_not_known_adds_no_trust(self, fields, signer):
        """Fields and roles of a later version are passed over."""
        fields["expires_at"] = "2030-01-01T00:00:00Z"
        fields["keys"].append({"role": "timestamp", "anything": 1})
        assert read(fields) == trust(signer)

    @pytest.mark.parametrize(
        "change",
        [
            {"keyid": "0" * 64},
            {"keyid": 1},
            {"keyid": None},
            {"public_key": ""},
            {"public_key": "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n"},
            {"public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
            {"public_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
            {"status": "maybe"},
            {"status": None},
            {"role": None},
            {"role": 1},
            {"valid_from_index": -1},
            {"valid_from_index": None},
            {"valid_from_index": True},
            {"valid_from_index": "1e3"},
            {"valid_from_index": 5, "valid_until_index": 4},
            {"valid_until_index": "x"},
        ],
    )
    def test_a_broken_key(self, fields, change):
        """A key that is not what it should be makes the whole root unusable."""
        fields["keys"][0] |= change
        with pytest.raises(ReceiptInvalid, match=r"^trust_root: "):
            read(fields)

    @pytest.mark.parametrize(
        "change",
        [
            {"keys": []},
            {"keys": {}},
            {"keys": None},
            {"keys": ["key"]},
            {"version": 0},
            {"version": None},
            {"version": "one"},
            {"keys": [{"role": "timestamp"}]},
        ],
    )
    def test_a_broken_root(self, fields, change):
        """A root that names no key, or has no version, is refused."""
        with pytest.raises(ReceiptInvalid, match=r"^trust_root: "):
            read({**fields, **change})

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"[]",
            b'{"version":1,"version":1,"keys":[]}',
            canonical_json({"payloadType": "x", "payload": 1}),
            canonical_json({"payloadType": "x", "payload": "!"}),
            canonical_json({"payloadType": "x", "payload": "AAAA"}),
        ],
    )
    def test_a_text_that_is_none(self, text):
        """What is not the JSON of a trust root, bare or wrapped, is refused."""
        with pytest.raises(ReceiptInvalid, match=r"^trust_root: "):
            read_trust_root(text)

    def test_a_key_twice(self, signer):
        """A key stands once in a role: two validities would contradict one another."""
        key = TrustedKey.from_pem(KeyRole.RECEIPT, signer.public_key_pem)
        with pytest.raises(ReceiptInvalid, match="twice"):
            TrustRoot(version=1, keys=(key, key))

    @pytest.mark.parametrize("role", [role for role in KeyRole if role is not KeyRole.RECEIPT])
    def test_a_key_in_two_roles(self, fields, role):
        """Who may sign the one could sign the other: such a root is refused, its twin is not."""
        (key,) = fields["keys"]
        fields["keys"].append(key | {"role": role.value})
        with pytest.raises(ReceiptInvalid, match=f"two roles, receipt and {role.value}"):
            read(fields)

    def test_a_key_in_a_role_that_is_not_known(self, fields, signer):
        """A role of a later version is passed over, but shares no key either."""
        (key,) = fields["keys"]
        fields["keys"].append({"role": "timestamp", "keyid": "0" * 64})
        assert read(fields) == trust(signer)
        fields["keys"][1]["keyid"] = key["keyid"]
        with pytest.raises(ReceiptInvalid, match="two roles"):
            read(fields)

    @pytest.mark.parametrize(
        ("threshold", "status", "is_good"),
        [
            (1, "active", True),
            (0, "active", True),
            (2, "active", False),
            (-1, "active", False),
            (1, "withdrawn", False),
        ],
    )
    def test_a_threshold_that_can_be_met(self, fields, ecdsa, threshold, status, is_good):
        """As many root keys as have to sign are in use."""
        root = json.loads(write_trust_root(trust(ecdsa)))["keys"][0]
        fields["keys"].append(root | {"role": "root", "status": status})
        fields["root_threshold"] = threshold
        if is_good:
            assert read(fields).root_threshold == threshold
            return
        with pytest.raises(ReceiptInvalid, match="threshold"):
            read(fields)

    @pytest.mark.parametrize(
        ("changed", "at", "standing"),
        [
            ({}, None, "VALID"),
            ({}, 9, "VALID"),
            ({"valid_from_index": 5}, 5, "VALID"),
            ({"valid_from_index": 5}, 4, "INVALID"),
            ({"valid_until_index": 5}, 4, "VALID"),
            ({"valid_until_index": 5}, 5, "INVALID"),
            ({"valid_until_index": 5}, None, "INDETERMINATE"),
            ({"valid_until_index": 5, "status": KeyStatus.WITHDRAWN}, 4, "VALID"),
            ({"valid_until_index": 5, "status": KeyStatus.WITHDRAWN}, 5, "INVALID"),
            ({"valid_until_index": 5, "status": KeyStatus.WITHDRAWN}, None, "INDETERMINATE"),
            ({"status": KeyStatus.WITHDRAWN}, 4, "INDETERMINATE"),
            ({"status": KeyStatus.WITHDRAWN}, None, "INDETERMINATE"),
        ],
    )
    def test_how_a_key_stands(self, signer, changed, at, standing):
        """The place in the log decides, whatever the role; without it nothing may."""
        for role in (KeyRole.RECEIPT, KeyRole.POLICY, KeyRole.APPROVER):
            (key,) = trust(signer, role=role, **changed).keys
            assert key.standing(at) is Standing[standing]

    def test_the_der_is_openssls(self, ecdsa, signer):
        """PEM is decoded to the DER that the key id is the digest of."""
        assert (len(spki_der(signer.public_key_pem)), len(spki_der(ecdsa.public_key_pem))) == (
            44,
            91,
        )
