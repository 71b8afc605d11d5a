"""Hold notes, checkpoints, cosignatures to their specifications."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from broker.core.checkpoint import (
    Checkpoint,
    cosigned_message,
    read_checkpoint,
    split_cosignature,
    write_checkpoint,
)
from broker.core.signed_note import (
    COSIGNATURE_V1,
    ED25519,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    is_key_name,
    key_id,
    read_note,
    read_verifier_key,
    signatures_by,
    verifier_key,
    write_note,
)
from broker.errors import ReceiptInvalid

# The example of the specification.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = """This is an example message.

\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRK\
uwHjG1Yu72IneyaQM=
""".encode()
LINE = b"\xe2\x80\x94 a.example AAAAAQE=\n"
CHECKPOINT = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
"""
COSIGNED = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q\
1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2\
oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
""".encode()

names = st.text(min_size=1, max_size=20).filter(
    lambda name: is_key_name(name) and not any(char < " " for char in name)
)
lines = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[chr(n) for n in range(32)]),
    max_size=20,
)
notes = st.builds(
    lambda text, signatures: Note(
        text="".join(f"{line}\n" for line in text).encode(), signatures=tuple(signatures)
    ),
    st.lists(lines, min_size=1, max_size=5),
    st.lists(
        st.builds(
            NoteSignature,
            name=names,
            key_id=st.binary(min_size=4, max_size=4),
            signature=st.binary(min_size=1, max_size=80),
        ),
        min_size=1,
        max_size=4,
    ),
)


class TestNote:
    def test_example(self) -> None:
        """The example of the specification is read, its key found, its signature good."""
        name, _, encoded = EXAMPLE_KEY.split("+")
        public = base64.b64decode(encoded)[1:]
        note = read_note(EXAMPLE)
        (signature,) = signatures_by(note.signatures, ED25519, public)
        Ed25519PublicKey.from_public_bytes(public).verify(signature.signature, note.text)
        assert verifier_key(name, ED25519, public) == EXAMPLE_KEY
        assert read_verifier_key(EXAMPLE_KEY, ED25519) == (name, public)

    @pytest.mark.parametrize(
        "text",
        [
            EXAMPLE_KEY.replace("530d903a", "530d903b"),
            EXAMPLE_KEY.replace("foo", "fox"),
            EXAMPLE_KEY.replace("example.com/foo", ""),
            EXAMPLE_KEY.replace("foo", "f o"),
            EXAMPLE_KEY[:-1],
            EXAMPLE_KEY + "AAAA",
            "",
            "example.com/foo+530d903a",
            verifier_key("example.com/foo", COSIGNATURE_V1, bytes(32)),
        ],
        ids=["id", "name", "no name", "a space", "cut", "longer", "empty", "no key", "kind"],
    )
    def test_no_verifier_key(self, text: str) -> None:
        """What is no verifier key of the wanted kind is refused."""
        with pytest.raises(ReceiptInvalid, match="note: "):
            read_verifier_key(text, ED25519)

    @given(notes)
    def test_round_trip(self, note: Note) -> None:
        """A note is read as the one that was written."""
        assert read_note(write_note(note)) == note

    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        """Whatever is read as a note is written as the same bytes; the rest is refused."""
        try:
            note = read_note(data)
        except ReceiptInvalid:
            return
        assert write_note(note) == data

    @pytest.mark.parametrize(
        "text", [b"text\n", b"\n", b"one\n\ntwo\n", b"one\n\n\n", "\u00e9\n".encode()]
    )
    def test_texts(self, text: bytes) -> None:
        """A text may be empty, have empty lines, or letters of any script."""
        assert read_note(text + b"\n" + LINE).text == text

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "no empty line"),
            (b"text\n\n", "no empty line"),
            (b"text\n" + LINE, "no empty line"),
            (b"text\n\n" + LINE[:-1], "no empty line"),
            (b"text\n\n" + LINE + b"\n", "no empty line"),
            (b"text\n\n" + LINE + b"more\n", "does not begin with a dash"),
            (b"text\n\n- a.example AAAAAQE=\n", "does not begin with a dash"),
            (b"te\xffxt\n\n" + LINE, "not UTF-8"),
            (b"te\rxt\n\n" + LINE, "control character"),
            (b"te\x00xt\n\n" + LINE, "control character"),
            (b"te\txt\n\n" + LINE, "control character"),
            ("text\n\n\u2014  AAAAAQE=\n".encode(), "name is empty"),
            ("text\n\n\u2014 a+b AAAAAQE=\n".encode(), "a plus"),
            ("text\n\n\u2014 a\u00a0b AAAAAQE=\n".encode(), "has a space"),
            ("text\n\n\u2014 a b AAAAAQE=\n".encode(), "not standard base64"),
            ("text\n\n\u2014 a AAAAAQE\n".encode(), "not standard base64"),
            ("text\n\n\u2014 a AAAAAQF=\n".encode(), "not canonical base64"),
            ("text\n\n\u2014 a AAAAAQ==\n".encode(), "shorter than 5 bytes"),
            ("text\n\n\u2014 a\n".encode(), "shorter than 5 bytes"),
            (b"text\n\n" + LINE * (MAX_SIGNATURES + 1), "more than 100"),
            (b"t" * 1_000_000 + b"\n\n" + LINE, "longer than"),
        ],
    )
    def test_refused(self, data: bytes, message: str) -> None:
        """What is no signed note is refused by what is wrong with it."""
        with pytest.raises(ReceiptInvalid, match=message):
            read_note(data)

    def test_most_signatures(self) -> None:
        """As many signatures as are allowed are read."""
        assert len(read_note(b"text\n\n" + LINE * MAX_SIGNATURES).signatures) == MAX_SIGNATURES

    def test_unwritable(self) -> None:
        """A note that would not be read again is not written."""
        with pytest.raises(ReceiptInvalid, match="no empty line"):
            write_note(Note(text=b"text\n", signatures=()))

    def test_key_kinds(self) -> None:
        """One key has another id for each kind of signature, and under each name."""
        key = bytes(32)
        ids = {
            key_id("a", ED25519, key),
            key_id("a", COSIGNATURE_V1, key),
            key_id("b", ED25519, key),
        }
        assert len(ids) == 3


class TestCheckpoint:
    def test_example(self) -> None:
        """The example of the specification is read, written, found cosigned."""
        note = read_note(COSIGNED)
        checkpoint = read_checkpoint(note.text)
        assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
        assert write_checkpoint(checkpoint) == note.text == CHECKPOINT.encode()
        timestamp_s, signature = split_cosignature(note.signatures[1].signature)
        assert (timestamp_s, len(signature)) == (1679315147, 64)
        assert cosigned_message(note.text, timestamp_s) == (
            f"cosignature/v1\ntime 1679315147\n{CHECKPOINT}".encode()
        )

    @given(
        st.builds(
            Checkpoint,
            origin=names,
            size=st.integers(min_value=0, max_value=2**63 - 1),
            root=st.binary(min_size=32, max_size=32),
            extensions=st.lists(lines.filter(bool), max_size=2).map(tuple),
        )
    )
    def test_round_trip(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is read as the one that was written."""
        assert read_checkpoint(write_checkpoint(checkpoint)) == checkpoint

    @pytest.mark.parametrize("size", ["0", "1", "9223372036854775807"])
    def test_sizes(self, size: str) -> None:
        """A size up to 63 bits is read."""
        text = CHECKPOINT.replace("20852163", size)
        assert read_checkpoint(text.encode()).size == int(size)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("20852163", "020852163", "not a plain number"),
            ("20852163", "+1", "not a plain number"),
            ("20852163", "-1", "not a plain number"),
            ("20852163", "", "not a plain number"),
            ("20852163", "\u0661", "not a plain number"),
            ("20852163", "9223372036854775808", "not a plain number"),
            ("20852163", "9" * 5000, "not a plain number"),
            ("example.com/behind-the-sofa", "", "origin is empty"),
            ("example.com/behind", "example.com behind", "origin is empty"),
            ("CsUYapGGPo4d", "CsUYapGG", "has not 32 bytes"),
            ("q2I=", "q2I", "not standard base64"),
            ("q2I=", "q2J=", "not canonical base64"),
            ("q2I=\n", "q2I=\n\n", "extension line is empty"),
            ("q2I=\n", "q2I=", "a line each"),
            ("20852163\n", "", "a line each"),
        ],
    )
    def test_refused(self, old: str, new: str, message: str) -> None:
        """A checkpoint one change away from the example is refused by what is wrong with it."""
        with pytest.raises(ReceiptInvalid, match=message):
            read_checkpoint(CHECKPOINT.replace(old, new).encode())

    @pytest.mark.parametrize(
        "signature", [bytes(71), bytes(73), b"\x80" + bytes(71)], ids=["short", "long", "late"]
    )
    def test_cosignature_refused(self, signature: bytes) -> None:
        """A cosignature of another length, or from beyond 63 bits of seconds, is refused."""
        with pytest.raises(ReceiptInvalid, match="witnesses"):
            split_cosignature(signature)
