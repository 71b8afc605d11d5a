"""Read base64 in its one canonical form."""

import base64
import binascii

from broker.errors import ReceiptInvalid


def decode_base64(text: str, *, step: str, what: str) -> bytes:
    """Decode standard base64, refusing what would encode to another text.

    Args:
        step: Of the verification that needs it.
        what: What it stands for, to begin the message with.

    Raises:
        ReceiptInvalid: Any other text; names the step.
    """
    try:
        # Laxly read, it encodes to this text again only where it is all of it, in its one form.
        plain = text.encode("ascii")
        if plain and binascii.b2a_base64(lax := binascii.a2b_base64(plain), newline=False) == plain:
            return lax
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise ReceiptInvalid(step, f"{what} is not standard base64") from error
    if base64.b64encode(data).decode() != text:
        raise ReceiptInvalid(step, f"{what} is not canonical base64")
    return data
