"""`toolwarrant files`: carry files to a session's workspace and back."""

import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

import typer

from broker.cli.documents import plain
from broker.cli.exits import OF_CALLS, Exit, exit_of_state
from broker.cli.local_file import check_free, part_of
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.phrases import details, headline
from broker.cli.terminal import document, lines, note, raw_or_escaped, table
from broker.client import Download, state_of
from broker.core.lifecycle import CallState
from broker.errors import ConfigurationError
from broker.v1 import call_pb2

app = typer.Typer(help="Carry files to a session's workspace and back.", no_args_is_help=True)

_STREAM = "-"

SessionOption = Annotated[str, typer.Option(help="Session, with its workspace.")]
PurposeOption = Annotated[str, typer.Option(help="Why: a claim that reviewers see.")]
RequestIdOption = Annotated[
    str | None, typer.Option(help="The same id again is the same call. [default: a new one]")
]
HoldWaitOption = Annotated[
    float, typer.Option(help="Seconds to wait for people where the call is held.", min=0)
]


@app.command(epilog=OF_CALLS)
def put(
    source: Annotated[str, typer.Argument(help="Local file; - reads standard input.")],
    path: Annotated[
        str, typer.Argument(help="Path in the workspace. [default: the file's own name]")
    ] = "",
    session: SessionOption = "",
    purpose: PurposeOption = "",
    request_id: RequestIdOption = None,
    hold_wait: HoldWaitOption = 0,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Upload a file: a call of workspace_write, decided like any other."""
    if source == _STREAM and not path:
        raise ConfigurationError(source, None, "has no name: say the path in the workspace")
    with connect(config, identity or "agent", address) as broker:
        try:
            call = broker.put(
                path or Path(source).name,
                sys.stdin.buffer if source == _STREAM else Path(source),
                request_id=request_id,
                session=session,
                purpose=purpose,
                hold_wait_s=hold_wait,
            )
        except OSError as error:
            raise ConfigurationError(source, None, f"cannot be read: {error.strerror}") from error
    if output is Output.JSON:
        document(plain(call))
    else:
        _tell(call)
    raise typer.Exit(exit_of_state(state_of(call)))


@app.command(epilog=OF_CALLS)
def get(
    path: Annotated[str, typer.Argument(help="Path in the workspace.")],
    target: Annotated[
        str,
        typer.Argument(
            help="Local file, or - for standard output. [default: the file's own name, here]"
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a local file.")] = False,
    session: SessionOption = "",
    purpose: PurposeOption = "",
    request_id: RequestIdOption = None,
    hold_wait: HoldWaitOption = 0,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Download a file: a call of workspace_read, decided like any other.

    A local file is never replaced unless --force says so, and appears only when it is whole. Where
    the call is held, ask again with the same --request-id once it is approved.
    """
    local = None if target == _STREAM else Path(target or PurePosixPath(path).name)
    if local is not None:
        check_free(local, force=force)
    elif output is Output.JSON:
        raise ConfigurationError(target, None, "takes the file alone: with -o json name a file")
    with connect(config, identity or "agent", address) as broker:

        def fetch(into: BinaryIO | None) -> Download:
            return broker.fetch(
                path,
                into,
                request_id=request_id,
                session=session,
                purpose=purpose,
                hold_wait_s=hold_wait,
            )

        found = fetch(None) if local is None else _fetch_into(local, force, fetch)
    if local is None:
        raw_or_escaped(sys.stdout, found.data or b"")
    _tell_download(found, local, output)
    code = exit_of_state(state_of(found.call))
    raise typer.Exit(Exit.TOOL_FAILED if code is Exit.OK and not found.has_content else code)


@app.command("list", epilog=OF_CALLS)
def list_files(
    path: Annotated[str, typer.Argument(help="Folder or file; everything when left out.")] = "",
    session: SessionOption = "",
    purpose: PurposeOption = "",
    request_id: RequestIdOption = None,
    hold_wait: HoldWaitOption = 0,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a workspace's files, by a call of workspace_list."""
    with connect(config, identity or "agent", address) as broker:
        found = broker.files(
            path,
            request_id=request_id,
            session=session,
            purpose=purpose,
            hold_wait_s=hold_wait,
        )
    code = exit_of_state(state_of(found.call))
    if output is Output.JSON:
        document({"call": plain(found.call), "files": [plain(file) for file in found.files]})
    elif code is not Exit.OK:
        _tell(found.call)
    else:
        rows = [(file.path, str(file.size_bytes), file.sha256) for file in found.files]
        table(("PATH", "BYTES", "SHA-256"), rows, empty="the workspace has no such files")
    raise typer.Exit(code)


def _fetch_into(local: Path, force: bool, fetch: Callable[[BinaryIO | None], Download]) -> Download:
    with part_of(local) as part:
        found = fetch(part.file)
        if found.has_content:
            part.keep(force=force)
    return found


def _tell_download(found: Download, local: Path | None, output: Output) -> None:
    if output is Output.JSON:
        wrote = str(local) if found.has_content else None
        document({"call": plain(found.call), "wrote": wrote, "sha256": found.sha256})
        return
    _tell(found.call)
    if state_of(found.call) is CallState.HELD:
        note(f"  then get it with --request-id {lines(found.call.request_id)}")
    elif found.has_content and local is not None:
        note(f"  wrote {lines(str(local))}  {found.size_bytes} bytes")


def _tell(call: call_pb2.Call) -> None:
    note(headline(call))
    for line in details(call):
        note(f"  {line}")
    raw_or_escaped(sys.stderr, call.result.stderr or call.result.stderr_text.encode())
