"""Write to people's terminals, where foreign text never acts.

Whatever came from an agent, a tool or the network passes through `visible`: no control, bidi or
invisible character reaches a terminal, and rich reads no markup in it.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from broker.core.visible import visible

_TAB = 4
_WIDE = 240
_GAP = 2


def lines(text: str) -> str:
    """Escape foreign text of several lines; line ends stay, tabs become spaces."""
    return "\n".join(visible(line.expandtabs(_TAB)) for line in text.split("\n"))


def indented(text: str) -> str:
    """Escape a draft of code; the tabs that begin its lines stay, as its format has them."""
    bare = ((line, line.lstrip("\t")) for line in text.split("\n"))
    return "\n".join(line.removesuffix(rest) + visible(rest) for line, rest in bare)


def escaped_once(text: str) -> str:
    """Pass text that the broker escaped; escape what it should have."""
    return "\n".join(map(_escaped_line, text.split("\n")))


def _escaped_line(line: str) -> str:
    # `visible` doubles the escapes that are there: leave a line alone that holds nothing else.
    bare = line.replace("\\u{", "")
    return line if visible(bare) == bare else visible(line)


def say(text: str) -> None:
    """Print a line that was asked for."""
    print(text, flush=True)


def note(text: str) -> None:
    """Print a line beside what was asked for: progress, what to do next, an error."""
    print(text, file=sys.stderr)


def document(value: object) -> None:
    """Print one JSON document; ASCII only, so that nothing in it acts."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def document_line(value: object) -> None:
    """Print one JSON document on one line."""
    print(json.dumps(value, ensure_ascii=True, separators=(",", ":")), flush=True)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a work came, to people alone; what is given says so."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total)

        def came_to(done: int) -> None:
            progress.update(task, completed=done)

        yield came_to


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print a table of foreign text.

    Where a terminal is too narrow, each row goes on in further lines below its first: no cell,
    which may be an id to copy, is broken.

    Args:
        empty: What to say where there is no row.
    """
    cells = [[visible(cell) for cell in row] for row in rows]
    if not cells:
        note(empty)
        return
    # A pipe has no width: programs that read lines want them whole.
    console = Console(
        markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _WIDE
    )
    widths = [max(map(cell_len, column)) for column in zip(headings, *cells, strict=True)]
    groups = _lines_of(widths, console.width)
    for number, row in enumerate([list(headings), *cells]):
        for text in _laid_out(row, widths, groups):
            console.print(Text(text, style="" if number else "bold"), soft_wrap=True)


def _lines_of(widths: Sequence[int], room: int) -> list[list[int]]:
    """Share the columns out to lines; all but the first begin below the second column."""
    indent = widths[0] + _GAP
    groups, used = [[0]], widths[0]
    for column, width in enumerate(widths[1:], start=1):
        if used + _GAP + width > room and groups[-1] != [0]:
            groups.append([])
            used = indent - _GAP
        groups[-1].append(column)
        used += _GAP + width
    return groups


def _laid_out(
    row: Sequence[str], widths: Sequence[int], groups: Sequence[Sequence[int]]
) -> Iterator[str]:
    for number, group in enumerate(groups):
        padded = (row[each] + " " * (widths[each] - cell_len(row[each])) for each in group)
        indent = " " * (widths[0] + _GAP) if number else ""
        yield (indent + (" " * _GAP).join(padded)).rstrip()


def raw_or_escaped(stream: TextIO, data: bytes) -> None:
    """Write a tool's bytes: as they are into a pipe or file, escaped on a terminal."""
    if not stream.isatty():
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
        return
    text = lines(data.decode("utf-8", errors="backslashreplace"))
    stream.write(text if not text or text.endswith("\n") else text + "\n")
    stream.flush()
