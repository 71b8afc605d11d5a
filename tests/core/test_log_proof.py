"""Hold proof files to their specification."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.log_proof import LogProof, read_log_proof, write_log_proof
from broker.errors import ReceiptInvalid

HASH = base64.b64encode(bytes(32)).decode()
FILE = f"c2sp.org/tlog-proof@v1\nextra AAE=\nindex 73894\n{HASH}\n{HASH}\n\nthe checkpoint\n"


@given(
    st.builds(
        LogProof,
        index=st.integers(min_value=0, max_value=2**63 - 1),
        hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
        checkpoint=st.binary(max_size=50),
        extra=st.none() | st.binary(max_size=20),
    )
)
def test_round_trip(proof: LogProof) -> None:
    """A proof is read as the one that was written."""
    assert read_log_proof(write_log_proof(proof)) == proof


def test_example() -> None:
    """A file in the form of the specification's example is read, and written as it was."""
    proof = read_log_proof(FILE.encode())
    assert proof == LogProof(
        index=73894,
        hashes=(bytes(32), bytes(32)),
        checkpoint=b"the checkpoint\n",
        extra=b"\x00\x01",
    )
    assert write_log_proof(proof) == FILE.encode()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("proof@v1", "proof@v2", "does not begin as one; a proof is what"),
        ("c2sp", "\nc2sp", "does not begin as one; a proof is what"),
        ("c2sp.org", "c2sp.\u00f6rg", "this file is no proof; a proof is what"),
        ("\n\nthe", "\nthe", "this file is no proof; a proof is what"),
        ("index 73894", "index 073894", "not a plain number"),
        ("index 73894", "index  73894", "not a plain number"),
        ("index 73894", "index 9223372036854775808", "not a plain number"),
        ("index 73894", "Index 73894", "no index line"),
        ("extra AAE=\nindex 73894", "index 73894\nextra AAE=", "not standard base64"),
        ("extra AAE=", "extra AAF=", "not canonical base64"),
        ("extra AAE=", "extra AAE", "not standard base64"),
        ("extra AAE=", "extra", "no index line"),
        (HASH, HASH[:-4], "has not 32 bytes"),
        (HASH, f"{HASH}\r", "not standard base64"),
        (f"{HASH}\n", f"{HASH}\n" * 32, "more hashes than"),
    ],
)
def test_refused(old: str, new: str, message: str) -> None:
    """A file one change away from the example is refused by what is wrong with it."""
    with pytest.raises(ReceiptInvalid, match=message):
        read_log_proof(FILE.replace(old, new).encode())


def test_too_long() -> None:
    """A file that no checkpoint could make so long is refused before it is read."""
    with pytest.raises(ReceiptInvalid, match="longer than"):
        read_log_proof(FILE.encode() + bytes(2_000_000))
