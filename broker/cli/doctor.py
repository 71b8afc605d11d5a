"""`toolwarrant doctor`: find out what keeps a broker from working."""

from datetime import UTC, datetime

import typer

from broker.cli.documents import Plain
from broker.cli.exits import Exit
from broker.cli.options import ConfigOption, Output, OutputOption
from broker.cli.terminal import document, note, say
from broker.client import config_path
from broker.config import load
from broker.core.visible import visible
from broker.errors import ConfigurationError
from broker.finding import Finding, Level

_MARKS = {Level.OK: "ok  ", Level.WARN: "warn", Level.FAIL: "FAIL"}


def doctor(config: ConfigOption = None, output: OutputOption = Output.TABLE) -> None:
    """Find what keeps a broker from working.

    Looks at configuration, keys, certificates, Docker Engine, the isolation that its runtimes give,
    images, ports, policy engine.

    Exit codes: 0 nothing fails, though something may be weaker than recommended; 1 something does.
    """
    # Both policy engines and Docker's SDK: no other command should wait for them.
    from broker.diagnosis import diagnose

    path = config_path(config)
    try:
        loaded = load(path)
    except ConfigurationError as error:
        findings = [Finding(Level.FAIL, "configuration", str(error), "mend the file")]
    else:
        findings = [Finding(Level.OK, "configuration", str(loaded.file), "")]
        findings += diagnose(loaded, datetime.now(UTC))
    failed = any(finding.level is Level.FAIL for finding in findings)
    if output is Output.JSON:
        document({"healthy": not failed, "findings": [_plain(finding) for finding in findings]})
    else:
        for finding in findings:
            say(visible(f"{_MARKS[finding.level]}  {finding.subject}: {finding.said}"))
            if finding.remedy:
                say(visible(f"      -> {finding.remedy}"))
        note("something has to be mended" if failed else "ready to serve")
    raise typer.Exit(Exit.TOOL_FAILED if failed else Exit.OK)


def _plain(finding: Finding) -> dict[str, Plain]:
    return {
        "level": finding.level.value,
        "subject": finding.subject,
        "said": finding.said,
        "remedy": finding.remedy,
    }
