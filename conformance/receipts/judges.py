"""Ask OpenSSL, cosign and the DSSE authors' Go package what they think of a vector."""

import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.core.sigstore import MEDIA_TYPE
from broker.core.trust_root import KeyRole, TrustRoot
from conformance.tools import ACCEPT, REJECT, ask, b64, installed, tool
from tests.verify.receipts import REQUEST
from tests.verify.vectors import Vector

_COSIGN_S = 60


def pems(root: TrustRoot) -> list[str]:
    """List the keys that may sign receipts."""
    return [key.public_key_pem for key in root.of_role(KeyRole.RECEIPT)]


def fields_of(vector: Vector) -> Mapping[str, object] | None:
    """Take an envelope apart as a lenient reader does; None where nothing is there to judge."""
    try:
        fields = json.loads(vector.envelope)
        base64.b64decode(fields["payload"])
        base64.b64decode(fields["signatures"][0]["sig"])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return dict(fields)


def openssl(vector: Vector, folder: Path) -> str:
    """Let OpenSSL verify the signature over the PAE by each key that may have made it."""
    fields = fields_of(vector)
    assert fields is not None
    payload = base64.b64decode(str(fields["payload"]))
    kind = str(fields["payloadType"]).encode()
    sizes = str(len(kind)).encode(), str(len(payload)).encode()
    message = b" ".join([b"DSSEv1", sizes[0], kind, sizes[1], payload])
    signature = json.loads(vector.envelope)["signatures"][0]["sig"]
    (folder / "message").write_bytes(message)
    (folder / "signature").write_bytes(base64.b64decode(signature))
    for pem in pems(vector.trust_root):
        (folder / "public.pem").write_text(pem)
        argv = [
            *(installed("openssl"), "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem"),
            *("-rawin", "-in", "message", "-sigfile", "signature"),
        ]
        if _runs(argv, folder):
            return ACCEPT
    return REJECT


def go_dsse(vectors: Sequence[Vector]) -> list[str]:
    """Let the Go package read and verify whole envelopes."""
    return ask(
        [
            {"check": "dsse", "envelope": b64(each.envelope), "keys": pems(each.trust_root)}
            for each in vectors
        ]
    )


def cosign(vector: Vector, folder: Path) -> str:
    """Let cosign verify the envelope in a bundle, with the request that the reader has."""
    fields = json.loads(vector.envelope)
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "dsseEnvelope": fields,
    }
    (folder / "bundle.json").write_text(json.dumps(bundle))
    blob = REQUEST.text if vector.request is None else vector.request
    (folder / "blob.json").write_bytes(blob)
    for pem in pems(vector.trust_root):
        (folder / "public.pem").write_text(pem)
        argv = [
            *(tool("cosign"), "verify-blob-attestation", "--key", "public.pem"),
            *("--bundle", "bundle.json", "--insecure-ignore-tlog=true"),
            *("--type", "urn:toolwarrant:execution-receipt:v1", "blob.json"),
        ]
        if _runs(argv, folder):
            return ACCEPT
    return REJECT


def _runs(argv: Sequence[str], folder: Path) -> bool:
    done = subprocess.run(
        argv,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        check=False,
        timeout=_COSIGN_S,
    )
    return done.returncode == 0
