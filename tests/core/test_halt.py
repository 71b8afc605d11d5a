"""Which calls a halt covers."""

import pytest

from broker.core.halt import Halt, Scope, halted_by
from broker.core.ids import AgentId, HaltId, Pseudonym
from tests.ports import samples
from tests.ports.samples import AGENT, AGENT2, new_call

OWN = (AGENT, "s1", "python_run")
OTHER_SESSION = (AGENT, "s2", "python_run")
OTHER_TOOL = (AGENT, "s1", "workspace_read")
OTHER_AGENT = (AGENT2, "s1", "python_run")
CALLS = (OWN, OTHER_SESSION, OTHER_TOOL, OTHER_AGENT)
COVERED = {
    "all": (Scope(everything=True), CALLS),
    "agent": (Scope(agent=AGENT), (OWN, OTHER_SESSION, OTHER_TOOL)),
    "session": (Scope(agent=AGENT, session_id="s1"), (OWN, OTHER_TOOL)),
    "tool": (Scope(tool="python_run"), (OWN, OTHER_SESSION, OTHER_AGENT)),
}


def halt(scope: Scope, name: str = "A0000000") -> Halt:
    """Give a halt of this scope."""
    return Halt(
        id=HaltId(name),
        scope=scope,
        set_by=Pseudonym("p-1"),
        set_at=samples.START,
        reason_sha256=samples.digest("reason"),
    )


class TestCovers:
    @pytest.mark.parametrize("kind", COVERED)
    def test_each_scope(self, kind: str) -> None:
        """A scope covers exactly the calls that it names."""
        scope, wanted = COVERED[kind]
        assert scope.kind == kind
        assert tuple(call for call in CALLS if scope.covers(*call)) == wanted

    @pytest.mark.parametrize(
        ("scope", "call"),
        [
            (Scope(agent=AgentId("a")), ("aa", "s1", "t")),
            (Scope(agent=AgentId("a"), session_id="s"), ("a", "s1", "t")),
            (Scope(tool="t"), ("a", "s", "tt")),
            (Scope(tool="T"), ("a", "s", "t")),
        ],
    )
    def test_whole_names(self, scope: Scope, call: tuple[AgentId, str, str]) -> None:
        """A name that another begins with, or that differs in case, is another name."""
        assert not scope.covers(*call)

    def test_a_recorded_call(self) -> None:
        """A recorded call is found under the first halt that covers it, under no other."""
        tool, agent = halt(Scope(tool="python_run"), "A"), halt(Scope(agent=AGENT), "B")
        other = halt(Scope(agent=AGENT2), "C")
        assert halted_by([other, tool, agent], new_call(1)) == tool
        assert halted_by([other], new_call(1)) is None
        assert halted_by([], new_call(1)) is None


class TestScope:
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"everything": True, "agent": AGENT},
            {"everything": True, "tool": "t"},
            {"agent": AGENT, "tool": "t"},
            {"session_id": "s"},
            {"tool": "t", "session_id": "s"},
            {"everything": True, "session_id": "s"},
        ],
    )
    def test_names_one_thing(self, fields: dict[str, object]) -> None:
        """A scope that names nothing, or two things, is none."""
        with pytest.raises(ValueError, match="name"):
            Scope(**fields)  # type: ignore[arg-type]
