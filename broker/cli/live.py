"""Print what a tool writes while it runs."""

import base64
import codecs
import re
import sys
from collections.abc import Iterable
from typing import TextIO

from broker.cli.documents import Plain, plain, time_text
from broker.cli.options import Output as Form
from broker.cli.terminal import document_line, lines, note
from broker.client import Output, WatchItem

# Of an escape as `visible` writes it: what follows may make one, which would then look like ours.
_MAYBE_ESCAPE = re.compile(r"\\u?\Z")


def print_items(items: Iterable[WatchItem], form: Form, *, events: bool) -> None:
    """Print output, and events where they are wanted, as they come.

    For people the tool's output goes where it belongs, everything else to standard error.
    """
    streams = {"stdout": LiveText(sys.stdout), "stderr": LiveText(sys.stderr)}
    for item in items:
        if isinstance(item, Output):
            if form is Form.JSON:
                document_line(_output(item))
            else:
                streams[item.stream].write(item.data)
        elif events and form is Form.JSON:
            document_line(plain(item))
        elif events:
            if sys.stderr.isatty():
                for stream in streams.values():
                    stream.end_line()
            note(lines(f"{time_text(item.at)}  {item.sequence:>6}  {item.type}"))
    for stream in streams.values():
        stream.end()


class LiveText:
    """A tool's bytes on their way: as they are into a pipe or file, escaped on a terminal.

    On a terminal a character that is cut in two, or what may become an escape, waits for its rest.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._waits = ""
        self._at_line_start = True

    def write(self, data: bytes) -> None:
        """Print a piece."""
        if not self._stream.isatty():
            self._stream.flush()
            self._stream.buffer.write(data)
            self._stream.buffer.flush()
            return
        text = self._waits + self._decoder.decode(data)
        found = _MAYBE_ESCAPE.search(text)
        self._waits = found.group() if found else ""
        self._print(text.removesuffix(self._waits))

    def end(self) -> None:
        """Print what waits, and end the line."""
        if self._stream.isatty():
            self._print(self._waits + self._decoder.decode(b"", final=True))
            self.end_line()

    def end_line(self) -> None:
        """End a line that a tool left open, on a terminal where another is to follow it."""
        if self._stream.isatty() and not self._at_line_start:
            self._print("\n")

    def _print(self, text: str) -> None:
        if text:
            self._at_line_start = text.endswith("\n")
            self._stream.write(lines(text))
            self._stream.flush()


def _output(item: Output) -> dict[str, Plain]:
    """Write a piece for programs, in the words of the API."""
    try:
        text, data = item.data.decode(), b""
    except UnicodeDecodeError:
        text, data = "", item.data
    return {
        "type": "run.output",
        "output": {
            "stream": item.stream.upper(),
            "offset": item.offset,
            "text": text,
            "data": base64.b64encode(data).decode("ascii"),
            "live": item.is_live,
        },
    }
