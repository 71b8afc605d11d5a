"""Wrap a receipt's envelope in a bundle that Sigstore's programs read.

Source: https://github.com/sigstore/protobuf-specs (bundle v0.3)
"""

import base64

from broker.core.canonical import canonical_json
from broker.core.dsse import read_envelope

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def sigstore_bundle(envelope: bytes, key_id: str) -> bytes:
    """Write the bundle of an envelope.

    It has no entry of Sigstore's public log: a receipt is in its broker's own.

    Args:
        key_id: Of the key that signed it: a hint, which no program believes.

    Raises:
        ReceiptInvalid: Not an envelope of a broker's; step `envelope`.
    """
    read = read_envelope(envelope)
    return canonical_json(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key_id}},
            "dsseEnvelope": {
                "payload": base64.b64encode(read.payload).decode(),
                "payloadType": read.payload_type,
                "signatures": [{"sig": base64.b64encode(read.signature).decode()}],
            },
        }
    )
