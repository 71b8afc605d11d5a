"""`toolwarrant policy replay`: say which recorded decisions another bundle would change."""

import asyncio
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from broker.cli.documents import Plain
from broker.cli.exits import Exit
from broker.cli.options import ConfigOption, Output, OutputOption
from broker.cli.terminal import document, note, say, table
from broker.client import config_path
from broker.config import load
from broker.core.bundle import Bundle
from broker.core.decision import Effect
from broker.core.replay import Change, Recorded, Replay
from broker.errors import ConfigurationError, InvalidArgument, PolicyError

if TYPE_CHECKING:
    from broker.adapters.sqlite_store import RecordedDecisions

CODES: Final = (
    "Exit codes: 0 nothing changes; 1 something does; 2 it could not be found out: wrong usage, a "
    "bundle or store that cannot be read, or no decision that is kept."
)
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# An evaluation that takes longer has no place in front of calls.
_EVALUATION_S: Final = 5.0


def replay_decisions(
    bundle: Annotated[Path, typer.Option(help="The bundle to try, as `policy build` writes it.")],
    since: Annotated[
        str, typer.Option(help="How far back: a number with m, h, d or w, such as 7d.")
    ] = "7d",
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say which recorded decisions another bundle would change.

    Reads the store of the configuration, beside a running broker or without one; writes nothing.
    Decisions that the broker made itself are left out, as are those for which policy gave none and
    those whose content was erased.
    """
    from broker.adapters.policy_files import load_bundle
    from broker.adapters.sqlite_store import recorded_decisions

    begin = datetime.now(UTC) - read_span(since)
    loaded = load_bundle(bundle)
    with recorded_decisions(load(config_path(config)).store.path, begin) as kept:
        found = asyncio.run(_replay(loaded, kept, str(bundle)))
    if not found.decisions:
        raise ConfigurationError(
            str(bundle), None, f"no decision of the last {since} is kept to replay: go further back"
        )
    if output is Output.JSON:
        document(_plain(found, loaded))
    else:
        _tell(found)
    raise typer.Exit(Exit.TOOL_FAILED if found.changes else Exit.OK)


def read_span(text: str) -> timedelta:
    """Read how far back to go.

    Raises:
        InvalidArgument: It is no number with m, h, d or w.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise InvalidArgument("--since", "give a number with m, h, d or w, such as 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


async def _replay(bundle: Bundle, kept: "RecordedDecisions", name: str) -> Replay:
    from rich.console import Console
    from rich.progress import Progress

    from broker.adapters.opa_wasm import WasmEngine
    from broker.replay import replay

    try:
        engine = WasmEngine(bundle, timeout_s=_EVALUATION_S)
    except PolicyError as error:
        raise ConfigurationError(name, None, error.message) from error
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("replaying", total=kept.count_calls())

            def by_call() -> Iterator[Recorded]:
                for decisions in kept.by_call():
                    yield from decisions
                    progress.advance(task)

            return await replay(engine, by_call())
    finally:
        await engine.close()


def _tell(found: Replay) -> None:
    effects = sum(change.was.effect is not change.would_be.effect for change in found.changes)
    say(
        f"{found.decisions:,} decisions replayed: {len(found.changes):,} would change, "
        f"{effects:,} of them in their effect"
    )
    say(f"held: {len(found.were_held):,} calls; would be held: {len(found.would_be_held):,}")
    if found.not_policys or found.failed or found.erased:
        note(
            f"left out: {found.not_policys:,} that the broker decided itself, "
            f"{found.failed:,} for which policy gave no decision, "
            f"{found.erased:,} whose content was erased"
        )
    if found.trials_differ:
        note(
            f"{found.trials_differ:,} more differ only in what packages in mode warn or shadow "
            "would have said: nothing changes by them"
        )
    _tell_trials(found)
    if not found.changes:
        return
    effects_rows = [
        (was.value, new.value, f"{n:,}") for (was, new), n in found.by_effect.most_common()
    ]
    table(("WAS", "WOULD BE", "DECISIONS"), effects_rows, empty="")
    rules = sorted({*found.no_longer, *found.newly})
    rows = [(rule, f"{found.no_longer[rule]:,}", f"{found.newly[rule]:,}") for rule in rules]
    if rows:
        table(("RULE", "NO LONGER", "NEWLY"), rows, empty="")
    table(
        ("TOOL", "DECISIONS"),
        [(name, f"{n:,}") for name, n in found.by_tool.most_common()],
        empty="",
    )
    table(
        ("AGENT", "DECISIONS"),
        [(name, f"{n:,}") for name, n in found.by_agent.most_common()],
        empty="",
    )


def _tell_trials(found: Replay) -> None:
    rows = [
        (package, now.value, then.value, f"{n:,}")
        for (package, now, then), n in sorted(found.by_trial.items(), key=_by_name)
    ]
    if rows:
        table(("ON TRIAL", "DECISION", "WOULD MAKE IT", "DECISIONS"), rows, empty="")


def _by_name(row: tuple[tuple[str, Effect, Effect], int]) -> tuple[str, str, str]:
    (package, now, then), _ = row
    return package, now.value, then.value


def _plain(found: Replay, bundle: Bundle) -> dict[str, Plain]:
    return {
        "bundle": {"revision": bundle.revision, "sha256": bundle.sha256},
        "decisions": found.decisions,
        "not_policys": found.not_policys,
        "failed": found.failed,
        "erased": found.erased,
        "holds": {"were": len(found.were_held), "would_be": len(found.would_be_held)},
        "trials_differ": found.trials_differ,
        "by_trial": [
            {"package": package, "decision": now.value, "would_make_it": then.value, "decisions": n}
            for (package, now, then), n in sorted(found.by_trial.items(), key=_by_name)
        ],
        "by_effect": [
            {"was": was.value, "would_be": new.value, "decisions": count}
            for (was, new), count in found.by_effect.most_common()
        ],
        "by_rule": [
            {"rule": rule, "no_longer": found.no_longer[rule], "newly": found.newly[rule]}
            for rule in sorted({*found.no_longer, *found.newly})
        ],
        "by_tool": _counts(found.by_tool),
        "by_agent": _counts(found.by_agent),
        "changes": [_change(change) for change in found.changes],
    }


def _counts(counts: Mapping[str, int]) -> dict[str, Plain]:
    return dict(counts)


def _change(change: Change) -> dict[str, Plain]:
    return {
        "call": f"calls/{change.call}",
        "tool": change.tool,
        "agent": change.agent,
        "was": change.was.effect.value,
        "would_be": change.would_be.effect.value,
        "rules_were": list(change.was.rules),
        "rules_would_be": list(change.would_be.rules),
    }
