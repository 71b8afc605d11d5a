"""Report a run's end, each fact with who says so."""

from broker.adapters.docker_engine.cgroup import Spent
from broker.adapters.docker_engine.ending import Ending, Exit
from broker.core.call import Usage
from broker.core.collect import Harvest
from broker.core.egress import EgressReport
from broker.core.sandbox import Report

_COUNTED = ("cpu_ms", "max_memory_bytes", "max_pids")


def report_of(
    harvest: Harvest,
    ending: Ending,
    exit_state: Exit | None,
    spent: Spent,
    *,
    wall_ms: int,
    secrets: tuple[str, ...],
    egress: EgressReport | None,
) -> Report:
    """Put together what the tool's own word, the kernel, the Engine and the broker say of a run.

    Args:
        exit_state: None where the Engine cannot say that everything is dead.
        wall_ms: From the first byte of the job until nothing could go out any more.
        secrets: Names of those that were sent.
        egress: None where the container had no sockets.
    """
    return Report(
        cause=ending.cause,
        exit_code=None if exit_state is None else exit_state.code,
        stdout=harvest.stdout,
        stderr=harvest.stderr,
        outputs=harvest.outputs,
        changes=harvest.changes,
        limits_hit=ending.limits_hit,
        notes=ending.notes + harvest.notes,
        usage=Usage(
            wall_ms=wall_ms,
            cpu_ms=spent.cpu_ms,
            max_memory_bytes=spent.max_memory_bytes,
            max_pids=spent.max_pids,
            files_bytes=harvest.files_bytes,
        ),
        sources=tuple(sorted(_sources(ending, exit_state, spent, egress).items())),
        secrets=secrets,
        redactions=harvest.redactions,
        egress=egress,
    )


def _sources(
    ending: Ending, exit_state: Exit | None, spent: Spent, egress: EgressReport | None
) -> dict[str, str]:
    sources = {
        "cause": ending.source,
        "changes": "tool",
        "exit_code": "nobody" if exit_state is None else exit_state.source,
        "limits_hit": "engine" if spent.oom_kills is None else spent.source,
        "notes": "tool",
        "outputs": "tool",
        "redactions": "broker",
        "secrets": "broker",
        "stderr": "tool",
        "stderr.size_bytes": "broker",
        "stdout": "tool",
        "stdout.size_bytes": "broker",
        "usage.files_bytes": "broker",
        "usage.wall_ms": "broker",
    }
    if spent != Spent():
        sources["usage"] = spent.source
    # What was not read says so: a zero, or another's source, would be a claim.
    sources |= {f"usage.{name}": "nobody" for name in _COUNTED if getattr(spent, name) is None}
    if "memory" in ending.limits_hit and not spent.oom_kills:
        sources["limits_hit.memory"] = "engine"
    if "files" in ending.limits_hit:
        sources["limits_hit.files"] = "tool"
    if "output" in ending.limits_hit:
        sources["limits_hit.output"] = "broker"
    if egress is not None:
        sources["egress"] = "broker"
    return sources
