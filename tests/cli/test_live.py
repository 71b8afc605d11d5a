"""A tool's output on its way to people and programs."""

import io
import json
import sys

import pytest

from broker.cli.live import LiveText, print_items
from broker.cli.options import Output as Form
from broker.client import Output, WatchItem
from broker.v1 import execution_pb2
from tests.cli.test_terminal import Tty


def piece(data: bytes, stream: str = "stdout", offset: int = 0) -> Output:
    """A piece of live output."""
    return Output(stream=stream, offset=offset, data=data, is_live=True)  # type: ignore[arg-type]


def written(pieces: list[bytes], *, tty: bool) -> bytes:
    """What a stream shows of pieces that come one after the other."""
    stream = Tty(tty=tty)
    live = LiveText(stream)
    for data in pieces:
        live.write(data)
    live.end()
    return stream.bytes.getvalue()


class TestLiveText:
    """`LiveText`."""

    def test_a_pipe_gets_the_bytes(self) -> None:
        """Byte for byte, wherever the pieces were cut; nothing is added."""
        assert written([b"\xff\x1b", b"[2J\r"], tty=False) == b"\xff\x1b[2J\r"

    def test_a_terminal_gets_it_escaped(self) -> None:
        """No piece acts on a terminal; the last line is ended."""
        assert written([b"\x1b", b"[2J", b"do", b"ne"], tty=True) == rb"\u{1B}[2Jdone" + b"\n"

    def test_a_whole_line_is_left_alone(self) -> None:
        """A line that the tool ended is not ended again."""
        assert written([b"done\n"], tty=True) == b"done\n"

    @pytest.mark.parametrize("cut", range(1, 9))
    def test_a_made_up_escape_is_seen_through_at_every_cut(self, cut: int) -> None:
        """Text that looks like an escape is told from one, wherever it is cut in two."""
        said = rb"a\u{1B}b"
        assert written([said[:cut], said[cut:]], tty=True) == rb"a\u{5C}u{1B}b" + b"\n"

    @pytest.mark.parametrize("cut", range(1, 3))
    def test_a_cut_character_is_whole(self, cut: int) -> None:
        """A character whose bytes come apart is shown when it is whole."""
        said = "a€".encode()
        assert written([said[:-cut], said[-cut:]], tty=True).decode() == "a€\n"

    def test_what_waits_is_shown_at_the_end(self) -> None:
        """A backslash, or half a character, that nothing follows is not lost."""
        assert written([b"a\\"], tty=True) == b"a\\\n"
        assert written([b"a\xe2\x82"], tty=True) == b"a\\xe2\\x82\n"

    def test_silence_stays_silence(self) -> None:
        """A tool that wrote nothing leaves no line."""
        assert written([], tty=True) == b""


class TestPrintItems:
    """`print_items`."""

    ITEMS: tuple[WatchItem, ...] = (
        execution_pb2.WatchCallResponse(sequence=1, type="run.starting"),
        piece(b"out"),
        piece(b"\xff", "stderr", 7),
    )

    def test_each_goes_where_it_belongs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """For people: the tool's output to standard output, the rest to standard error."""
        out, err = Tty(tty=False), Tty(tty=False)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        print_items(self.ITEMS, Form.TABLE, events=True)
        assert out.bytes.getvalue() == b"out"
        assert err.bytes.getvalue().endswith(b"     1  run.starting\n\xff")

    def test_programs_get_a_document_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """For programs: each item one JSON document, bytes that are no text as base64."""
        out = io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        print_items(self.ITEMS, Form.JSON, events=True)
        first, *pieces = map(json.loads, out.getvalue().splitlines())
        assert (first["type"], first["output"]) == ("run.starting", None)
        assert pieces == [
            {
                "type": "run.output",
                "output": {
                    "stream": stream,
                    "offset": offset,
                    "text": text,
                    "data": data,
                    "live": True,
                },
            }
            for stream, offset, text, data in (
                ("STDOUT", 0, "out", ""),
                ("STDERR", 7, "", "/w=="),
            )
        ]

    def test_an_event_has_a_line_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal an event does not go on in the line that the tool left open."""
        out = Tty(tty=True)
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, out)
        event = execution_pb2.WatchCallResponse(sequence=3, type="call.succeeded")
        print_items([piece(b"41"), event, piece(b"42\n"), event], Form.TABLE, events=True)
        told = f"1970-01-01T00:00:00.000Z  {3:>6}  call.succeeded\n"
        assert out.bytes.getvalue().decode() == f"41\n{told}42\n{told}"
