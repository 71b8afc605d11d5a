"""A broker whose OPA is killed, slowed, or made to answer what is no decision."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from broker.adapters.policy_files import load_bundle
from broker.v1 import admin_pb2, call_pb2, execution_pb2, tool_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, fresh, rules, state, wish
from tests.broker_process import Folder, Served
from tests.e2e.conftest import Compile
from tests.e2e.relay import Relay, answered
from tests.e2e.test_labels import LABELLED, SAYS, SHARED, Way, named, sink, taint
from tests.policy.real_opa import Authority, RealOpa

# Long enough for a busy machine's sound answers, short enough to wait for what never comes.
DEADLINE_S = 2.0
RUNAWAY = """
deny contains {"rule": "probe.runaway", "message": "m", "severity": "low"} if {
	words[0] == "runaway"
	some i in numbers.range(1, 20000)
	some j in numbers.range(1, 20000)
	i * j == -1
}
"""
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def bundle(compile_team: Compile) -> Path:
    """The shipped policy with labels and a runaway, by the purpose of a call."""
    return compile_team(LABELLED + RUNAWAY)


def fault(served: Served) -> str:
    """Ask the broker why it decides nothing."""
    request = admin_pb2.GetServerInfoRequest()
    return Rpc.of(served).admin.GetServerInfo(request, timeout=TIMEOUT_S).policy_fault


def denied(call: call_pb2.Call) -> list[str]:
    """Name the rules of a call that was denied, having run nothing."""
    assert state(call) == "DENIED", call
    assert call.receipt
    assert not call.HasField("result")
    return rules(call)


def sound(agent: Rpc) -> bool:
    """Tell whether policy decides: without a fault, this call would be allowed."""
    request = tool_pb2.CheckCallRequest(tool="python_run", arguments_json=json.dumps(SAYS))
    effect = agent.tools.CheckCall(request, timeout=TIMEOUT_S).decision.effect
    return bool(effect == call_pb2.EFFECT_ALLOW)


class Setting:
    """A broker at an OPA server of its own, over TLS both ways."""

    def __init__(self, served: Served, server: RealOpa, bundle: Path) -> None:
        self.served = served
        self.server = server
        self.bundle = load_bundle(bundle)
        self.agent = Rpc.of(served)


@pytest.fixture(scope="module")
def setting(
    people_folder: Folder, bundle: Path, opa: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setting]:
    """One broker that the tests of processes share; each leaves a sound server behind."""
    place = tmp_path_factory.mktemp("external")
    authority = Authority(place / "pki")
    ours, broker = authority.server("opa"), authority.client("broker")
    demands = ["--authentication", "tls", "--tls-ca-cert-file", str(authority.file)]
    with RealOpa(opa, load_bundle(bundle), place / "opa", [*ours.tls, *demands]) as server:
        folder = people_folder.copy(
            place / "dev",
            {
                "policy": {
                    "engine": "opa",
                    "bundle": str(bundle),
                    "opa_url": f"https://127.0.0.1:{server.port}",
                    "opa_ca_file": str(authority.file),
                    "opa_certificate": str(broker.certificate),
                    "opa_private_key": str(broker.private_key),
                    "timeout_s": DEADLINE_S,
                }
            },
        )
        with Served(folder) as served:
            yield Setting(served, server, bundle)


class TestProcess:
    """A real OPA server whose process does not do well; a row each."""

    def test_killed_and_started_again(self, setting: Setting) -> None:
        """Down: every call is denied as unavailable, health says so; back again, it decides."""
        assert (sound(setting.agent), fault(setting.served)) == (True, "")
        setting.server.kill()
        assert denied(setting.agent.execute("python_run", SAYS)) == ["broker.policy_unavailable"]
        assert not sound(setting.agent)
        setting.server.start()
        assert sound(setting.agent)

    def test_health(self, setting: Setting) -> None:
        """What the broker says of its engine follows the engine, both ways."""
        setting.server.kill()
        assert _settles(lambda: fault(setting.served), "POLICY_UNAVAILABLE")
        setting.server.start()
        assert _settles(lambda: fault(setting.served), "")

    def test_slowed(self, setting: Setting) -> None:
        """Stopped in its tracks: denied at the deadline; let go on, it decides."""
        setting.server.stop()
        try:
            call = setting.agent.execute("python_run", SAYS)
        finally:
            setting.server.go_on()
        assert denied(call) == ["broker.policy_timeout"]
        assert sound(setting.agent)

    def test_killed_within_a_call(self, setting: Setting) -> None:
        """The process dies while it evaluates: unavailable, at once and not at the deadline."""
        before_s = setting.server.cpu_s()
        request = Rpc.of(setting.served).execution.ExecuteTool.future
        asked = request(_wish("runaway:1"), timeout=TIMEOUT_S)
        # It is at work on nothing but this call.
        while setting.server.cpu_s() - before_s < 0.2:
            assert not asked.done()
        setting.server.kill()
        assert denied(asked.result().call) == ["broker.policy_unavailable"]
        setting.server.start()
        assert sound(setting.agent)

    def test_runaway(self, setting: Setting) -> None:
        """A rule that does not end: denied at the deadline, and others are decided meanwhile."""
        asked = setting.agent.execution.ExecuteTool.future(_wish("runaway:1"), timeout=TIMEOUT_S)
        assert sound(setting.agent)
        assert denied(asked.result().call) == ["broker.policy_timeout"]

    def test_another_bundle(self, setting: Setting, compile_team: Compile) -> None:
        """A server that came back with another bundle, older or newer, decides nothing."""
        setting.server.kill()
        setting.server.start(load_bundle(compile_team(LABELLED)))
        call = setting.agent.execute("python_run", SAYS)
        assert denied(call) == ["broker.policy_stale"]
        assert call.decision.policy_revision == setting.bundle.revision
        setting.server.kill()
        setting.server.start(setting.bundle)
        assert sound(setting.agent)

    def test_labels_outlive_the_server(self, setting: Setting) -> None:
        """A label stands in the store: no fault of the server washes it off or lets a sink pass."""
        label, agent = fresh("x"), setting.agent
        taint(agent, label, session_id=fresh("s"))
        setting.server.stop()
        try:
            slow = sink(agent, label, session_id=fresh("s"))
        finally:
            setting.server.go_on()
        setting.server.kill()
        gone = sink(agent, label, session_id=fresh("s"))
        # What brings a label gives nothing where the label cannot be told.
        unlabelled = agent.execute("python_run", SAYS, purpose=f"taint:{fresh('x')}")
        setting.server.start()
        back = sink(agent, label, session_id=fresh("s"))
        assert [denied(slow), denied(gone), denied(unlabelled)] == [
            ["broker.policy_timeout"],
            ["broker.policy_unavailable"],
            ["broker.policy_unavailable"],
        ]
        assert (state(back), rules(back)) == ("HELD", ["probe.tainted"])
        assert state(sink(Rpc.of(setting.served, "agent2"), label)) == "SUCCEEDED"


class Interrupted(Rpc):
    """An agent before whose sink the policy server dies, and comes back without a memory."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting.served.channel("agent"))
        self._server = setting.server
        self.interruptions = 0

    def execute(self, tool: str, arguments: object = None, **fields: Any) -> call_pb2.Call:
        """Call a tool."""
        if fields.get("purpose", "").startswith("sink:"):
            self._server.kill()
            self._server.start()
            self.interruptions += 1
        return super().execute(tool, arguments, **fields)


class TestTaint:
    @pytest.mark.parametrize("way", SHARED, ids=named)
    def test_no_way_around(self, setting: Setting, way: Way) -> None:
        """Whichever way a call comes, a new life of the server knows what its agent was given."""
        agent = Interrupted(setting)
        held = way(setting.served, agent, fresh("x"))
        assert (state(held), rules(held), agent.interruptions) == ("HELD", ["probe.tainted"], 1)
        assert "run.starting" not in setting.served.events(held.name)


def _settles(ask: Callable[[], str], expected: str) -> bool:
    """Ask until it is so: an answer may be a second old."""
    return any(ask() == expected for _ in range(10_000))


def _wish(purpose: str) -> execution_pb2.ExecuteToolRequest:
    return wish("python_run", SAYS, purpose=purpose)


def changed(**fields: object) -> Callable[[Answer], bytes]:
    """Answer as the server did, with other fields in the decision."""

    def spoil(answer: Answer) -> bytes:
        return answered(200, {**answer, "result": {**answer["result"], **fields}})

    return spoil


def obliged(**fields: object) -> Callable[[Answer], bytes]:
    """Likewise, in the obligations."""

    def spoil(answer: Answer) -> bytes:
        return changed(obligations={**answer["result"]["obligations"], **fields})(answer)

    return spoil


def without(name: str) -> Callable[[Answer], bytes]:
    """Answer without a member."""
    return lambda answer: answered(200, {key: answer[key] for key in answer if key != name})


def replaced(result: object) -> Callable[[Answer], bytes]:
    """Answer with another result altogether."""
    return lambda answer: answered(200, {**answer, "result": result})


def revised(revision: str) -> Callable[[Answer], bytes]:
    """Answer as by another bundle."""
    named = {"bundles": {"bundle.tar.gz": {"revision": revision}}}
    return lambda answer: answered(200, {**answer, "provenance": named})


def raw(text: bytes) -> Callable[[Answer], bytes]:
    """Answer with bytes that are no answer to this."""
    return lambda _: text


UNAVAILABLE, INVALID = "broker.policy_unavailable", "broker.policy_invalid"
UNDEFINED, STALE = "broker.policy_undefined", "broker.policy_stale"
ANSWERS: dict[str, tuple[Callable[[Answer], bytes], str]] = {
    "nothing": (raw(b""), UNAVAILABLE),
    "cut in its head": (raw(b"HTTP/1.1 200 OK\r\nContent-"), UNAVAILABLE),
    "cut in its body": (lambda answer: answered(200, answer)[:-20], UNAVAILABLE),
    "no HTTP": (raw(b"\x00\x01\xff garbage\r\n\r\n"), INVALID),
    "a failure": (lambda _: answered(500, {"code": "internal_error"}), INVALID),
    "overloaded": (lambda _: answered(503, {}), UNAVAILABLE),
    "not allowed": (lambda _: answered(401, {"code": "unauthorized"}), UNAVAILABLE),
    "sent elsewhere": (lambda _: answered(307, {}), UNAVAILABLE),
    "no JSON": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage"), INVALID),
    "no object": (lambda _: answered(200, [1]), INVALID),
    "without result": (without("result"), UNDEFINED),
    "a result that is nothing": (replaced(None), INVALID),
    "a result that is a list": (replaced([]), INVALID),
    "an empty result": (replaced({}), INVALID),
    "an unknown effect": (changed(effect="permit"), INVALID),
    "an effect of another type": (changed(effect=True), INVALID),
    "an unknown member": (changed(bypass=True), INVALID),
    "no reason": (changed(reasons=[]), INVALID),
    "a risk that is no number": (changed(risk=math.nan), INVALID),
    "an approval of what is allowed": (changed(approval={}), INVALID),
    "an unknown obligation": (obliged(privileged=True), INVALID),
    "an unknown limit": (obliged(limits={"cores": 4}), INVALID),
    "a limit that is no number": (obliged(limits={"pids": math.nan}), INVALID),
    "a limit without end": (obliged(limits={"pids": math.inf}), INVALID),
    "a negative limit": (obliged(limits={"pids": -1}), INVALID),
    "a limit in words": (obliged(limits={"pids": "64"}), INVALID),
    "an unknown runtime": (obliged(runtime="none"), INVALID),
    "a place that is none": (obliged(egress=["everywhere"]), INVALID),
    "another bundle": (revised("older"), STALE),
    "no provenance": (without("provenance"), STALE),
}


@pytest.fixture(scope="module")
def relayed(
    people_folder: Folder, bundle: Path, opa: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, Relay]]:
    """A broker, a relay of ours, and a real OPA server behind it."""
    place = tmp_path_factory.mktemp("relayed")
    with (
        RealOpa(opa, load_bundle(bundle), place / "opa") as server,
        Relay(place / "s", server.port) as relay,
    ):
        policy = {
            "engine": "opa",
            "bundle": str(bundle),
            "opa_url": f"unix://{place / 's'}",
            "timeout_s": DEADLINE_S,
        }
        with Served(people_folder.copy(place / "dev", {"policy": policy})) as served:
            yield served, relay


class TestAnswers:
    """A real OPA server's answers, spoilt on their way; a row each."""

    @pytest.mark.parametrize("what", ANSWERS)
    def test_each_has_its_rule(self, relayed: tuple[Served, Relay], what: str) -> None:
        """A call that the server allows is denied by the row's rule; the next one is decided."""
        served, relay = relayed
        agent = Rpc.of(served)
        spoil, rule = ANSWERS[what]
        with relay.spoiling(spoil):
            call = agent.execute("python_run", SAYS)
        assert denied(call) == [rule]
        assert sound(agent)

    def test_nothing_is_told_of_it(self, relayed: tuple[Served, Relay]) -> None:
        """What the server answered stands in the broker's log, not in what the agent reads."""
        served, relay = relayed
        with relay.spoiling(changed(effect="a secret of the policy")):
            call = Rpc.of(served).execute("python_run", SAYS)
        assert denied(call) == [INVALID]
        assert "a secret of the policy" not in json.dumps(MessageToDict(call))
