"""`toolwarrant restore`: let a store that was put back from a backup go on."""

from pathlib import Path
from typing import Annotated

import typer

from broker.cli.options import ConfigOption, Output, OutputOption
from broker.cli.terminal import document, note, say


def restore(
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A checkpoint of the store's log that was kept elsewhere."),
    ] = None,
    old_trust_root: Annotated[
        Path | None,
        typer.Option(help="The old log's trust root, where [receipts] names one for the new log."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Though no checkpoint says that the store is an older copy."),
    ] = False,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Declare that the store is a backup that was put back, where the newer one is lost.

    Stop the broker first, put the backup in the store's place. It goes on as a new installation
    with a new log, whose first entry names the old one's last checkpoint; everything is halted
    until `resume`; calls that were open end INTERRUPTED at the next start, their approvals with
    them.
    """
    from broker.adapters.system import SystemClock
    from broker.client import config_path
    from broker.config import load
    from broker.restore import restore as run

    done = run(
        load(config_path(config)),
        checkpoint,
        force=force,
        now=SystemClock().now,
        old_trust_root=old_trust_root,
    )
    previous = done.previous
    if output is Output.JSON:
        document(
            {
                "installation": done.installation,
                "renewed": done.was_renewed,
                "previous_origin": previous.origin if previous else "",
                "previous_size": str(previous.size) if previous else "0",
                "previous_root_sha256": previous.root.hex() if previous else "",
                "old_log": str(done.kept) if done.kept else "",
            }
        )
        return
    say(f"the store goes on as installation {done.installation}, with a new log, halted")
    if previous:
        say(f"its log before is {previous.origin}, last known at {previous.size} entries")
    if done.kept:
        say(f"the files of that log are kept in {done.kept}")
    note(
        "start the broker; look at the calls that ended INTERRUPTED; then "
        "`toolwarrant resume --all`"
    )
    note("tell readers of the log, and its witnesses, the new origin (`receipts checkpoint`)")
