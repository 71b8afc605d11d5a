"""How a run's cause is judged from outside."""

from pathlib import Path

import pytest

from broker.adapters.docker_engine.cgroup import Cgroup, Spent
from broker.adapters.docker_engine.ending import Exit, Stop, is_alone, judge, tells_exit
from broker.core.call import Cause
from broker.core.frames import KEY_BYTES, EndWord

KEY = bytes(KEY_BYTES)
LEFT_0 = EndWord(signalled=False, number=0, key=KEY)
LEFT_137 = EndWord(signalled=False, number=137, key=KEY)
KILLED = EndWord(signalled=True, number=9, key=KEY)
OOM = Spent(oom_kills=1)
CALM = Spent(oom_kills=0, refused_forks=0)


def exited(code: int, *, oom_killed: bool = False, by_us: bool = False) -> Exit:
    """Make the Engine's word."""
    return Exit(code=code, oom_killed=oom_killed, by_us=by_us)


class TestLastWord:
    """When a launcher's word stands without the Engine's."""

    @pytest.mark.parametrize(
        ("word", "spent", "stands"),
        [
            (LEFT_0, Spent(oom_kills=0, tasks=1), True),
            (LEFT_137, Spent(oom_kills=3, tasks=25), True),
            (KILLED, Spent(oom_kills=0, tasks=1), False),
            (LEFT_0, Spent(tasks=1), False),
            (LEFT_0, Spent(oom_kills=0), False),
            (LEFT_0, Spent(), False),
        ],
    )
    def test_tells_an_exit(self, word: EndWord, spent: Spent, stands: bool) -> None:
        """An exit, no signal, and a kernel that counts what memory killed."""
        assert tells_exit(word, spent) is stands

    @pytest.mark.parametrize(("tasks", "alone"), [(1, True), (0, False), (2, False), (None, False)])
    def test_at_once_where_nobody_else_is_there(self, tasks: int | None, alone: bool) -> None:
        """The kernel counts one task in the cgroup, the launcher itself; a guess is no count."""
        assert is_alone(Spent(oom_kills=0, tasks=tasks)) is alone


class TestEmpty:
    """When the kernel says that nobody is left in a cgroup."""

    @pytest.mark.parametrize("controller", ["pids", "unified"])
    @pytest.mark.parametrize(("count", "empty"), [("0", True), ("1", False), ("max", False)])
    def test_where_none_is_counted(
        self, tmp_path: Path, controller: str, count: str, empty: bool
    ) -> None:
        """None in it, in either kind of hierarchy; what is no number counts nobody out."""
        (tmp_path / "pids.current").write_text(f"{count}\n")
        assert Cgroup(folders={controller: tmp_path}).is_empty() is empty

    def test_where_it_was_removed(self, tmp_path: Path) -> None:
        """Only an empty one can be removed."""
        assert Cgroup(folders={"pids": tmp_path / "gone"}).is_empty()

    def test_not_where_it_says_nothing(self, tmp_path: Path) -> None:
        """One without a count, or that was never visible from here, may have anybody in it."""
        assert not Cgroup(folders={"pids": tmp_path}).is_empty()
        assert not Cgroup(folders={}).is_empty()


class TestJudge:
    """Every way in which a run ends."""

    @pytest.mark.parametrize(
        ("stop", "word", "state", "spent", "cause"),
        [
            (Stop.ENDED, LEFT_0, exited(0), CALM, Cause.EXITED),
            (Stop.ENDED, LEFT_0, exited(0), OOM, Cause.EXITED),
            (Stop.ENDED, KILLED, exited(137), CALM, Cause.SIGNALLED),
            (Stop.ENDED, KILLED, exited(137), OOM, Cause.MEMORY),
            (Stop.ENDED, KILLED, exited(137, oom_killed=True), Spent(), Cause.MEMORY),
            (Stop.ENDED, LEFT_137, exited(137), OOM, Cause.EXITED),
            (Stop.ENDED, LEFT_0, exited(1), CALM, Cause.SIGNALLED),
            (Stop.ENDED, LEFT_0, exited(137, by_us=True), CALM, Cause.SIGNALLED),
            (Stop.ENDED, LEFT_0, None, CALM, Cause.ENGINE_LOST),
            (Stop.TIMEOUT, None, exited(137, by_us=True), OOM, Cause.TIMEOUT),
            (Stop.TIMEOUT, None, None, CALM, Cause.ENGINE_LOST),
            (Stop.OVER_CAP, None, exited(137, by_us=True), CALM, Cause.OUTPUT_CAP),
            (Stop.KILLED, None, exited(137, by_us=True), CALM, Cause.HALTED),
            (Stop.KILLED, None, None, CALM, Cause.ENGINE_LOST),
            (Stop.BROKEN, None, exited(137, by_us=True), OOM, Cause.SIGNALLED),
            (Stop.SILENT, None, exited(137, oom_killed=True), Spent(), Cause.MEMORY),
            (Stop.SILENT, None, exited(137), Spent(), Cause.SIGNALLED),
            (Stop.SILENT, None, exited(0), Spent(), Cause.SIGNALLED),
            (Stop.SILENT, None, exited(137, by_us=True), Spent(), Cause.ENGINE_LOST),
            (Stop.SILENT, None, None, Spent(), Cause.ENGINE_LOST),
        ],
    )
    def test_names_the_cause(
        self, stop: Stop, word: EndWord | None, state: Exit | None, spent: Spent, cause: Cause
    ) -> None:
        """The cause follows from the stop, the Engine's word, the cgroup."""
        ending = judge(
            stop,
            asked=Cause.HALTED,
            has_begun=True,
            word=word,
            exit_state=state,
            spent=spent,
            files_capped=False,
            last_words="",
        )
        assert ending.cause is cause

    @pytest.mark.parametrize(
        ("state", "cause"),
        [
            (exited(137), Cause.ENGINE_LOST),
            (exited(1), Cause.ENGINE_LOST),
            (exited(137, by_us=True), Cause.ENGINE_LOST),
            (exited(137, oom_killed=True), Cause.MEMORY),
        ],
    )
    def test_blames_no_tool_that_may_not_have_begun(self, state: Exit, cause: Cause) -> None:
        """A sandbox that ended before the launcher's word is in doubt, unless memory killed it."""
        ending = judge(
            Stop.SILENT,
            asked=Cause.HALTED,
            has_begun=False,
            word=None,
            exit_state=state,
            spent=Spent(),
            files_capped=False,
            last_words="",
        )
        assert ending.cause is cause

    def test_names_every_limit(self) -> None:
        """Limits that struck are listed, sorted, whatever the cause."""
        ending = judge(
            Stop.OVER_CAP,
            asked=Cause.HALTED,
            has_begun=True,
            word=None,
            exit_state=exited(137, by_us=True),
            spent=Spent(oom_kills=2, refused_forks=3),
            files_capped=True,
            last_words="",
        )
        assert ending.limits_hit == ("files", "memory", "output", "pids")

    def test_quotes_the_launchers_last_words(self) -> None:
        """Where the launcher failed, its traceback's end stands in the note."""
        ending = judge(
            Stop.SILENT,
            asked=Cause.HALTED,
            has_begun=True,
            word=None,
            exit_state=exited(1),
            spent=Spent(),
            files_capped=False,
            last_words="MemoryError",
        )
        assert ending.notes == ("the launcher ended early with code 1: MemoryError",)
