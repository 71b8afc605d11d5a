"""`toolwarrant calls`: look after calls."""

from typing import Annotated

import typer

from broker.cli.call import show as show_call
from broker.cli.call import show_end
from broker.cli.documents import plain, time_text
from broker.cli.exits import OF_CALLS, OF_OTHERS, exit_of_state
from broker.cli.live import print_items
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.phrases import headline, state_word
from broker.cli.terminal import document, note, say, table
from broker.client import state_of
from broker.core.visible import visible

app = typer.Typer(help="Look after calls.", no_args_is_help=True)

CallArgument = Annotated[
    str, typer.Argument(metavar="CALL", help="calls/ULID, ULID, or the short id.")
]


@app.command("list", epilog=OF_OTHERS)
def list_calls(
    filter: Annotated[  # noqa: A002 - the name of the API's field
        list[str] | None,
        typer.Option(
            help="state=HELD, tool=NAME, session=ID or agent=ID; again for another term: "
            "--filter state=HELD --filter tool=python_run."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", min=1)] = 50,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List calls, newest first."""
    with connect(config, identity or "agent", address) as broker:
        found = broker.calls(" ".join(filter or ()), limit=limit)
    if output is Output.JSON:
        document({"calls": [plain(call) for call in found]})
        return
    rows = [
        (call.short_id, state_word(call), call.tool, call.agent, time_text(call.received_at))
        for call in found
    ]
    table(("CALL", "STATE", "TOOL", "AGENT", "RECEIVED"), rows, empty="no calls")


@app.command(epilog=OF_CALLS)
def show(
    call: CallArgument,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a call with its output."""
    with connect(config, identity or "agent", address) as broker:
        found = broker.get(call)
    if output is Output.JSON:
        document(plain(found))
    else:
        show_call(found)
    raise typer.Exit(exit_of_state(state_of(found)))


@app.command(epilog=OF_CALLS)
def watch(
    call: CallArgument,
    after: Annotated[int, typer.Option(help="Only events after this sequence.", min=0)] = 0,
    events_only: Annotated[
        bool, typer.Option("--events-only", help="Without the tool's output.")
    ] = False,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Follow a call to its end: events, output as it comes.

    The tool's standard output goes to standard output, everything else to standard error.
    """
    with connect(config, identity or "agent", address) as broker:
        print_items(broker.watch(call, after, events_only=events_only), output, events=True)
        found = broker.get(call)
    if output is Output.TABLE:
        show_end(found)
    raise typer.Exit(exit_of_state(state_of(found)))


@app.command(epilog=OF_OTHERS)
def cancel(
    call: CallArgument,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cancel a call, before or during its run.

    Needs the whole short id.
    """
    with connect(config, identity or "agent", address) as broker:
        found = broker.cancel(call)
    if output is Output.JSON:
        document(plain(found))
        return
    say(headline(found))
    state = state_of(found)
    if state and not state.is_final:
        note(f"  its run ends soon: toolwarrant calls watch {visible(found.short_id)}")
