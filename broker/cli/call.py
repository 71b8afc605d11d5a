"""`toolwarrant call`: call a tool."""

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import grpc
import typer

from broker.cli.arguments import HELP, read_arguments
from broker.cli.documents import plain
from broker.cli.exits import OF_CALLS, exit_of_state
from broker.cli.live import print_items
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.phrases import details, headline
from broker.cli.terminal import document, document_line, note, raw_or_escaped
from broker.client import Client, ClientError, state_of
from broker.core.lifecycle import CallState
from broker.core.visible import visible
from broker.v1 import call_pb2

EPILOG = OF_CALLS
_IN_DOUBT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_GOES_ON = frozenset({CallState.QUEUED, CallState.RUNNING})


def call(
    tool: Annotated[str, typer.Argument(help="Name of the tool, or name@version.")],
    arguments: Annotated[list[str] | None, typer.Argument(help=HELP)] = None,
    session: Annotated[str, typer.Option(help="Session, with its workspace.")] = "",
    purpose: Annotated[str, typer.Option(help="Why: a claim that reviewers see.")] = "",
    request_id: Annotated[
        str | None, typer.Option(help="The same id again is the same call. [default: a new one]")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that the tool may run.", min=0.001)
    ] = None,
    hold_wait: Annotated[
        float, typer.Option(help="Seconds to wait for people where the call is held.", min=0)
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what the tool writes while it runs.")
    ] = False,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Call a tool; print its output, then what became of the call.

    The tool's standard output goes to standard output, everything else to standard error. With
    --follow and -o json: each piece of output is a JSON document on a line, the call the last one.
    """
    text = read_arguments(arguments or [], sys.stdin.read)
    request_id = request_id or uuid.uuid4().hex
    with connect(config, identity or "agent", address) as broker:
        with _doubts_told(request_id):
            answer = broker.call(
                tool,
                text,
                request_id=request_id,
                session=session,
                purpose=purpose,
                timeout_s=timeout,
                hold_wait_s=hold_wait,
                no_wait=follow,
            )
        was_printed = follow and state_of(answer) in _GOES_ON
        if was_printed:
            answer = _followed(broker, answer, output)
    if output is Output.JSON:
        (document_line if follow else document)(plain(answer))
    elif was_printed:
        show_end(answer)
    else:
        show(answer)
    raise typer.Exit(exit_of_state(state_of(answer)))


@contextmanager
def _doubts_told(request_id: str) -> Iterator[None]:
    """Say how to find a call that may be recorded though no answer came."""
    try:
        yield
    except KeyboardInterrupt:
        note("gave up waiting; a call that was recorded goes on: toolwarrant calls list")
        raise
    except ClientError as error:
        if error.code in _IN_DOUBT:
            note(
                "the call may have been recorded: repeat it with --request-id "
                f"{visible(request_id)}, which finds it instead of calling twice"
            )
        raise


def _followed(broker: Client, answer: call_pb2.Call, output: Output) -> call_pb2.Call:
    """Print what the tool writes until the call is final; say how to go on where that breaks."""
    try:
        print_items(broker.watch(answer.name), output, events=False)
        return broker.get(answer.name)
    except KeyboardInterrupt:
        note(f"the call goes on: toolwarrant calls watch {visible(answer.short_id)}")
        raise
    except ClientError:
        note(f"what became of the call: toolwarrant calls show {visible(answer.short_id)}")
        raise


def show(answer: call_pb2.Call) -> None:
    """Print the tool's output with what became of the call, for people."""
    result = answer.result
    raw_or_escaped(sys.stdout, result.stdout or result.stdout_text.encode())
    raw_or_escaped(sys.stderr, result.stderr or result.stderr_text.encode())
    show_end(answer)


def show_end(answer: call_pb2.Call) -> None:
    """Say what became of the call, where its output was printed before."""
    note(headline(answer))
    for line in details(answer):
        note(f"  {line}")
