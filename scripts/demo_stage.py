"""Print the demo's story."""

import json
import textwrap
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from broker.cli.phrases import state_word
from broker.cli.terminal import escaped_once, lines
from broker.v1 import call_pb2

_WIDEST = 96
_INDENT = "  "
_LABEL = 10
_STYLES = {"SUCCEEDED": "bold green", "VALID": "bold green", "HELD": "bold yellow"}
_REFUSED = "bold red"


class Stage:
    """Where the story appears: a terminal with colours, or plain lines in a pipe."""

    def __init__(self) -> None:
        console = Console()
        # A pipe has no width; a very wide terminal makes prose hard to read.
        self._width = min(console.width, _WIDEST) if console.is_terminal else _WIDEST
        self._console = Console(
            width=self._width, highlight=False, markup=False, emoji=False, soft_wrap=True
        )

    def title(self, text: str) -> None:
        """Begin the story, or end it."""
        self._console.print()
        self._console.print(Text("\n".join(textwrap.wrap(text, self._width)), style="bold"))

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        self._console.print()
        self._console.print(Rule(Text(text, style="bold"), align="left", style="dim"))

    def say(self, text: str) -> None:
        """Tell the reader something."""
        self._console.print(Text("\n".join(textwrap.wrap(text, self._width))))

    def pause(self) -> None:
        """Leave a line empty."""
        self._console.print()

    def why(self, text: str) -> None:
        """Tell why what was seen matters."""
        first, *rest = textwrap.wrap(f"Why it matters: {text}", self._width)
        self._console.print()
        self._console.print(Text.assemble((first[:15], "bold"), first[15:]))
        for line in rest:
            self._console.print(Text(line))

    def line(self, who: str, text: str, style: str = "") -> None:
        """Show what somebody did or said; foreign text is escaped."""
        label = who.ljust(_LABEL)
        for line in self._folded(lines(text), len(_INDENT) + _LABEL):
            self._console.print(Text.assemble(_INDENT, (label, "dim"), (line, style)))
            label = " " * _LABEL

    def sends(self, who: str, tool: str, arguments: Mapping[str, object]) -> None:
        """Show a call as it is sent."""
        self._console.print()
        self.line(who, f"calls {tool}", "bold")
        for name, value in arguments.items():
            text = value if isinstance(value, str) else json.dumps(value)
            head = f"{name}: "
            for line in self._folded(lines(text.rstrip("\n")), len(_INDENT) + _LABEL + len(head)):
                self._console.print(
                    Text.assemble(_INDENT, " " * _LABEL, (head, "dim"), (line, "cyan"))
                )
                head = " " * len(head)

    def answers(self, call: call_pb2.Call, *facts: str) -> None:
        """Show what the broker says of a call."""
        self.verdict("broker", state_word(call), ", ".join(facts))

    def verdict(self, who: str, word: str, about: str) -> None:
        """Show a verdict, such as a call's state, with what there is to say of it."""
        head = f"{_INDENT}{who.ljust(_LABEL)}"
        first, *rest = [*self._folded(lines(f"{word}  {about}".rstrip()), len(head)), ""]
        self._console.print(
            Text.assemble(
                _INDENT,
                (who.ljust(_LABEL), "dim"),
                (word, _STYLES.get(word, _REFUSED)),
                first.removeprefix(word),
            )
        )
        for line in rest[:-1]:
            self._console.print(Text(" " * len(head) + line))

    def quote(self, view: str) -> None:
        """Show a reviewer's view, just as the broker wrote it."""
        self._console.print()
        for line in escaped_once(view).rstrip("\n").split("\n"):
            self._console.print(Text(f"    {line}".rstrip(), style="cyan"))
        self._console.print()

    def _folded(self, text: str, used: int) -> Iterator[str]:
        """Break lines at the width, keeping their own indentation."""
        for line in text.split("\n"):
            yield from textwrap.wrap(line, max(self._width - used, 20)) or [""]
