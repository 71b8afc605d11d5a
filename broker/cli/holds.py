"""`toolwarrant holds`: decide held calls."""

from typing import Annotated

import typer

from broker.cli.calls import CallArgument
from broker.cli.documents import plain, time_text
from broker.cli.exits import OF_OTHERS, Exit
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.phrases import details, headline, state_word
from broker.cli.terminal import document, document_line, escaped_once, note, say, table
from broker.client import Client, state_of
from broker.core.lifecycle import CallState
from broker.v1 import approval_pb2, call_pb2

app = typer.Typer(help="Decide held calls.", no_args_is_help=True)

_APPROVER = "approver"

FilterOption = Annotated[
    list[str] | None, typer.Option(help="tool=NAME or agent=ID; again for another term.")
]
ReasonOption = Annotated[
    str, typer.Option("--reason", "-r", help="Why; kept with the record, not shown to the agent.")
]
ViewOption = Annotated[
    str,
    typer.Option(help="Digest of the view that you judged. [default: of the view shown now]"),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list", epilog=OF_OTHERS)
def list_holds(
    filter: FilterOption = None,  # noqa: A002 - the name of the API's field
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List open holds that you may decide, oldest first."""
    with connect(config, identity or _APPROVER, address) as broker:
        found = broker.holds(" ".join(filter or ()))
    if output is Output.JSON:
        document({"holds": [plain(call) for call in found]})
        return
    headings = ("CALL", "TOOL", "AGENT", "NEEDS", "SO FAR", "DECIDE BY")
    table(headings, [_row(call) for call in found], empty="nothing is held for you")


@app.command(epilog=OF_OTHERS)
def watch(
    filter: FilterOption = None,  # noqa: A002 - the name of the API's field
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Follow open holds.

    First those there are, then each as it opens, changes or closes.
    """
    with connect(config, identity or _APPROVER, address) as broker:
        for call in broker.watch_holds(" ".join(filter or ())):
            if output is Output.JSON:
                document_line(plain(call))
            else:
                say(f"{headline(call)}  {call.agent}")


@app.command(epilog=OF_OTHERS)
def show(
    call: CallArgument,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a hold as it has to be judged.

    The digest below it is what a vote must name.
    """
    with connect(config, identity or _APPROVER, address) as broker:
        found = broker.hold(call)
    if output is Output.JSON:
        document(plain(found))
        return
    if not _is_open(found):
        note(f"decided already: {headline(found.call)}; what was shown:")
    say(escaped_once(found.view_text))
    note(f"view {found.view_sha256}")
    if _is_open(found):
        note(f"decide: toolwarrant holds approve|reject {found.call.short_id}")


@app.command(epilog=OF_OTHERS)
def approve(
    call: CallArgument,
    reason: ReasonOption = "",
    view_sha256: ViewOption = "",
    yes: YesOption = False,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what is held, ask, then approve exactly that.

    Needs the whole short id.
    """
    with connect(config, identity or _APPROVER, address) as broker:
        view = view_sha256 or _judged(broker, call, "Approve exactly this?", yes, output)
        _answer(broker.approve(call, view, reason), output)


@app.command(epilog=OF_OTHERS)
def reject(
    call: CallArgument,
    reason: ReasonOption = "",
    view_sha256: ViewOption = "",
    yes: YesOption = False,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what is held, ask, then reject it for good.

    One rejection is final. Needs the whole short id.
    """
    with connect(config, identity or _APPROVER, address) as broker:
        view = view_sha256 or _judged(broker, call, "Reject this for good?", yes, output)
        _answer(broker.reject(call, view, reason), output)


def _judged(broker: Client, call: str, question: str, yes: bool, output: Output) -> str:
    """Show a hold and ask about it; give the digest of just what was shown."""
    hold = broker.hold(call)
    if hold.call.halted or not _is_open(hold):
        # The broker refuses the vote, and says why: nothing is to be judged.
        return hold.view_sha256
    # Standard output belongs to the answer where a program reads it.
    (say if output is Output.TABLE else note)(escaped_once(hold.view_text))
    if not yes and not typer.confirm(question, default=False, err=True):
        note("nothing was decided")
        raise typer.Exit(Exit.TOOL_FAILED)
    return hold.view_sha256


def _is_open(hold: approval_pb2.GetHoldResponse) -> bool:
    return state_of(hold.call) is CallState.HELD


def _answer(call: call_pb2.Call, output: Output) -> None:
    if output is Output.JSON:
        document(plain(call))
        return
    say(headline(call))
    for line in details(call):
        note(f"  {line}")


def _row(call: call_pb2.Call) -> tuple[str, ...]:
    needs = ", ".join(
        f"{need.count} {need.group or 'any approver'}" for need in call.hold.requirements
    )
    until = time_text(call.hold.decide_by) if call.hold.HasField("decide_by") else state_word(call)
    return (call.short_id, call.tool, call.agent, needs, str(call.hold.approvals), until)
