"""`toolwarrant policy suggest`: draft the rules that recorded calls lacked."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from broker.cli.documents import Plain
from broker.cli.exits import Exit
from broker.cli.local_file import check_free, part_of
from broker.cli.options import ConfigOption, Output, OutputOption
from broker.cli.policy_replay import read_span
from broker.cli.terminal import document, indented, lines, note, say
from broker.client import config_path
from broker.config import load
from broker.core.observed import Observations
from broker.core.rego_draft import Draft, draft
from broker.errors import InvalidArgument

CODES: Final = (
    "Exit codes: 0 rules were drafted; 1 no recorded call wants one; 2 it could not be found out: "
    "wrong usage, or a store that cannot be read."
)
_TEAM: Final = re.compile(r"[a-z_][a-z0-9_]{0,63}")


def suggest_rules(
    team: Annotated[
        str,
        typer.Option(
            help="The package to draft for; while it is on trial, what it does not allow."
        ),
    ] = "suggested",
    agent: Annotated[str, typer.Option(help="Only of calls of this agent, by its whole id.")] = "",
    since: Annotated[
        str, typer.Option(help="How far back: a number with m, h, d or w, such as 7d.")
    ] = "7d",
    into: Annotated[
        Path | None,
        typer.Option(help="A policy folder: both files are written to its teams/TEAM."),
    ] = None,
    opa: Annotated[str, typer.Option(help="The opa program, which formats the draft.")] = "opa",
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Draft the narrowest rules for calls that no rule allowed.

    Reads the store of the configuration, beside a running broker or without one. The draft is text
    to review: Rego, with its tests. Of what a deny refused nothing is drafted.
    """
    from broker.adapters.policy_files import formatted
    from broker.adapters.sqlite_store import recorded_decisions

    if _TEAM.fullmatch(team) is None:
        raise InvalidArgument("--team", "give a name of a-z, 0-9 and `_` that begins with a letter")
    found, begin = Observations(), datetime.now(UTC) - read_span(since)
    with recorded_decisions(load(config_path(config)).store.path, begin) as kept:
        for decisions in kept.by_call():
            for decision in decisions:
                if agent in ("", decision.agent):
                    found.add(decision, team)
    made = draft(team, list(found.wanting.values()))
    texts = {
        "suggested.rego": formatted(made.rules, opa),
        "suggested_test.rego": formatted(made.tests, opa),
    }
    if into is not None and made.drafted:
        _write(into / "teams" / team, texts)
    if output is Output.JSON:
        document(_plain(found, made, texts))
    else:
        _tell(found, made, {} if into is not None else texts)
    raise typer.Exit(Exit.OK if made.drafted else Exit.TOOL_FAILED)


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name in texts:
        check_free(folder / name, force=False, instead="move it away, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with part_of(folder / name) as part:
            part.file.write(text.encode())
            part.keep(force=False)
        note(lines(f"wrote {folder / name}"))


def _tell(found: Observations, made: Draft, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        if made.drafted:
            say(f"# teams/{made.team}/{name}\n{indented(text)}")
    note(
        f"{made.drafted:,} calls want an allow; left out: {found.allowed:,} that some rule allows, "
        f"{found.refused:,} that a deny refused, {made.unclear:,} whose arguments are not "
        f"understood, {found.not_policys:,} that policy did not decide, {found.erased:,} whose "
        "content was erased"
    )


def _plain(found: Observations, made: Draft, texts: dict[str, str]) -> dict[str, Plain]:
    files: dict[str, Plain] = {f"teams/{made.team}/{name}": text for name, text in texts.items()}
    return {
        "calls": made.drafted,
        "allowed": found.allowed,
        "refused": found.refused,
        "unclear": made.unclear,
        "not_policys": found.not_policys,
        "erased": found.erased,
        "files": files if made.drafted else {},
    }
