"""Chains of receipts that others made and broke: we decide as they say, or say why not."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.core.canonical import canonical_json
from broker.core.ids import sha256_hex
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.verify.audit import verify_log
from broker.verify.chain import verify_chain
from broker.verify.signature import is_signed
from broker.verify.verdict import Validity
from conformance.vectors.outside import Record, Retold, cases, corpus, lines_of, read
from conformance.vectors.test_ed25519 import SPKI, pem_of
from tests.verify.log_vectors import Keys, new_keys, trusted

FIRST = "0" * 64


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Give throw-away keys."""
    return new_keys(tmp_path_factory.mktemp("keys"))


def signed(key: str, message: bytes, signature: bytes) -> bool:
    """Verify a signature of theirs by our code; the key is hexadecimal."""
    der = SPKI + bytes.fromhex(key)
    pem = pem_of(der[len(SPKI) :])
    found = TrustedKey(role=KeyRole.RECEIPT, key_id=sha256_hex(der), public_key_pem=pem)
    return is_signed(found, message, signature)


class TestAnchoredChain:
    """`anchored-chain`: a store of signed records, its head signed by a key that it has not."""

    REASONS: Mapping[str, str] = {
        "chain_anchored": "",
        "records_after_last_anchor": "",
        "signature_invalid": "signature",
        "record_from_other_chain": "another installation's",
        "chain_link_broken": "chain",
        "anchored_head_missing": "tree",
        "anchored_head_mismatch": "tree",
        "anchor_signature_invalid": "checkpoint",
    }
    """Their reasons, with the step of ours, or what the step says."""

    def record(self, line: bytes, case: Mapping[str, Any]) -> Record:
        """Read a record of theirs."""
        said = json.loads(line)
        body, previous = said["record"], said["record"]["prev"]
        signature = base64.b64decode(said["sig"])
        key = case["keys"]["producer"]
        return Record(
            digest=sha256_hex(line),
            previous="" if previous == FIRST else previous,
            chain=body["chain"],
            key=key,
            is_genuine=signed(key, canonical_json(body), signature),
        )

    def test_each_case(self, keys: Keys) -> None:
        """Each of the 14 cases is decided as they say, for their reason."""
        found = cases(corpus("anchored-chain"))
        stores = {
            name: [
                self.record(line, read(place / "case.json"))
                for line in lines_of(place / "store.jsonl")
            ]
            for name, (place, _, _) in found.items()
        }
        known = [record for store in stores.values() for record in store]
        retold = Retold(known, dict.fromkeys({each.key for each in known}, keys.receipt), keys.log)
        root = TrustRoot(
            version=1,
            keys=(trusted(KeyRole.RECEIPT, keys.receipt), trusted(KeyRole.LOG, keys.log)),
        )
        for name, (place, decision, reason) in found.items():
            entries = [retold.receipt(record.digest) for record in stores[name]]
            ours, why = self.judge(entries, self.anchor(place, retold, keys), root)
            assert (ours, self.REASONS[reason] in why) == (decision, True), (name, why)
        assert len(found) == 14

    def anchor(self, place: Path, retold: Retold, keys: Keys) -> bytes:
        """Say their anchor over as a head of our log, signed by the log where theirs is good."""
        said, case = read(place / "anchor.json"), read(place / "case.json")
        signature = base64.b64decode(said["sig"])
        is_good = signed(case["keys"]["anchor"], canonical_json(said["anchor"]), signature)
        return retold.head(said["anchor"]["head"], signer=None if is_good else keys.stranger)

    def judge(self, entries: list[bytes], anchor: bytes, root: TrustRoot) -> tuple[str, str]:
        """Verify the whole chain, with the tree of its first entries that is anchored."""
        whole = verify_chain(entries, root)
        if whole.validity is not Validity.VALID:
            step = "" if "signature" in whole.message else "chain: "
            return "rejected", f"{step}{whole.message}"
        log = verify_log(anchor, entries, root)
        decision = "verified" if log.validity is Validity.VALID else "rejected"
        return decision, f"{log.step}: {log.message}"


class TestReceiptChainEnd:
    """`receipt-chain-end`: where does a chain of receipts end, and who says so."""

    OTHERWISE: Mapping[str, tuple[str, str]] = dict.fromkeys(
        [
            "control-closed-run",
            "control-timestamp-tie",
            "control-rotation-endorsed",
            "stale-head-honest-extension",
            "seq-reset-control-endorsed",
        ],
        ("prefix", "nothing closes a log of ours: its end is shown by a head kept elsewhere alone"),
    ) | {
        "close-count-forged": ("prefix", "there is no closing record that could count wrongly"),
        "final-head-not-at-end": ("prefix", "no head is the last one: a log goes on"),
        "seq-reset-hides-gap": ("prefix", "a head without a hash is none, so nothing is compared"),
    }
    """Where we decide otherwise, and why."""

    def record(self, line: bytes) -> Record:
        """Read a record of theirs."""
        said = json.loads(line)
        body = said["action_record"]
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        signature = bytes.fromhex(said["signature"].removeprefix("ed25519:"))
        previous = body["chain_prev_hash"]
        return Record(
            digest=sha256_hex(json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()),
            previous="" if previous == "genesis" or previous.startswith("g1:") else previous,
            chain="one",
            key=said["signer_key"],
            is_genuine=signed(said["signer_key"], hashlib.sha256(text).digest(), signature),
        )

    def test_each_case(self, keys: Keys) -> None:
        """Each of the 24 cases is decided as they say, but for those that we have no word for."""
        found = cases(corpus("receipt-chain-end"))
        chains = {
            name: [self.record(line) for line in lines_of(place / "chain.jsonl")]
            for name, (place, _, _) in found.items()
        }
        known = [record for chain in chains.values() for record in chain]
        # Their keys in the order in which they come, each with one of ours.
        theirs = list(dict.fromkeys(record.key for record in known))
        ours = dict(
            zip(theirs, (keys.receipt, keys.witness, keys.witness2, keys.stranger), strict=False)
        )
        assert len(ours) == len(theirs)
        retold = Retold(known, ours, keys.log)
        decided = {
            name: self.decide(place, chains[name], retold, ours, keys)
            for name, (place, _, _) in found.items()
        }
        expected = {name: decision for name, (_, decision, _) in found.items()}
        assert decided == expected | {name: one for name, (one, _) in self.OTHERWISE.items()}
        assert len(found) == 24

    def decide(
        self,
        place: Path,
        chain: list[Record],
        retold: Retold,
        ours: Mapping[str, Any],
        keys: Keys,
    ) -> str:
        """Verify the log of a chain, from the head that its reader kept."""
        case = read(place / "case.json")
        entries = [retold.receipt(record.digest) for record in chain]
        head = read(place / case["head"]) if "head" in case else {}
        kept = retold.head(head["receipt_hash"]) if "receipt_hash" in head else None
        found = verify_log(
            retold.head_of(entries, "one"),
            entries,
            self.trust(place, case, retold, ours, keys),
            kept=kept,
        )
        if found.validity is Validity.INVALID:
            return "rejected"
        assert found.validity is Validity.VALID, found.message
        is_end = kept is not None and len(retold.line(head["receipt_hash"])) == len(entries)
        return "verified" if is_end and head["kind"] == "final" else "prefix"

    def trust(
        self,
        place: Path,
        case: Mapping[str, Any],
        retold: Retold,
        ours: Mapping[str, Any],
        keys: Keys,
    ) -> TrustRoot:
        """Trust the root key, and one that it endorsed from the place on that it named."""
        found = [trusted(KeyRole.RECEIPT, ours[key]) for key in case["trust"]["root_keys"]]
        for name in case["trust"].get("endorsements", []):
            said = read(place / name)
            body = {key: value for key, value in said.items() if key != "endorsement"}
            text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
            digest = hashlib.sha256(b"pipelock-rotation-endorsement-v1\x00" + text).digest()
            signature = bytes.fromhex(said["endorsement"].removeprefix("ed25519:"))
            if not signed(said["prior_signer_key"], digest, signature):
                continue
            place_of = len(retold.line(said["prior_tail_hash"]))
            found = [replace(key, valid_until_index=place_of) for key in found]
            new = ours[said["new_signer_key"]]
            found.append(trusted(KeyRole.RECEIPT, new, valid_from_index=place_of))
        return TrustRoot(version=1, keys=(*found, trusted(KeyRole.LOG, keys.log)))
