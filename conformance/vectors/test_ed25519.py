"""Which edge cases of Ed25519 count as signed: ours, Go's and OpenSSL's word are the same.

The vectors are those that C2SP's CCTV ed25519 grew from, by the same author, as Go's own tests take
them. Our stance stands in docs/receipts.md.
"""

import base64
import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from broker.core.ids import sha256_hex
from broker.core.trust_root import KeyRole, TrustedKey
from broker.verify.signature import is_signed
from conformance.tools import ACCEPT, REJECT, ask, b64, installed

HERE = Path(__file__).parent
MODULE = "filippo.io/mostly-harmless/ed25519vectors"
SPKI = bytes.fromhex("302a300506032b6570032100")
REFUSED = {"NonCanonicalR", "LowOrderResidue"}
"""An R that is not written in its one form; a low-order part that does not cancel out."""


@pytest.fixture(scope="module")
def vectors() -> list[dict[str, object]]:
    """Fetch the vectors from the Go module proxy; go.sum pins them."""
    found = subprocess.run(
        [installed("go"), "mod", "download", "-json", MODULE],
        cwd=HERE,
        env={**os.environ, "GOFLAGS": "-mod=mod"},
        check=True,
        capture_output=True,
        text=True,
    )
    folder = Path(json.loads(found.stdout)["Dir"])
    return list(json.loads((folder / "ed25519vectors.json").read_text()))


def parts(vector: dict[str, object]) -> tuple[bytes, bytes, bytes]:
    """Give key, signature, message."""
    key, signature = (bytes.fromhex(str(text)) for text in (vector["A"], _signature(vector)))
    return key, signature, str(vector["M"]).encode()


def _signature(vector: dict[str, object]) -> str:
    return f"{vector['R']}{vector['S']}"


def stance(vector: dict[str, object]) -> str:
    """Say what we mean to answer."""
    flags = vector["Flags"]
    return REJECT if REFUSED & set(flags if isinstance(flags, list) else ()) else ACCEPT


def pem_of(key: bytes) -> str:
    """Write a raw key as SPKI PEM."""
    body = base64.b64encode(SPKI + key).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def ours(vector: dict[str, object]) -> str:
    """Verify as every step of ours does."""
    key, signature, message = parts(vector)
    trusted = TrustedKey(
        role=KeyRole.RECEIPT, key_id=sha256_hex(SPKI + key), public_key_pem=pem_of(key)
    )
    return ACCEPT if is_signed(trusted, message, signature) else REJECT


def openssl(vector: dict[str, object], folder: Path) -> str:
    """Verify with OpenSSL."""
    key, signature, message = parts(vector)
    (folder / "public.pem").write_text(pem_of(key))
    (folder / "signature").write_bytes(signature)
    (folder / "message").write_bytes(message)
    done = subprocess.run(
        [
            *(installed("openssl"), "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem"),
            *("-rawin", "-in", "message", "-sigfile", "signature"),
        ],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    return ACCEPT if done.returncode == 0 else REJECT


def test_ours(vectors: list[dict[str, object]]) -> None:
    """We refuse what the stance says, and accept the rest."""
    assert [ours(each) for each in vectors] == [stance(each) for each in vectors]
    assert Counter(map(stance, vectors)) == {REJECT: 570, ACCEPT: 198}


def test_go(vectors: list[dict[str, object]]) -> None:
    """Go's notes, checkpoints and witnesses see what we see."""
    questions = [
        {"check": "ed25519", "key": b64(key), "signature": b64(signature), "message": b64(message)}
        for key, signature, message in map(parts, vectors)
    ]
    assert ask(questions) == [stance(each) for each in vectors]


def test_openssl(vectors: list[dict[str, object]], tmp_path: Path) -> None:
    """So does OpenSSL, on one of every combination of edge cases."""
    kinds = {json.dumps(sorted(each["Flags"] or ())): each for each in vectors}  # type: ignore[call-overload]
    answers = {kind: openssl(each, tmp_path) for kind, each in kinds.items()}
    assert answers == {kind: stance(each) for kind, each in kinds.items()}
    assert len(answers) > 50
