"""`toolwarrant policy`: check, test, compile, activate, replay, explain, suggest policy."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.documents import Plain
from broker.cli.exits import OF_OTHERS, Exit
from broker.cli.options import Output, OutputOption
from broker.cli.policy_activate import activate_bundle
from broker.cli.policy_explain import explain_call
from broker.cli.policy_replay import CODES as REPLAY_CODES
from broker.cli.policy_replay import replay_decisions
from broker.cli.policy_signing import next_number, signing
from broker.cli.policy_suggest import CODES as SUGGEST_CODES
from broker.cli.policy_suggest import suggest_rules
from broker.cli.terminal import document, lines, note, say
from broker.core.bundle import MAX_NUMBER, read_bundle
from broker.core.policy_finding import PolicyFinding
from broker.core.team_modes import BY_CALL, TRIALS
from broker.core.visible import visible
from broker.errors import ConfigurationError
from broker.whole_file import replace_file

app = typer.Typer(
    help="Check, test, build, activate, replay, explain policy.", no_args_is_help=True
)

_CODES = (
    "Exit codes: 0 nothing to mend; 1 something is; 2 wrong usage, no policy folder, or no opa."
)

# A bundle is no secret; the umask says who reads it.
_FOR_ALL = 0o666

FolderArgument = Annotated[
    Path, typer.Argument(help="Folder of Rego with .manifest and capabilities.json.")
]
OpaOption = Annotated[str, typer.Option(help="The opa program, by path or by name.")]

app.command("activate", epilog=OF_OTHERS)(activate_bundle)
app.command("explain", epilog=OF_OTHERS)(explain_call)
app.command("replay", epilog=REPLAY_CODES)(replay_decisions)
app.command("suggest", epilog=SUGGEST_CODES)(suggest_rules)


@app.command(epilog=_CODES)
def check(
    folder: FolderArgument,
    opa: OpaOption = "opa",
    regal: Annotated[
        str, typer.Option(help="The linter Regal, by path or by name; left out where it is not.")
    ] = "regal",
    output: OutputOption = Output.TABLE,
) -> None:
    """Check how a policy folder is written.

    Compiles it strictly against its schemas and capabilities, checks the format, and lints it
    where Regal is installed.
    """
    from broker.adapters.policy_files import check_folder, modes_of

    linter = shutil.which(regal)
    findings = check_folder(folder, opa, linter)
    if output is Output.JSON:
        modes: dict[str, Plain] = {**modes_of(folder)}
        document({"findings": _plain(findings), "linted": linter is not None, "modes": modes})
    else:
        _tell(findings)
        if linter is None:
            note("Regal is not on PATH, so its rules were left out")
        _tell_modes(modes_of(folder))
        if not findings:
            note("nothing to mend")
    raise typer.Exit(Exit.TOOL_FAILED if findings else Exit.OK)


@app.command("test", epilog=_CODES)
def run_rego_tests(
    folder: FolderArgument,
    opa: OpaOption = "opa",
    output: OutputOption = Output.TABLE,
) -> None:
    """Run the Rego tests of a policy folder.

    They must reach 95 % of the lines of each folder of rules.
    """
    from broker.adapters.policy_files import modes_of, run_tests

    outcome = run_tests(folder, opa)
    if output is Output.JSON:
        coverage: dict[str, Plain] = {
            name: round(percent, 1) for name, percent in outcome.coverage.items()
        }
        document({"findings": _plain(outcome.findings), "coverage": coverage})
    else:
        _tell(outcome.findings)
        for name, percent in outcome.coverage.items():
            say(visible(f"{percent:5.1f} %  {name}"))
        _tell_modes(modes_of(folder))
        if not outcome.findings:
            note("every test passed")
    raise typer.Exit(Exit.TOOL_FAILED if outcome.findings else Exit.OK)


@app.command(epilog=OF_OTHERS)
def build(
    folder: FolderArgument,
    bundle: Annotated[Path, typer.Argument(help="File to write, such as policy.tar.gz.")],
    opa: OpaOption = "opa",
    sign: Annotated[
        str,
        typer.Option(
            help="The policy key, a file of mode 0600; without it the bundle is unsigned.",
            metavar="KEY",
        ),
    ] = "",
    number: Annotated[
        int,
        typer.Option(
            help="Its place in the order of a broker's bundles, above the one before; 0: the time "
            "in seconds, or one more than FILE has.",
            min=0,
            max=MAX_NUMBER,
        ),
    ] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check, test, compile and sign a policy folder into a bundle.

    `policy activate` lets it decide; so does `bundle` in [policy] of the configuration, at a
    broker's start.
    """
    from broker.adapters.policy_files import (
        build_bundle,
        check_folder,
        modes_of,
        run_tests,
    )

    # Before what takes its time: a key that cannot be used stops the build.
    signed = signing(sign)

    # Not linted: whether a bundle is built must not hang on what else is installed.
    _refuse(folder, check_folder(folder, opa, regal=None))
    _refuse(folder, run_tests(folder, opa).findings)
    archive = signed(build_bundle(folder, opa, number=number or next_number(bundle)))
    built = read_bundle(archive, str(bundle))
    try:
        # A broker that starts meanwhile reads the old bundle or the new one, never a half.
        replace_file(bundle, archive, mode=_FOR_ALL)
    except OSError as error:
        raise ConfigurationError(
            str(bundle), None, f"cannot be written: {error.strerror}; name another file"
        ) from error
    if output is Output.JSON:
        answer: dict[str, Plain] = {"bundle": str(bundle), "revision": built.revision}
        document({**answer, "number": built.number, "sha256": built.sha256, "signed": bool(sign)})
        return
    say(lines(f"{built.revision} {built.sha256}"))
    _tell_modes(modes_of(folder))
    if sign:
        note(lines(f"wrote {bundle}: `toolwarrant policy activate {bundle}` lets it decide"))
    else:
        note(lines(f"wrote {bundle}, unsigned: no broker activates it; --sign KEY signs it"))


def _refuse(folder: Path, findings: Sequence[PolicyFinding]) -> None:
    """Stop a build over what has to be mended first.

    Raises:
        ConfigurationError: There is something.
    """
    if findings:
        listed = "\n".join(map(str, findings))
        raise ConfigurationError(str(folder), None, f"no bundle was written, mend first:\n{listed}")


def _tell_modes(modes: Mapping[str, str]) -> None:
    for package, mode in modes.items():
        if mode == BY_CALL:
            note(visible(f"{package} may be on trial: its mode hangs on the call"))
        # Any other word denies every call, which `check` says: nothing of it is on trial.
        elif mode in TRIALS:
            note(visible(f"{package} is on trial: its mode is {mode}, it decides nothing then"))


def _tell(findings: Sequence[PolicyFinding]) -> None:
    for finding in findings:
        say(visible(str(finding)))


def _plain(findings: Sequence[PolicyFinding]) -> list[Plain]:
    return [
        {
            "file": finding.file,
            "line": finding.line,
            "rule": finding.rule,
            "message": finding.message,
        }
        for finding in findings
    ]
