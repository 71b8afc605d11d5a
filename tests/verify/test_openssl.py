"""Receipts stand on their own: OpenSSL alone verifies them."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from broker.core.lifecycle import CallState
from tests.verify.receipts import ENDINGS, new_signer, sealed


def by_hand(envelope: bytes) -> tuple[bytes, bytes]:
    """Take an envelope apart by the DSSE text alone, without the broker's code."""
    fields = json.loads(envelope)
    payload = base64.b64decode(fields["payload"])
    kind = fields["payloadType"].encode()
    size, kind_size = str(len(payload)).encode(), str(len(kind)).encode()
    message = b" ".join([b"DSSEv1", kind_size, kind, size, payload])
    return message, base64.b64decode(fields["signatures"][0]["sig"])


def openssl_accepts(folder: Path, message: bytes, signature: bytes, pem: str, *extra: str) -> bool:
    (folder / "message").write_bytes(message)
    (folder / "signature").write_bytes(signature)
    (folder / "public.pem").write_text(pem)
    done = subprocess.run(
        [
            *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin"),
            *("-in", "message", "-sigfile", "signature", *extra),
        ],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=30,
    )
    return done.returncode == 0


class TestOpenssl:
    def test_every_final_state_has_an_ending(self):
        """The endings below are those of every final state there is."""
        states = {ending.call.state for ending in ENDINGS.values()}
        assert states == {state for state in CallState if state.is_final}

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_it_verifies_each_outcome(self, ending, tmp_path):
        """The receipt of each outcome verifies over the PAE; a changed bit does not."""
        signer = new_signer(tmp_path / "key")
        message, signature = by_hand(sealed(ending, signer))
        changed = message[:-1] + bytes([message[-1] ^ 1])
        assert openssl_accepts(tmp_path, message, signature, signer.public_key_pem)
        assert not openssl_accepts(tmp_path, changed, signature, signer.public_key_pem)

    def test_it_verifies_ecdsa(self, tmp_path):
        """So it is with a key on P-256."""
        signer = new_signer(tmp_path / "key", "ecdsa-p256")
        message, signature = by_hand(sealed("succeeded", signer))
        digest = ("-digest", "sha256")
        assert openssl_accepts(tmp_path, message, signature, signer.public_key_pem, *digest)
        assert not openssl_accepts(
            tmp_path, message + b" ", signature, signer.public_key_pem, *digest
        )
