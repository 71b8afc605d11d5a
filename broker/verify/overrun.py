"""Find what a key signed in a log from an index on.

Where a key's end is put before what it signed while it was in use, all of that is invalid for every
reader, for ever: an end never moves to later. So who ends a key looks first.
"""

from itertools import chain

from broker.core.checkpoint import read_checkpoint
from broker.core.dsse import pae, read_envelope
from broker.core.signed_note import ED25519, read_note, signatures_by
from broker.core.trust_root import KeyRole, TrustedKey
from broker.verify.log_folder import LogFolder
from broker.verify.signature import is_signed


def first_signed(log: LogFolder, key: TrustedKey, start: int) -> int | None:
    """Give the first index from `start` on for which a key stands in a log; None where none.

    A receipt key stands for the entries that it signed, a log key for the last one under a head.
    Other keys have no place in a log.

    Raises:
        ReceiptInvalid: The folder is not a log's.
        OSError: It cannot be read.
    """
    note = read_note(log.checkpoint())
    size = read_checkpoint(note.text).size
    if key.role is KeyRole.LOG:
        heads = signatures_by(note.signatures, ED25519, key.ed25519_key or b"")
        signed = any(is_signed(key, note.text, each.signature) for each in heads)
        return size - 1 if signed and size > start else None
    if key.role is not KeyRole.RECEIPT:
        return None
    entries = chain.from_iterable(log.entries(size).tiles(start, size))
    for index, entry in enumerate(entries, start=start):
        read = read_envelope(entry)
        if is_signed(key, pae(read.payload_type, read.payload), read.signature):
            return index
    return None
