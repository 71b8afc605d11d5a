"""What an agent was given stays with it: every way around, beside its twin under no label."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.config_template import Settings
from broker.v1 import call_pb2, tool_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, fresh, rules, state
from tests.broker_process import Folder, Served
from tests.e2e.policies import compile_policy
from tests.e2e.test_live import GOES_ON, Place, start, watch
from tests.e2e.test_pool import slots, waiting
from tests.e2e.test_release import ONE_SLOT, decide, slot_taken
from tests.sandbox.pdfs import pdf, shows

_REASON = '{"rule": "probe.tainted", "message": "m", "agent_message": "a", "severity": "low"}'
# A purpose `taint:x` labels with x; `sink:x` is held once the agent has that label.
UNLABELLED = f"""package teams.probe

words := split(input.session.purpose, ":")

hold contains {_REASON} if {{
	words[0] == "sink"
	words[1] in input.session.labels
}}
"""
LABELLED = UNLABELLED + '\nlabel contains words[1] if words[0] == "taint"\n'
SAYS = {"code": "print('given')"}
LEAVES = {"code": "open('/out/given', 'w').write('given')"}

Way = Callable[[Served, Rpc, str], call_pb2.Call]


def taint(agent: Rpc, label: str, **fields: object) -> call_pb2.Call:
    """Make a call that is labelled where policy labels at all; it leaves a file."""
    call = agent.execute("python_run", LEAVES, purpose=f"taint:{label}", **fields)
    assert state(call) == "SUCCEEDED"
    return call


def sink(agent: Rpc, label: str, **fields: object) -> call_pb2.Call:
    """Make a call that is held after that label."""
    return agent.execute("python_run", SAYS, purpose=f"sink:{label}", **fields)


def checked(agent: Rpc, label: str) -> call_pb2.Effect:
    """Ask what policy would say of such a call."""
    request = tool_pb2.CheckCallRequest(
        tool="python_run", arguments_json=json.dumps(SAYS), purpose=f"sink:{label}"
    )
    return agent.tools.CheckCall(request, timeout=TIMEOUT_S).decision.effect


def same_session(_: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Go on in the session."""
    session = fresh("s")
    taint(agent, label, session_id=session)
    return sink(agent, label, session_id=session)


def new_session(_: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Begin another session."""
    taint(agent, label, session_id=fresh("s"))
    return sink(agent, label, session_id=fresh("s"))


def child_call(_: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Let the call be a child of one that was made before."""
    parent = agent.execute("python_run", SAYS, session_id=fresh("s"))
    taint(agent, label, session_id=fresh("s"), parent_call=parent.name)
    return sink(agent, label, session_id=fresh("s"), parent_call=parent.name)


def child_of_the_tainted(_: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Let the call be a child of the very one that brought the label."""
    parent = taint(agent, label, session_id=fresh("s"))
    return sink(agent, label, session_id=fresh("s"), parent_call=parent.name)


def passed_file(_: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Pass the output as a file into another session's workspace, and use it there."""
    output = f"{taint(agent, label, session_id=fresh('s')).name}/outputs/given"
    session = fresh("s")
    passed = agent.execute(
        "workspace_write", {"path": "passed", "from_output": output}, session_id=session
    )
    assert state(passed) == "SUCCEEDED"
    reads = {"code": "print(open('passed').read())"}
    return agent.execute("python_run", reads, purpose=f"sink:{label}", session_id=session)


def uploaded_again(_: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Fetch nothing from the broker: upload what was given anew, and use it in a new session."""
    taint(agent, label, session_id=fresh("s"))
    session = fresh("s")
    assert state(agent.put("passed", b"given", session_id=session)) == "SUCCEEDED"
    reads = {"code": "print(open('passed').read())"}
    return agent.execute("python_run", reads, purpose=f"sink:{label}", session_id=session)


def after_a_restart(served: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Wait for the broker's next life."""
    taint(agent, label)
    served.restart()
    return sink(Rpc.of(served), label)


def after_a_crash(served: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Read live output of a run, then lose its end: the broker is killed before it answers."""
    call = start(agent, GOES_ON, purpose=f"taint:{label}")
    place = Place()
    for message in watch(agent, place, call.name):
        place.take(message)
        if place.data["stdout"]:
            break
    served.kill()
    served.start()
    return sink(Rpc.of(served), label)


def parallel(served: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Have both calls recorded before either starts; the one that labels starts first."""
    with slot_taken(served, 3):
        first = start(agent, LEAVES["code"], purpose=f"taint:{label}", session_id=fresh("s"))
        second = start(agent, SAYS["code"], purpose=f"sink:{label}", session_id=fresh("s"))
        assert [state(first), state(second)] == ["QUEUED", "QUEUED"]
    assert state(agent.wait(first.name)) == "SUCCEEDED"
    place = Place()
    for message in watch(agent, place, second.name):
        place.take(message)
        if place.events[-1] in ("call.held", "call.succeeded"):
            break
    return agent.get(second.name)


def at_hand(served: Served, agent: Rpc, label: str) -> call_pb2.Call:
    """Have a container wait, so that the label comes with the commit that records its call."""
    sink(agent, label)
    there = waiting(served)
    taint(agent, label)
    assert slots(served)[-1] in there
    return sink(agent, label)


SHARED: list[Way] = [
    same_session,
    new_session,
    child_call,
    child_of_the_tainted,
    passed_file,
    uploaded_again,
]
OWN: dict[Way, Settings] = {
    after_a_restart: ONE_SLOT,
    after_a_crash: ONE_SLOT,
    parallel: ONE_SLOT,
    at_hand: {"pool": {"containers": 3}},
}


def named(way: Way) -> str:
    """Name a row."""
    return way.__name__


@pytest.fixture(scope="module")
def brokers(people_folder, compile_team, tmp_path_factory):
    """Two brokers whose policies differ in nothing but that one of them labels."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Served(
                    people_folder.copy(
                        tmp_path_factory.mktemp("labels") / "dev",
                        {"policy": {"bundle": str(compile_team(rego))}},
                    )
                )
            )
            for rego in (LABELLED, UNLABELLED)
        ]


class TestWashing:
    @pytest.mark.parametrize("way", SHARED, ids=named)
    def test_no_way_around(self, brokers: list[Served], way: Way):
        """Whichever way a call comes, its agent's label holds it; without the label it runs."""
        labelled, unlabelled = brokers
        held = way(labelled, Rpc.of(labelled), fresh("x"))
        assert (state(held), rules(held)) == ("HELD", ["probe.tainted"])
        assert "run.starting" not in labelled.events(held.name)
        twin = way(unlabelled, Rpc.of(unlabelled), fresh("x"))
        assert (state(twin), twin.result.stdout_text) == ("SUCCEEDED", "given\n")

    @pytest.mark.parametrize("way", OWN, ids=named)
    def test_no_time_around(self, serve_steered, way: Way):
        """Whenever a call comes, its agent's label holds it; without the label it runs."""
        labelled = serve_steered(LABELLED, OWN[way])
        held = way(labelled, Rpc.of(labelled), fresh("x"))
        assert (state(held), rules(held)) == ("HELD", ["probe.tainted"])
        assert "run.starting" not in labelled.events(held.name)
        unlabelled = serve_steered(UNLABELLED, OWN[way])
        twin = way(unlabelled, Rpc.of(unlabelled), fresh("x"))
        assert (state(twin), twin.result.stdout_text) == ("SUCCEEDED", "given\n")

    def test_others_go_on(self, brokers: list[Served]):
        """Another agent's call, or one after another label, is not held."""
        label, agent = fresh("x"), Rpc.of(brokers[0])
        taint(agent, label)
        assert state(sink(Rpc.of(brokers[0], "agent2"), label)) == "SUCCEEDED"
        assert state(sink(agent, fresh("x"))) == "SUCCEEDED"

    def test_checked_and_shown(self, brokers: list[Served]):
        """CheckCall says that it would be held, the view says why, no receipt names the label."""
        served = brokers[0]
        label, agent = fresh("x"), Rpc.of(served)
        given = taint(agent, label)
        assert checked(agent, label) == call_pb2.EFFECT_HOLD
        held = sink(agent, label)
        view = served.client("approver").hold(held.name)
        assert f'| "{label}"\n' in view.view_text
        assert label in json.loads(view.view_document)["body"]["session_labels"]
        final = decide(served, held)
        assert state(final) == "SUCCEEDED"
        assert [label in agent.get(call.name).receipt for call in (given, final)] == [False] * 2
        assert served.events(given.name).count("agent.labelled") == 1

    def test_known_from_the_start(self, brokers: list[Served]):
        """A broker that starts knows its agents' labels before the first call."""
        served, label = brokers[0], fresh("x")
        taint(Rpc.of(served), label)
        served.restart()
        assert checked(Rpc.of(served), label) == call_pb2.EFFECT_HOLD
        assert checked(Rpc.of(served, "agent2"), label) == call_pb2.EFFECT_ALLOW


# As a team would mark a tool of its own, python_run gives confidential content here.
CONFIDENTIAL = (
    'package teams.probe\n\nlabel contains "confidential" if input.tool.name == "python_run"\n'
)


class TestShipped:
    def test_both_kinds(self, people_folder: Folder, opa: str, tmp_path: Path):
        """A fetch of a listed host goes by itself until its agent has both kinds of content."""
        (tmp_path / "policy").mkdir()
        bundle = compile_policy(
            CONFIDENTIAL, tmp_path / "policy", opa, destinations=("docs.example.test:443",)
        )
        folder = people_folder.copy(tmp_path / "dev", {"policy": {"bundle": str(bundle)}})
        with Served(folder) as served:
            agent, other = Rpc.of(served), Rpc.of(served, "agent2")

            def fetch(rpc: Rpc) -> tuple[str, list[str]]:
                call = rpc.execute("http_fetch", {"url": "https://docs.example.test/"})
                return state(call), rules(call)

            # The host is nowhere: what goes by itself fails there.
            alone = ("FAILED", ["default.http_fetch"])
            held = ("HELD", ["default.may_leak"])
            assert state(agent.execute("python_run", SAYS)) == "SUCCEEDED"
            # The first fetch is itself what brings content from outside.
            assert [fetch(agent), fetch(agent)] == [alone, held]
            assert state(other.put("a.pdf", pdf(shows("given")))) == "SUCCEEDED"
            assert state(other.execute("pdf_text", {"path": "a.pdf"})) == "SUCCEEDED"
            assert state(other.execute("python_run", SAYS)) == "SUCCEEDED"
            assert fetch(other) == held
