"""Judge from outside how a run ended."""

from dataclasses import dataclass
from enum import Enum

from broker.adapters.docker_engine.cgroup import Spent
from broker.core.call import Cause
from broker.core.frames import EndWord

_KILLED = 128 + 9


class Stop(Enum):
    """What made the broker stop listening to a launcher."""

    ENDED = "ended"
    """It said its last word."""
    OVER_CAP = "over_cap"
    """The tool wrote more than it may."""
    BROKEN = "broken"
    """It sent what no launcher sends."""
    SILENT = "silent"
    """The stream ended before the last word."""
    TIMEOUT = "timeout"
    """The tool's time was over."""
    KILLED = "killed"
    """Somebody asked for the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How everything in a container came to be dead.

    Args:
        by_us: The broker killed it, so that the exit code says nothing of the tool.
        source: Who says so: the `engine`, of a container that is not running any more, or its
            `launcher` (see `tells_exit`).
    """

    code: int
    oom_killed: bool
    by_us: bool
    source: str = "engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The cause with who says so, and the plain words that belong to it."""

    cause: Cause
    source: str
    limits_hit: tuple[str, ...]
    notes: tuple[str, ...]


def tells_exit(word: EndWord, spent: Spent) -> bool:
    """Tell whether a launcher's last word stands, once the kernel says that all else is dead.

    It tells an exit, and has the job's key, which nothing else in the container ever had (`Harvest`
    saw to that); the kernel counted what memory killed, so the Engine would know nothing more. It
    counted who is there, too: of a cgroup that was never seen, "gone" would say nothing.
    """
    return not word.signalled and None not in (spent.oom_kills, spent.tasks)


def is_alone(spent: Spent) -> bool:
    """Tell whether the kernel counts nobody but the launcher in the container's cgroup.

    Never so in gVisor: the sentry's threads are in it, and the tool's processes its alone to know.
    """
    return spent.tasks == 1


def judge(
    stop: Stop,
    *,
    asked: Cause,
    has_begun: bool,
    word: EndWord | None,
    exit_state: Exit | None,
    spent: Spent,
    files_capped: bool,
    last_words: str,
) -> Ending:
    """Name the cause of a run's end.

    The launcher's word tells an exit from a signal, where the exit code agrees.

    Args:
        asked: The cause that came with a kill; for any other stop it is not looked at.
        has_begun: Whether the launcher said that the tool gets its job now.
        exit_state: None where the Engine cannot say that everything is dead.
    """
    limits = _limits(spent, exit_state, files_capped)
    cause, source, note = _cause(stop, asked, has_begun, word, exit_state, "memory" in limits)
    if cause is Cause.MEMORY:
        # Where the cgroup was gone, or out of sight, the Engine alone has counted.
        source = "cgroup" if spent.oom_kills else "engine"
    if cause is Cause.OUTPUT_CAP:
        limits.add("output")
    if note and last_words:
        note = f"{note}: {last_words[-500:]}"
    return Ending(
        cause=cause,
        source=source,
        limits_hit=tuple(sorted(limits)),
        notes=(note,) if note else (),
    )


def _cause(
    stop: Stop,
    asked: Cause,
    has_begun: bool,
    word: EndWord | None,
    exit_state: Exit | None,
    oom: bool,
) -> tuple[Cause, str, str]:
    if exit_state is None:
        return Cause.ENGINE_LOST, "broker", "the Docker Engine did not confirm the end"
    match stop:
        case Stop.TIMEOUT:
            return Cause.TIMEOUT, "broker", ""
        case Stop.OVER_CAP:
            return Cause.OUTPUT_CAP, "broker", ""
        case Stop.KILLED:
            return asked, "broker", ""
        case Stop.BROKEN:
            return Cause.SIGNALLED, "broker", "launcher protocol broken"
        case Stop.SILENT:
            return _of_silence(has_begun, exit_state, oom)
        case Stop.ENDED:
            return _of_word(word, exit_state, oom)


def _of_silence(has_begun: bool, exit_state: Exit, oom: bool) -> tuple[Cause, str, str]:
    if exit_state.by_us:
        return Cause.ENGINE_LOST, "broker", "the stream to the sandbox broke"
    if oom and exit_state.code == _KILLED:
        return Cause.MEMORY, "engine", ""
    if not has_begun:
        # It may have said so all the same: what was on its way when it died can be lost.
        note = f"the sandbox ended with code {exit_state.code}, its tool begun or not"
        return Cause.ENGINE_LOST, "broker", note
    return Cause.SIGNALLED, "engine", f"the launcher ended early with code {exit_state.code}"


def _of_word(word: EndWord | None, exit_state: Exit, oom: bool) -> tuple[Cause, str, str]:
    if word is None or exit_state.by_us or word.exit_code != exit_state.code:
        return Cause.SIGNALLED, exit_state.source, f"the launcher left with code {exit_state.code}"
    if word.signalled:
        # A child's OOM kill ends nothing: the tool's own process must have died of SIGKILL.
        memory = oom and exit_state.code == _KILLED
        return (Cause.MEMORY if memory else Cause.SIGNALLED), exit_state.source, ""
    return Cause.EXITED, exit_state.source, ""


def _limits(spent: Spent, exit_state: Exit | None, files_capped: bool) -> set[str]:
    limits = set()
    if spent.oom_kills or (exit_state is not None and exit_state.oom_killed):
        limits.add("memory")
    if spent.refused_forks:
        limits.add("pids")
    if files_capped:
        limits.add("files")
    return limits
