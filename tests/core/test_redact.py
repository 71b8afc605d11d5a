"""Values in streams of bytes, replaced however the stream is cut."""

import base64
import json
import string
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from broker.core.redact import Redaction, Redactor
from broker.core.secret import LEAST_BYTES, MOST_BYTES, Secret

# Few letters, so that values overlap, hold one another, begin and break off all the time.
FEW = st.lists(st.sampled_from(b"abc"), min_size=1, max_size=6).map(bytes)
TEXT = st.lists(st.sampled_from(b"abcx"), max_size=60).map(bytes)
CUTS = st.lists(st.integers(0, 60), max_size=10)
VALUES = st.lists(FEW, min_size=1, max_size=4, unique=True)
ANY_VALUE = st.binary(min_size=LEAST_BYTES, max_size=60).filter(
    lambda value: b"\0" not in value and len(value.strip()) >= LEAST_BYTES
)
TOKEN = b"Zm9/+ \"\\<\xc3\xa9>&'tail~"


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a text into pieces."""
    places = sorted({0, len(text), *(min(place, len(text)) for place in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


def fed(redactor: Redactor, pieces: list[bytes]) -> bytes:
    """Feed all pieces, then end."""
    return b"".join(redactor.feed(piece) for piece in pieces) + redactor.end()


def masked(text: bytes, markers: dict[bytes, bytes]) -> bytes:
    """Redact the plain way: mark each byte that some value covers, then replace the stretches."""
    owner: list[tuple[int, bytes] | None] = [None] * len(text)
    reach = 0
    for start in range(len(text)):
        here = [value for value in markers if text.startswith(value, start)]
        if not here:
            continue
        longest = max(here, key=len)
        if start >= reach:
            name = start, markers[longest]
        for place in range(start, start + len(longest)):
            owner[place] = owner[place] or name
        reach = max(reach, start + len(longest))
    found, last = b"", None
    for place, name_here in enumerate(owner):
        if name_here is None:
            found += text[place : place + 1]
        elif name_here != last:
            found += name_here[1]
        last = name_here
    return found


class TestStream:
    """A stream of any pieces."""

    @given(values=VALUES, text=TEXT, cuts=CUTS)
    @example(values=[b"ab", b"abab"], text=b"ababab", cuts=[1, 2, 3, 4, 5])
    @example(values=[b"aab", b"abaab"], text=b"abaabaaab", cuts=[4, 5])
    def test_is_masked_whatever_the_pieces(
        self, values: list[bytes], text: bytes, cuts: list[int]
    ) -> None:
        """Any cutting gives what marking byte by byte gives: overlapping, nested, touching."""
        markers = {value: b"<%d>" % number for number, value in enumerate(values)}
        assert fed(Redactor(Redaction(markers)), cut(text, cuts)) == masked(text, markers)

    @given(values=VALUES, text=TEXT, cuts=CUTS)
    def test_never_gives_a_value(self, values: list[bytes], text: bytes, cuts: list[int]) -> None:
        """Between two markers, as in all that was given at any moment, there is no value."""
        redactor = Redactor(Redaction(dict.fromkeys(values, b"#")))
        given_out = b""
        for piece in [*cut(text, cuts), b""]:
            given_out += redactor.feed(piece)
            assert not any(value in given_out for value in values)
        given_out += redactor.end()
        assert not any(value in given_out for value in values)
        assert redactor.count == given_out.count(b"#")

    @given(
        values=st.lists(
            st.lists(st.sampled_from(b"abc"), min_size=6, max_size=6).map(bytes),
            min_size=2,
            max_size=2,
            unique=True,
        ),
        text=st.lists(st.sampled_from(b"abc\n"), max_size=60).map(bytes),
        cuts=CUTS,
    )
    @example(values=[b"aaaaab", b"cccccc"], text=b"c" * 4 + b"aaaaa", cuts=[4, 5, 6, 7, 8])
    def test_what_waits_tells_nothing_of_a_value(
        self, values: list[bytes], text: bytes, cuts: list[int]
    ) -> None:
        """When what comes, and what is dropped at a cut, is the same whatever the value is.

        Else a text that is repeated would show, by coming late, that a value begins so.
        """
        assume(not any(value in text for value in values))
        told = []
        for value in values:
            redactor = Redactor(Redaction({value: b"#"}))
            pieces = [redactor.feed(piece) for piece in cut(text, cuts)]
            told.append((pieces, redactor.drop()))
        assert told[0] == told[1]

    @given(values=VALUES, text=TEXT, cuts=CUTS, end=st.integers(0, 60))
    def test_drops_what_may_be_a_beginning(
        self, values: list[bytes], text: bytes, cuts: list[int], end: int
    ) -> None:
        """Of a stream that was cut, what was given is not followed by the rest of a value."""
        redactor = Redactor(Redaction(dict.fromkeys(values, b"#")))
        found = b"".join(redactor.feed(piece) for piece in cut(text[:end], cuts))
        dropped_bytes = redactor.drop()
        whole = fed(Redactor(Redaction(dict.fromkeys(values, b"#"))), [text])
        assert whole.startswith(found)
        assert dropped_bytes <= len(text[:end])
        assert (redactor.feed(b"x" * 20) + redactor.end()) == b"x" * 20

    def test_lines_do_not_wait(self) -> None:
        """Where no value holds a line end, a line comes as soon as it is whole."""
        redactor = Redactor(Redaction({b"a" * 5000: b"#"}))
        assert [redactor.feed(b"one\ntwo"), redactor.feed(b"\n"), redactor.end()] == [
            b"one\n",
            b"two\n",
            b"",
        ]

    @given(text=st.binary(max_size=200), cuts=CUTS)
    def test_is_itself_without_values(self, text: bytes, cuts: list[int]) -> None:
        """Where there is nothing to redact every piece comes out as it went in, at once."""
        redactor = Redactor(Redaction({}))
        assert [redactor.feed(piece) for piece in cut(text, cuts)] == cut(text, cuts)
        assert redactor.end() == b""

    @given(values=VALUES, text=st.text("xyz ", max_size=60).map(str.encode), cuts=CUTS)
    def test_is_itself_where_no_value_is(
        self, values: list[bytes], text: bytes, cuts: list[int]
    ) -> None:
        """What holds no value is not changed by a byte."""
        redactor = Redactor(Redaction(dict.fromkeys(values, b"#")))
        assert (fed(redactor, cut(text, cuts)), redactor.count) == (text, 0)

    @given(values=VALUES, text=TEXT, cuts=CUTS)
    def test_keeps_little_back(self, values: list[bytes], text: bytes, cuts: list[int]) -> None:
        """What waits is shorter than one and a quarter of the longest value."""
        redactor, longest = Redactor(Redaction(dict.fromkeys(values, b"#"))), max(map(len, values))
        for piece in cut(text, cuts):
            redactor.feed(piece)
            assert len(redactor._pending) < longest + longest // 4


class TestForms:
    """What a secret is found as."""

    @pytest.mark.parametrize(
        "value",
        [
            "postgresql://agent_reader:correct%20horse%2Fbattery@db.example.org:5432/shop",
            "https://someone:correct%20horse%2fbattery@example.org/?a=b",
            "postgresql://db.example.org/shop?user=a&password=correct%20horse%2Fbattery&a=b",
            "host=db.example.org password='correct horse/battery' user=a",
            r"password = correct\ horse/battery host=a",
        ],
    )
    def test_a_password_is_found_apart_from_its_connection(self, value: str) -> None:
        """Whoever is told a connection may repeat the one part of it that is secret."""
        redaction = Redaction.of([Secret(name="s", value=value.encode())])
        for said in (b"correct horse/battery", base64.b64encode(b"correct horse/battery")):
            assert redaction.apply(b"told: " + said) == (b"told: [secret s]", 1)
        assert redaction.apply(b"db.example.org shop agent_reader")[1] == 0

    @pytest.mark.parametrize("value", ["a://reader:short@b.example", "password=eleven-byte a=b"])
    def test_a_short_password_is_not(self, value: str) -> None:
        """It would be replaced wherever it stands by chance."""
        redaction = Redaction.of([Secret(name="s", value=value.encode())])
        assert redaction.apply(b"short eleven-byte")[1] == 0

    @given(value=ANY_VALUE, before=st.binary(max_size=5), after=st.binary(max_size=5))
    def test_base64_is_found_inside_more(self, value: bytes, before: bytes, after: bytes) -> None:
        """Neither the base64 of a value nor of a text around it gives the value back."""
        redaction = Redaction.of([Secret(name="s", value=value)])
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found, count = redaction.apply(encode(before + value + after))
            assert (count >= 1, encode(value).rstrip(b"=") in found) == (True, False)

    @pytest.mark.parametrize(
        "form",
        [
            TOKEN,
            base64.b64encode(TOKEN),
            base64.urlsafe_b64encode(TOKEN).rstrip(b"="),
            TOKEN.hex().encode(),
            TOKEN.hex().upper().encode(),
            quote(TOKEN).encode(),
            quote(TOKEN, safe="").encode(),
            quote(TOKEN, safe="").lower().replace("zm9", "Zm9").encode(),
            quote_plus(TOKEN).encode(),
            json.dumps(TOKEN.decode())[1:-1].encode(),
            json.dumps(TOKEN.decode(), ensure_ascii=False)[1:-1].encode(),
            json.dumps(TOKEN.decode()).replace("/", "\\/")[1:-1].encode(),
            json.dumps(TOKEN.decode())
            .replace("<", "\\u003c")
            .replace(">", "\\u003e")[1:-1]
            .replace("&", "\\u0026")
            .encode(),
        ],
        ids=lambda form: form.decode("latin-1")[:30],
    )
    def test_each_is_replaced_whole(self, form: bytes) -> None:
        """Each form of a value becomes one marker, with nothing of it left."""
        redaction = Redaction.of([Secret(name="api_token", value=TOKEN)])
        assert redaction.apply(b"<" + form + b"|") == (b"<[secret api_token]|", 1)

    def test_white_space_around_a_value_is_not_needed(self) -> None:
        """A program that trims what it was given prints nothing either."""
        redaction = Redaction.of([Secret(name="s", value=b"  0123456789ab\t")])
        assert redaction.apply(b"=0123456789ab=") == (b"=[secret s]=", 1)


class TestSecret:
    """A secret as a value."""

    def test_shows_nothing(self) -> None:
        """Whatever prints it, or a record around it, prints its name."""
        secret = Secret(name="token", value=b"0123456789ab")
        shown = f"{secret} {secret!r} {secret!s} {[secret]}"
        assert shown == "[secret token] [secret token] [secret token] [[secret token]]"

    @pytest.mark.parametrize(
        ("name", "value", "word"),
        [
            ("token", b"12345678901", "shorter than 12"),
            ("token", b"   12345678901   ", "shorter than 12"),
            ("token", b"", "shorter than 12"),
            ("token", b"123456789012\0", "NUL"),
            ("token", b"x" * (MOST_BYTES + 1), "longer"),
            ("long_token", b"[secret long_token", "replace it"),
            ("path", b"123456789012", "name"),
            ("ld_preload", b"123456789012", "name"),
            ("pythonpath", b"123456789012", "name"),
            ("a-b", b"123456789012", "name"),
            ("A", b"123456789012", "name"),
            ("a\n", b"123456789012", "name"),
            ("", b"123456789012", "name"),
        ],
    )
    def test_refuses_what_could_not_be_kept(self, name: str, value: bytes, word: str) -> None:
        """What could not be given, or not be redacted, is refused, without a word of the value."""
        with pytest.raises(ValueError, match=word) as caught:
            Secret(name=name, value=value)
        assert not value.strip() or value.strip().decode() not in str(caught.value)

    @pytest.mark.parametrize("text", [b"0123456789ab", b"0123456789ab\n", b"0123456789ab\r\n"])
    def test_a_line_end_is_not_part_of_it(self, text: bytes) -> None:
        """An editor's last line end does not count, one more does."""
        assert Secret.read("s", text).value == b"0123456789ab"
        assert Secret.read("s", text + b"\n").value.startswith(b"0123456789ab")

    @given(name=st.text(string.ascii_lowercase + "_0", min_size=1, max_size=20))
    def test_names_are_variables(self, name: str) -> None:
        """A name that is taken gives a variable of its own."""
        try:
            secret = Secret(name=name, value=b"0123456789ab")
        except ValueError:
            return
        assert (secret.variable.lower(), secret.variable.isidentifier()) == (name, True)
