"""Print the demo's story."""

import json
from collections.abc import Mapping

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from broker.cli.phrases import state_word
from broker.cli.terminal import lines
from broker.v1 import call_pb2

_WIDEST = 96
_LABEL = 9
_STYLES = {
    "SUCCEEDED": "bold green",
    "VALID": "bold green",
    "HELD": "bold yellow",
}


class Stage:
    """Where the story appears: a terminal with colours, or plain lines in a pipe."""

    def __init__(self) -> None:
        wide = Console()
        # A pipe has no width; a very wide terminal makes prose hard to read.
        width = min(wide.width, _WIDEST) if wide.is_terminal else _WIDEST
        self._console = Console(width=width, highlight=False, markup=False, emoji=False)

    def title(self, text: str) -> None:
        """Begin the story."""
        self._console.print()
        self._console.print(Text(text, style="bold"))

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        self._console.print()
        self._console.print(
            Rule(Text(text, style="bold"), align="left", style="dim", characters="─")
        )

    def say(self, text: str) -> None:
        """Tell the reader something, wrapped to the width."""
        self._console.print(Text(text))
        self._console.print()

    def why(self, text: str) -> None:
        """Tell why what was seen matters."""
        self._console.print()
        self._console.print(Text.assemble(("Why it matters. ", "bold"), text))

    def line(self, who: str, text: str | Text) -> None:
        """Show what somebody did or said; foreign text is escaped."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=_LABEL, style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(who, Text(lines(text)) if isinstance(text, str) else text)
        self._console.print(Padding(grid, (0, 0, 0, 2)))

    def sends(self, who: str, tool: str, arguments: Mapping[str, object]) -> None:
        """Show a call as it is sent."""
        self.line(who, Text.assemble("calls ", (tool, "bold"), " with"))
        grid = Table.grid(padding=(0, 1))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in arguments.items():
            text = value if isinstance(value, str) else json.dumps(value)
            grid.add_row(name, Text(lines(text.rstrip("\n"))))
        self._console.print(Padding(grid, (0, 0, 0, 2 + _LABEL + 3)))

    def answers(self, call: call_pb2.Call, *facts: str) -> None:
        """Show what the broker says of a call."""
        state = state_word(call)
        word = (state, _STYLES.get(state, "bold red"))
        said = " · ".join(fact for fact in facts if fact)
        self.line("broker", Text.assemble("says ", word, f"  {lines(said)}"))

    def verdict(self, name: str, verdict: str, about: str) -> None:
        """Show what the verifier says of a receipt."""
        self.line(
            name, Text.assemble((verdict, _STYLES.get(verdict, "bold red")), f"  {lines(about)}")
        )

    def quote(self, text: str) -> None:
        """Show a text as somebody else sees it, between two lines."""
        self._console.print()
        for line in lines(text).rstrip("\n").split("\n"):
            self._console.print(Padding(Text(line, overflow="fold", style="cyan"), (0, 0, 0, 4)))
        self._console.print()
