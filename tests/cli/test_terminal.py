"""What reaches a terminal."""

import io

import pytest

from broker.cli import terminal
from broker.cli.phrases import details, headline
from broker.v1 import call_pb2

HOSTILE = "a\x1b[31mred\x07\u202eabc\u200b[bold]x[/bold]"
SHOWN = r"a\u{1B}[31mred\u{7}\u{202E}abc\u{200B}[bold]x[/bold]"


class Tty(io.TextIOWrapper):
    """A text stream that says whether it is a terminal."""

    def __init__(self, *, tty: bool) -> None:
        self.bytes = io.BytesIO()
        self._tty = tty
        super().__init__(self.bytes, encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        """Say what the test wants."""
        return self._tty


class TestLines:
    """`lines` with `escaped_once`."""

    def test_foreign_text_does_not_act(self) -> None:
        """Control, bidi and invisible characters are shown, markup is text."""
        assert terminal.lines(f"{HOSTILE}\nnext\tcell") == f"{SHOWN}\nnext    cell"

    def test_a_carriage_return_does_not_overwrite(self) -> None:
        """A line cannot hide what stands before it."""
        assert terminal.lines("rm -rf /\rls") == r"rm -rf /\u{D}ls"

    def test_the_brokers_escapes_are_left_alone(self) -> None:
        """A view that is escaped is shown as the reviewer's digest binds it."""
        assert terminal.escaped_once(f"{SHOWN}\nplain") == f"{SHOWN}\nplain"

    def test_a_view_that_is_not_escaped_is(self) -> None:
        """A broker that sends control characters does not reach the terminal either."""
        assert "\x1b" not in terminal.escaped_once(f"ok\n{HOSTILE}")


class TestIndented:
    def test_only_the_tabs_that_begin_a_line_stay(self) -> None:
        """A draft is to be copied as its format has it; nothing else in it acts."""
        assert terminal.indented(f"if {{\n\t\t{HOSTILE}\tx\n}}") == (
            f"if {{\n\t\t{SHOWN}\\u{{9}}x\n}}"
        )


class TestTable:
    """`table`."""

    def test_cells_are_escaped_and_no_markup(self, capsys: pytest.CaptureFixture[str]) -> None:
        """rich reads nothing in a cell."""
        terminal.table(("A", "B"), [(HOSTILE, "x")], empty="none")
        shown = capsys.readouterr().out
        assert SHOWN in shown
        assert "\x1b" not in shown

    def test_nothing_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        """An empty list says so beside the output, which stays empty."""
        terminal.table(("A",), [], empty="no calls")
        assert capsys.readouterr() == ("", "no calls\n")

    def test_a_pipe_gets_whole_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A long cell is not cut where no person reads."""
        terminal.table(("A",), [("x" * 150,)], empty="")
        assert "x" * 150 in capsys.readouterr().out

    def test_a_narrow_terminal_cuts_no_id(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What finds no room goes on below its row, whole; on a wide one all is one line."""
        row = ("Q4F8K2ZN", "SUCCEEDED", "a" * 22, "spiffe://toolwarrant.dev/agent", "2026-11-30T02")
        headings = ("CALL", "STATE", "TOOL", "AGENT", "RECEIVED")
        assert self.shown(monkeypatch, 80, headings, row) == [
            "CALL      STATE      TOOL                    AGENT",
            "          RECEIVED",
            f"{'  '.join(row[:4])}",
            f"          {row[4]}",
        ]
        assert self.shown(monkeypatch, 120, headings, row)[1] == "  ".join(row)

    @pytest.mark.parametrize("width", [10, 40, 80])
    def test_a_cell_that_no_line_has_room_for(
        self, monkeypatch: pytest.MonkeyPatch, width: int
    ) -> None:
        """It is left to the terminal to wrap, so that copying gives it whole."""
        digest = "a" * 64
        assert digest in "".join(self.shown(monkeypatch, width, ("A", "B"), ("x" * 9, digest)))

    @staticmethod
    def shown(
        monkeypatch: pytest.MonkeyPatch, width: int, headings: tuple[str, ...], row: tuple[str, ...]
    ) -> list[str]:
        """Print a table on a terminal; give its lines without colours."""
        screen = Tty(tty=True)
        monkeypatch.setattr("sys.stdout", screen)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        terminal.table(headings, [row], empty="")
        shown = screen.bytes.getvalue().decode()
        return shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()


class TestDocument:
    """`document`."""

    def test_it_is_ascii(self, capsys: pytest.CaptureFixture[str]) -> None:
        """JSON on a terminal carries no character that acts."""
        terminal.document({"a": HOSTILE})
        shown = capsys.readouterr().out
        assert shown.isascii()
        assert "\x1b" not in shown


class TestToolOutput:
    """`raw_or_escaped`."""

    def test_a_pipe_gets_the_bytes(self) -> None:
        """What the tool wrote goes byte for byte into a pipe."""
        stream = Tty(tty=False)
        terminal.raw_or_escaped(stream, b"\xff\x1b[2J\r\n")
        assert stream.bytes.getvalue() == b"\xff\x1b[2J\r\n"

    def test_a_terminal_gets_it_escaped(self) -> None:
        """What the tool wrote does not act on a terminal; the line is ended."""
        stream = Tty(tty=True)
        terminal.raw_or_escaped(stream, b"\xff\x1b[2Jdone")
        assert stream.bytes.getvalue() == rb"\xff\u{1B}[2Jdone" + b"\n"

    def test_silence_stays_silence(self) -> None:
        """A tool that wrote nothing leaves no empty line."""
        stream = Tty(tty=True)
        terminal.raw_or_escaped(stream, b"")
        assert stream.bytes.getvalue() == b""


class TestPhrases:
    """A call in words."""

    def test_a_denial_names_rule_and_remedy(self) -> None:
        """The rule's id with what the agent can do stands under the state."""
        call = call_pb2.Call(
            short_id="ABCDEFGH",
            state=call_pb2.CALL_STATE_DENIED,
            tool="t",
            tool_version="1",
            decision=call_pb2.Decision(
                reasons=[call_pb2.Reason(rule="default.x", agent_message=HOSTILE)]
            ),
        )
        assert headline(call) == "DENIED  ABCDEFGH  t@1"
        assert details(call) == [f"default.x: {SHOWN}"]

    def test_a_hold_names_what_it_waits_for(self) -> None:
        """Group, count, votes so far, the clock, how to follow."""
        call = call_pb2.Call(
            short_id="ABCDEFGH",
            state=call_pb2.CALL_STATE_HELD,
            hold=call_pb2.Hold(
                requirements=[
                    call_pb2.Requirement(group="security", count=1),
                    call_pb2.Requirement(count=2),
                ],
                approvals=1,
            ),
        )
        call.hold.decide_by.FromSeconds(1_800_000_000)
        assert details(call) == [
            (
                "waits for approval: 1 from security and 2 from any approver; 1 so far; "
                "until 2027-01-15T08:00:00.000Z"
            ),
            "follow it: toolwarrant calls watch ABCDEFGH",
        ]

    def test_a_halt_is_told(self) -> None:
        """A call that a halt keeps waiting, or killed, says what the broker says of it."""
        waiting = call_pb2.Call(state=call_pb2.CALL_STATE_QUEUED, halted=True, message="halted\n")
        killed = call_pb2.Call(state=call_pb2.CALL_STATE_KILLED, cause="halted", message="look")
        assert details(waiting) == [r"halted\u{A}"]
        assert details(killed) == ["look"]

    def test_an_ended_run_says_how(self) -> None:
        """Cause, limits, outputs, changes, notes: each is told."""
        call = call_pb2.Call(
            name="calls/A",
            short_id="ABCDEFGH",
            state=call_pb2.CALL_STATE_KILLED,
            tool="t",
            cause="memory",
            usage=call_pb2.Usage(wall_ms=12),
            result=call_pb2.Result(
                exit_code=137,
                limits_hit=["memory"],
                stdout_truncated=True,
                outputs=[call_pb2.Output(path="a\nb", size_bytes=3)],
                changed_paths=["c"],
                notes=["a symlink was left out"],
            ),
        )
        assert headline(call) == "KILLED  ABCDEFGH  t  12 ms  exit 137  memory"
        assert details(call) == [
            "limits that struck: memory",
            "its output was cut at the output limit",
            r"output calls/A/outputs/a\u{A}b  3 bytes",
            "changed c",
            "a symlink was left out",
        ]
