"""Run the command line."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from broker.cli import (
    audit,
    call,
    calls,
    doctor,
    drain,
    files,
    halts,
    holds,
    init,
    keys,
    policy,
    receipts,
    restore,
    serve,
    tools,
    trust_root,
    version,
)
from broker.cli.exits import OF_OTHERS, Exit, exit_of_error
from broker.cli.options import ADDRESS_VARIABLE, AS_VARIABLE, OUTPUT_VARIABLE, Output
from broker.cli.terminal import lines, note
from broker.client import CONFIG_VARIABLE, ClientError
from broker.errors import (
    BrokerError,
    FailedPrecondition,
    KeyRefused,
    LogForked,
    StoreUnavailable,
    TokenUnavailable,
)

# What operators look up by its reason: a broker's answer, and why one does not start.
_NAMED = (
    *(ClientError, FailedPrecondition, KeyRefused),
    *(LogForked, StoreUnavailable, TokenUnavailable),
)

app = typer.Typer(
    help="The broker between AI agents and their tools: no tool runs without a warrant.",
    epilog=OF_OTHERS,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(epilog=OF_OTHERS)(init.init)
app.command(epilog=OF_OTHERS)(serve.serve)
app.command(epilog=OF_OTHERS)(restore.restore)
app.command()(doctor.doctor)
app.command(epilog=call.EPILOG)(call.call)
app.add_typer(calls.app, name="calls")
app.add_typer(files.app, name="files")
app.add_typer(tools.app, name="tools")
app.add_typer(holds.app, name="holds")
app.add_typer(policy.app, name="policy")
app.add_typer(receipts.app, name="receipts")
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys")
app.add_typer(trust_root.app, name="trust-root")
app.command(epilog=OF_OTHERS)(halts.halt)
app.command(epilog=OF_OTHERS)(halts.resume)
app.command("halts", epilog=OF_OTHERS)(halts.list_halts)
app.command(epilog=OF_OTHERS)(drain.drain)
app.command(epilog=OF_OTHERS)(version.version)


@app.callback()
def shared(
    config: Annotated[Path | None, typer.Option("--config", "-c", hidden=True)] = None,
    identity: Annotated[str | None, typer.Option("--as", hidden=True)] = None,
    address: Annotated[str | None, typer.Option("--address", hidden=True)] = None,
    output: Annotated[Output | None, typer.Option("--output", "-o", hidden=True)] = None,
) -> None:
    """The broker between AI agents and their tools: no tool runs without a warrant."""
    # Written before the command's name they mean the same as after it: each command reads these.
    given = {
        CONFIG_VARIABLE: config and str(config),
        AS_VARIABLE: identity,
        ADDRESS_VARIABLE: address,
        OUTPUT_VARIABLE: output and output.value,
    }
    os.environ.update({name: value for name, value in given.items() if value})


def main() -> None:
    """Run what the command line asks for; end with the code that says how it went."""
    try:
        app()
    except BrokerError as error:
        reason = f" [{error.reason}]" if isinstance(error, _NAMED) else ""
        note(f"error: {lines(str(error) + reason)}")
        sys.exit(exit_of_error(error))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)
    except Exception as error:  # the program's edge: people get a line, never a traceback
        if os.environ.get("TOOLWARRANT_DEBUG"):
            raise
        kind = type(error).__name__
        note(f"error: {lines(f'{kind}: {error}')} (TOOLWARRANT_DEBUG=1 shows where)")
        sys.exit(Exit.TOOL_FAILED)
