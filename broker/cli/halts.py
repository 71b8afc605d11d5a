"""`toolwarrant halt`, `resume`, `halts`: stop calls, let them go on, see what is stopped."""

from datetime import datetime
from typing import Annotated

import typer

from broker.cli.documents import plain, time_text
from broker.cli.drill import drill
from broker.cli.exits import Exit
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.terminal import document, lines, note, say, table
from broker.core.instant import rfc3339
from broker.errors import InvalidArgument
from broker.v1 import admin_pb2

_ADMIN = "admin"
# One agent may have so many of the shipped configuration's sandboxes.
_DRILL_CALLS = 3

ReasonOption = Annotated[
    str, typer.Option("--reason", "-r", help="Why; kept with the record, never shown to agents.")
]


def halt(
    reason: ReasonOption = "",
    everything: Annotated[bool, typer.Option("--all", help="Every call.")] = False,
    agent: Annotated[
        str, typer.Option(help="The calls of one agent, by its id as `calls list` shows it.")
    ] = "",
    session: Annotated[str, typer.Option(help="With --agent: this session of it alone.")] = "",
    tool: Annotated[str, typer.Option(help="The calls of one tool, by its name.")] = "",
    practise: Annotated[
        bool,
        typer.Option(
            "--drill",
            help="Instead: run calls in a session of their own, halt that session alone, "
            "say how long it took until all were dead, lift the halt.",
        ),
    ] = False,
    drill_as: Annotated[
        str, typer.Option(help="With --drill: whose certificate makes the calls.")
    ] = "agent",
    drill_calls: Annotated[
        int, typer.Option(help="With --drill: how many calls.", min=1, max=64)
    ] = _DRILL_CALLS,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop calls now: kill, let nothing begin, deny new ones.

    Name one of --all, --agent and --tool. It stays, also through a restart, until `resume`.
    """
    if practise:
        if everything or agent or session or tool:
            raise InvalidArgument("--drill", "it halts a session of its own alone: name no scope")
        with (
            connect(config, identity or _ADMIN, address) as admin,
            connect(config, drill_as, address) as caller,
        ):
            raise typer.Exit(drill(admin, caller, drill_calls, as_json=output is Output.JSON))
    if (everything, bool(agent), bool(tool)).count(True) != 1:
        raise InvalidArgument("scope", "name one of --all, --agent (with --session) and --tool")
    if not reason.strip():
        raise InvalidArgument("--reason", "say why, for those who find the halt later")
    with connect(config, identity or _ADMIN, address) as broker:
        done = broker.halt(reason, everything=everything, agent=agent, session=session, tool=tool)
    if output is Output.JSON:
        document(plain(done))
        return
    again = " (it was halted before: the first halt stays)" if done.was_active else ""
    say(lines(f"halted: {_scope(done.halt.scope)}{again}"))
    say(f"  {done.killed} running killed; {done.waiting} held or queued wait; new ones are denied")
    say(lines(f"  lift it: toolwarrant resume {_id(done.halt)}"))


def resume(
    halt: Annotated[
        str, typer.Argument(metavar="[ID]", help="Which halt, as `halts` lists it.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every halt that is active.")] = False,
    clock_now: Annotated[
        str,
        typer.Option(
            help="Instead: the time (RFC 3339) to go on from, where the broker does not believe "
            "its machine's clock."
        ),
    ] = "",
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Lift a halt: calls that waited go on by themselves.

    Name its id, or --all; or with --clock-now the time.
    """
    if (everything, bool(halt), bool(clock_now)).count(True) != 1:
        raise InvalidArgument("ID", "name one halt (`toolwarrant halts` lists them), or --all")
    if clock_now:
        at = _time(clock_now)
        with connect(config, identity or _ADMIN, address) as broker:
            was = broker.go_on_at(at)
        if output is Output.JSON:
            document({"clock_was": rfc3339(was), "clock_now": rfc3339(at)})
        else:
            say(f"the broker's time was {rfc3339(was)} and goes on from {rfc3339(at)}")
        return
    with connect(config, identity or _ADMIN, address) as broker:
        lifted = broker.resume(halt, everything=everything)
        left = broker.halts()
    if output is Output.JSON:
        document({"lifted": [plain(one) for one in lifted]})
        return
    for one in lifted:
        say(lines(f"lifted {_id(one)}: {_scope(one.scope)}"))
    note(f"{len(left)} still active: toolwarrant halts" if left else "nothing is halted")


def list_halts(
    filter: Annotated[  # noqa: A002 - the name of the API's field
        list[str] | None, typer.Option(help="agent=ID or tool=NAME; again for another term.")
    ] = None,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what is halted, oldest first."""
    with connect(config, identity or _ADMIN, address) as broker:
        found = broker.halts(" ".join(filter or ()))
    if output is Output.JSON:
        document({"halts": [plain(one) for one in found]})
        return
    rows = [
        (_id(one), _scope(one.scope), time_text(one.set_at), one.person or one.set_by, one.reason)
        for one in found
    ]
    table(("HALT", "COVERS", "SINCE", "BY", "REASON"), rows, empty="nothing is halted")
    if any(not one.durable for one in found):
        note("not durable yet, a restart would forget: " + ", ".join(_lost(found)))
        raise typer.Exit(Exit.TOOL_FAILED)


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidArgument("--clock-now", "write it like 2026-11-26T08:15:00Z")
    return at


def _lost(halts: list[admin_pb2.Halt]) -> list[str]:
    return [_id(halt) for halt in halts if not halt.durable]


def _id(halt: admin_pb2.Halt) -> str:
    return halt.name.removeprefix("halts/")


def _scope(scope: admin_pb2.HaltScope) -> str:
    if scope.all:
        return "every call"
    if scope.tool:
        return f"tool {scope.tool}"
    session = f", session {scope.session_id}" if scope.session_id else ""
    return f"agent {scope.agent}{session}"
