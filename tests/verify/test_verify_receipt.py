"""The verifier: accepts what a broker made, names what is wrong with anything else."""

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from broker.core.dsse import envelope
from broker.core.ids import sha256_hex
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot, read_trust_root, spki_der
from broker.verify.receipt import STEPS, verify_receipt
from broker.verify.verdict import Validity
from tests.verify import log_vectors
from tests.verify.receipts import new_signer, sealed, trust
from tests.verify.vectors import FILE, all_vectors

RECORDS = json.loads(FILE.read_text())
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
LOG_RECORDS = json.loads(log_vectors.FILE.read_text())


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return new_signer(tmp_path_factory.mktemp("keys") / "key")


@pytest.fixture(scope="module")
def vectors(signer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    ecdsa, stranger = new_signer(folder / "ecdsa", "ecdsa-p256"), new_signer(folder / "stranger")
    made = [*all_vectors(signer, ecdsa, stranger), *log_vectors.all_vectors(folder)]
    return {vector.name: vector for vector in made}


def outcome(vector, steps=STEPS):
    verdict = verify_receipt(
        vector.envelope,
        vector.trust_root,
        request=vector.request,
        result=vector.result,
        proof=vector.proof,
        quorum=vector.quorum,
        steps=steps,
    )
    return verdict.validity, verdict.step


class TestVectors:
    def test_those_made_now(self, vectors):
        """Every vector, made with fresh keys, comes to its verdict at its step."""
        expected = {name: (vector.validity, vector.step) for name, vector in vectors.items()}
        assert {name: outcome(vector) for name, vector in vectors.items()} == expected

    @pytest.mark.parametrize("record", [*RECORDS, *LOG_RECORDS], ids=lambda record: record["name"])
    def test_those_kept(self, record):
        """Receipts of earlier versions keep their verdicts."""
        request, result, proof = record["request"], record["result"], record.get("proof")
        verdict = verify_receipt(
            record["envelope"].encode(),
            read_trust_root(json.dumps(record["trust_root"]).encode()),
            request=None if request is None else request.encode(),
            result=None if result is None else result.encode(),
            proof=None if proof is None else proof.encode(),
            quorum=record.get("witness_quorum", 0),
        )
        assert (verdict.validity.name.lower(), verdict.step) == (record["verdict"], record["step"])

    def test_the_kept_ones_are_all(self, vectors):
        """The file has every vector: a new one is kept with it."""
        assert [record["name"] for record in [*RECORDS, *LOG_RECORDS]] == list(vectors)

    @pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
    def test_no_step_can_be_left_out(self, step, vectors):
        """Without any one step, some vector comes to another verdict."""
        rest = tuple(other for other in STEPS if other is not step)
        assert any(
            outcome(vector, rest) != (vector.validity, vector.step) for vector in vectors.values()
        )

    @pytest.mark.parametrize(
        "name", ["type", "key", "subjects", "outcome", "documents", "validity", "statement"]
    )
    def test_what_only_one_step_stops(self, name, vectors):
        """Without a check that reads nothing for others, what it stops would be accepted."""
        kept = {"_" + name, f"check_{name}"}
        rest = tuple(step for step in STEPS if step.__name__ not in kept)
        verdicts = [outcome(vector, rest)[0] for vector in vectors.values() if vector.step == name]
        expected = Validity.INVALID if name == "statement" else Validity.VALID
        assert set(verdicts) == {expected}

    def test_the_steps_are_numbered_as_listed(self):
        """The list in the module's docstring is the list of steps."""
        numbers = [int(step.__doc__.split(":")[0]) for step in STEPS]
        assert numbers == list(range(len(STEPS)))


class TestOneBit:
    def test_of_the_envelope(self, signer):
        """No receipt with one bit changed, wherever, is accepted; the unchanged one is."""
        good, root = sealed("succeeded", signer), trust(signer)
        accepted = [
            place
            for place in range(len(good))
            if verify_receipt(_flip(good, place, place % 8), root).validity is not Validity.INVALID
        ]
        assert accepted == []
        assert verify_receipt(good, root).validity is Validity.VALID

    def test_of_the_payload(self, signer):
        """One bit of the payload is noticed by the signature, before anything is read."""
        fields = json.loads(sealed("denied", signer))
        payload = base64.b64decode(fields["payload"])
        signature = base64.b64decode(fields["signatures"][0]["sig"])
        steps = {
            verify_receipt(
                envelope(_flip(payload, place, place % 8), signature), trust(signer)
            ).step
            for place in range(len(payload))
        }
        assert steps == {"signature"}

    def test_of_the_signature(self, signer):
        """Each bit of the signature counts."""
        fields = json.loads(sealed("denied", signer))
        payload = base64.b64decode(fields["payload"])
        signature = base64.b64decode(fields["signatures"][0]["sig"])
        steps = {
            verify_receipt(
                envelope(payload, _flip(signature, bit // 8, bit % 8)), trust(signer)
            ).step
            for bit in range(8 * len(signature))
        }
        assert steps == {"signature"}

    def test_of_the_key(self, signer):
        """Each bit of the trusted key counts."""
        good, der = sealed("denied", signer), spki_der(signer.public_key_pem)
        steps = {
            verify_receipt(good, _root_of(_flip(der, bit // 8, bit % 8))).step
            for bit in range(8 * (len(der) - 32), 8 * len(der))
        }
        assert steps == {"signature"}


class TestVerdict:
    def test_it_says_what_was_not_shown(self, signer):
        """A valid receipt comes with what the reader did not get shown."""
        verdict = verify_receipt(sealed("denied", signer, development=True), trust(signer))
        assert verdict.notes == (
            "not shown to be in the log",
            "signed with a development key: it proves nothing about production",
            "the request document was not given: not compared",
        )

    def test_an_invalid_receipt_tells_nothing(self, signer, tmp_path):
        """What nobody vouches for is not repeated."""
        stranger = new_signer(tmp_path / "stranger")
        verdict = verify_receipt(sealed("denied", signer), trust(stranger))
        assert (verdict.validity, verdict.predicate) == (Validity.INVALID, {})

    def test_a_larger_one_is_refused_unread(self, signer):
        """Over 65,535 bytes nothing is read."""
        verdict = verify_receipt(b" " * 65_536, trust(signer))
        assert (verdict.step, verdict.message) == ("envelope", "longer than 65535 bytes")

    def test_a_root_without_receipt_keys_accepts_nothing(self, signer):
        """A trust root for other roles is no reason to accept."""
        root = replace(trust(signer, role=KeyRole.WITNESS))
        verdict = verify_receipt(sealed("denied", signer), root)
        assert verdict.message == "the trust root names no key of role receipt"

    def test_a_key_valid_from_a_later_index_counts_while_it_has_no_end(self, signer):
        """Without a proof, an active key with no end index is enough."""
        root = trust(signer, valid_from_index=100)
        assert verify_receipt(sealed("denied", signer), root).validity is Validity.VALID

    def test_the_other_signature_of_ecdsa_is_not_in_the_log(self, tmp_path):
        """A twin that anybody can make verifies by itself; a proof is of the bytes alone."""
        keys = log_vectors.new_keys(tmp_path)
        good = sealed("succeeded", keys.ecdsa)
        proof = log_vectors.proof_of(log_vectors.checkpoint_of([good], keys.log), [good], 0)
        fields = json.loads(good)
        r, s = decode_dss_signature(base64.b64decode(fields["signatures"][0]["sig"]))
        payload = base64.b64decode(fields["payload"])
        twin = envelope(payload, encode_dss_signature(r, _P256_ORDER - s))
        log_key = TrustedKey.from_pem(KeyRole.LOG, keys.log.public_key_pem)
        root = replace(trust(keys.ecdsa), keys=(*trust(keys.ecdsa).keys, log_key))
        assert verify_receipt(twin, root).validity is Validity.VALID
        assert verify_receipt(good, root, proof=proof).validity is Validity.VALID
        assert verify_receipt(twin, root, proof=proof).step == "inclusion"


def _flip(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


def _root_of(der: bytes) -> TrustRoot:
    body = base64.b64encode(der).decode()
    pem = f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"
    key = TrustedKey(role=KeyRole.RECEIPT, key_id=sha256_hex(der), public_key_pem=pem)
    return TrustRoot(version=1, keys=(key,))
