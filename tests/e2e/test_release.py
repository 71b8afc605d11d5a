"""What happens between a vote and the start."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import docker
import pytest

from broker.client import Output
from broker.v1 import call_pb2, execution_pb2
from tests.api.rpc import Rpc, fresh, rules, state, wish
from tests.broker_process import DOCKER_URL, Served
from tests.e2e.policies import DENYING, LOOSER, RENAMED, STRICTER_LIMIT, STRICTER_PEOPLE
from tests.e2e.test_sign_off import approve, hold, view_of

ONE_SLOT = {"sandbox": {"max_running": 1}}


def with_policy(served: Served, bundle: object) -> None:
    """Restart a broker with another bundle."""
    served.stop()
    served.folder.set({"policy": {"bundle": str(bundle)}})
    served.start()


def decide(served: Served, call: call_pb2.Call, who: str = "approver") -> call_pb2.Call:
    """Approve the view as it is now; give the call as it ends, or as it is held again."""
    approve(served, who, call.name, view_of(served, call))
    return settled(served, call)


def settled(served: Served, call: call_pb2.Call) -> call_pb2.Call:
    """Follow a call until it has ended or is held anew."""
    for event in served.client("auditor").watch(call.name, events_only=True):
        assert not isinstance(event, Output)
        if event.HasField("call"):
            found = event.call
            again = state(found) == "HELD" and found.hold.number > call.hold.number
            if again or state(found) not in {"HELD", "QUEUED", "RUNNING"}:
                return found
    raise AssertionError("the events ended before the call did")


@contextmanager
def slot_taken(served: Served, seconds: float) -> Iterator[call_pb2.Call]:
    """Keep the only slot busy with a run; give its call."""
    agent = Rpc.of(served, "agent2")
    code = f"import time; time.sleep({seconds})"
    with ThreadPoolExecutor(1) as pool:
        request = wish("python_run", {"code": code}, request_id=fresh("r"))
        busy = pool.submit(lambda: agent.execution.ExecuteTool(request, timeout=60))
        running: list[call_pb2.Call] = []
        while not running:
            listed = execution_pb2.ListCallsRequest(filter="state=RUNNING")
            running = list(agent.execution.ListCalls(listed, timeout=10).calls)
        yield running[0]
        busy.exception()


class TestPolicyChanged:
    def test_denied_now(self, serve_steered, compile_team):
        """What policy denies at release ends DENIED, whatever people said."""
        served = serve_steered()
        call = hold(Rpc.of(served), "hold:then-other")
        with_policy(served, compile_team(DENYING))
        final = decide(served, call)
        assert (state(final), rules(final)) == ("DENIED", ["probe.rule"])
        assert "run.starting" not in served.events(call.name)

    @pytest.mark.parametrize("rego", [RENAMED, LOOSER], ids=["same", "looser"])
    def test_no_stricter_now(self, serve_steered, compile_team, rego):
        """A new bundle alone invalidates nothing: the same answer, or a looser one, runs."""
        served = serve_steered()
        call = hold(Rpc.of(served), "hold:then-other")
        view = view_of(served, call)
        with_policy(served, compile_team(rego))
        assert view_of(served, call) == view
        assert state(decide(served, call)) == "SUCCEEDED"

    @pytest.mark.parametrize("rego", [STRICTER_PEOPLE, STRICTER_LIMIT], ids=["people", "limit"])
    def test_stricter_now(self, serve_steered, compile_team, rego):
        """A stricter answer opens a new hold with another view; the old vote counts no more."""
        served = serve_steered()
        call = hold(Rpc.of(served), "hold:then-other")
        first = view_of(served, call)
        with_policy(served, compile_team(rego))
        again = decide(served, call)
        assert (state(again), again.hold.number, again.hold.approvals) == ("HELD", 2, 0)
        assert view_of(served, call) != first
        assert "run.starting" not in served.events(call.name)
        final = decide(served, again, "approver2")
        assert state(final) == "SUCCEEDED"
        assert served.events(call.name).count("run.starting") == 1


class TestTreeChanged:
    def test_sees_the_tree_of_the_view(self, steered, agent):
        """An approved call runs on the workspace that the reviewer saw, not on a later one."""
        session = fresh("s")
        agent.execute("workspace_write", {"path": "a", "content": "1"}, session_id=session)
        listing = {"code": "import os; print(sorted(os.listdir()))"}
        call = agent.execute("python_run", listing, purpose="hold", session_id=session)
        agent.execute("workspace_write", {"path": "b", "content": "2"}, session_id=session)
        twin = agent.execute("python_run", listing, session_id=session)
        final = decide(steered, call)
        text = agent.get(final.name).result.stdout_text
        assert (text, twin.result.stdout_text) == ("['a']\n", "['a', 'b']\n")

    def test_changes_no_path_that_changed(self, steered, agent):
        """An approved deletion leaves a file alone that is no longer the one that was seen."""
        session = fresh("s")
        agent.execute("workspace_write", {"path": "a", "content": "old"}, session_id=session)
        delete = agent.execute("workspace_delete", {"path": "a"}, session_id=session)
        replace = agent.execute(
            "workspace_write", {"path": "a", "content": "new"}, session_id=session
        )
        assert [state(delete), state(replace)] == ["HELD", "HELD"]
        decide(steered, replace)
        final = agent.get(decide(steered, delete).name)
        read = agent.execute("workspace_read", {"path": "a"}, session_id=session)
        assert "new" in read.result.stdout_text
        assert (state(final), list(final.result.changed_paths)) == ("FAILED", [])
        assert ["a: changed by another call" in note for note in final.result.notes] == [True]


class TestImageChanged:
    def test_between_hold_and_start(self, serve_steered):
        """A call approved for one image does not run in another: it is denied, with a rule."""
        served = serve_steered()
        call = hold(Rpc.of(served))
        served.stop()
        lock = served.folder.path / "images.lock.json"
        images = json.loads(lock.read_text())
        lock.write_text(json.dumps({**images, "python_run": images["workspace_list"]}))
        served.start()
        final = decide(served, call)
        assert (state(final), rules(final)) == ("DENIED", ["broker.tool_changed"])
        assert "run.starting" not in served.events(call.name)

    def test_unchanged(self, serve_steered):
        """The twin: after a restart with the same images it runs."""
        served = serve_steered()
        call = hold(Rpc.of(served))
        served.restart()
        assert state(decide(served, call)) == "SUCCEEDED"

    def test_image_gone(self, serve_steered):
        """Where the Engine lost the image, the call ends SANDBOX_ERROR and surely never began."""
        served = serve_steered()
        engine = docker.APIClient(DOCKER_URL)
        lock = served.folder.path / "images.lock.json"
        images = json.loads(lock.read_text())
        with copied_image(engine, images["python_run"]) as image:
            served.stop()
            lock.write_text(json.dumps({**images, "python_run": image}))
            served.start()
            agent = Rpc.of(served)
            before = agent.execute("python_run", {"code": "1"})
            served.restart()
            engine.remove_image(image, force=True, noprune=True)
            call = Rpc.of(served).execute("python_run", {"code": "1"})
        engine.close()
        assert (state(before), state(call), call.cause) == (
            "SUCCEEDED",
            "SANDBOX_ERROR",
            "not_begun",
        )
        assert "run.starting" not in served.events(call.name)


@contextmanager
def copied_image(engine: docker.APIClient, image: str) -> Iterator[str]:
    """Give an image of the test's own, with the content of another."""
    container = engine.create_container(image, command=["true"])["Id"]
    try:
        made = engine.commit(container, changes=[f"LABEL probe={fresh()}"])["Id"]
    finally:
        engine.remove_container(container, force=True)
    try:
        yield made
    finally:
        if any(each["Id"] == made for each in engine.images()):
            engine.remove_image(made, force=True, noprune=True)


class TestBetweenVoteAndStart:
    def test_run_by(self, serve_steered):
        """An approval is good until run-by: what could not start by then has expired."""
        served = serve_steered(settings=ONE_SLOT)
        with slot_taken(served, 3):
            call = hold(Rpc.of(served), "hold:run-1")
            approve(served, "approver", call.name, view_of(served, call))
            final = Rpc.of(served).wait(call.name)
        assert (state(final), final.cause) == ("EXPIRED", "run_by_passed")
        assert "run.starting" not in served.events(call.name)

    def test_restart(self, serve_steered):
        """An approved call that waited when the broker died runs once in its next life."""
        served = serve_steered(settings=ONE_SLOT)
        final = self._after_death(served, lambda: None)
        assert state(final) == "SUCCEEDED"
        assert served.events(final.name).count("run.starting") == 1

    def test_role_removed(self, serve_steered):
        """The vote of one who lost the role before the start is void: the call is held anew."""
        served = serve_steered(settings=ONE_SLOT)

        def remove() -> None:
            served.folder.replace(
                'person = "approver-person"\nroles = ["approver"]',
                'person = "approver-person"\nroles = ["auditor"]',
            )

        found = self._after_death(served, remove)
        assert (state(found), found.hold.number) == ("HELD", 2)
        assert "run.starting" not in served.events(found.name)

    def test_agent_removed(self, serve_steered):
        """A call of an agent that is no longer configured does not start."""
        served = serve_steered(settings=ONE_SLOT)

        def remove() -> None:
            served.folder.replace(
                '[identities."spiffe://toolwarrant.dev/agent"]',
                '[identities."spiffe://toolwarrant.dev/agent-gone"]',
            )

        found = self._after_death(served, remove)
        assert (state(found), rules(found)) == ("DENIED", ["broker.agent_unknown"])
        assert "run.starting" not in served.events(found.name)

    def test_cancelled(self, serve_steered):
        """An agent takes back an approved call that has not begun."""
        served = serve_steered(settings=ONE_SLOT)
        agent = Rpc.of(served)
        with slot_taken(served, 2):
            call = hold(agent)
            approve(served, "approver", call.name, view_of(served, call))
            request = execution_pb2.CancelCallRequest(call=call.name)
            cancelled = agent.execution.CancelCall(request, timeout=10).call
        assert state(cancelled) == "CANCELLED"
        assert "run.starting" not in served.events(call.name)

    def _after_death(self, served: Served, change: Callable[[], None]) -> call_pb2.Call:
        """Kill the broker while an approved call waits; start it again after a change."""
        with slot_taken(served, 30) as running:
            call = hold(Rpc.of(served))
            approved = approve(served, "approver", call.name, view_of(served, call))
            served.kill()
        assert state(approved) == "QUEUED"
        change()
        served.start()
        assert state(served.client("auditor").wait(running.name)) == "INTERRUPTED"
        return settled(served, call)
