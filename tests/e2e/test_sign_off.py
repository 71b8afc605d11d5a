"""Who may decide a held call, of what, when: each probe beside its twin that may."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from broker.v1 import approval_pb2, call_pb2
from tests.api.rpc import TIMEOUT_S, Failure, Rpc, failure, fresh, state
from tests.broker_process import Served


def hold(agent: Rpc, purpose: str = "hold", **fields: object) -> call_pb2.Call:
    """Make a call that is held, of a program that says that it ran."""
    call = agent.execute("python_run", {"code": "print('ran')"}, purpose=purpose, **fields)
    assert state(call) == "HELD"
    return call


def view_of(served: Served, call: call_pb2.Call, who: str = "approver2") -> str:
    """Look at a hold as somebody who may decide it."""
    return served.client(who).hold(call.name).view_sha256


def approve(served: Served, who: str, call: str, view: str) -> call_pb2.Call:
    """Vote to approve."""
    request = approval_pb2.ApproveCallRequest(call=call, view_sha256=view, reason="seen")
    return Rpc.of(served, who).approvals.ApproveCall(request, timeout=TIMEOUT_S).call


def reject(served: Served, who: str, call: str, view: str) -> call_pb2.Call:
    """Reject."""
    request = approval_pb2.RejectCallRequest(call=call, view_sha256=view, reason="no")
    return Rpc.of(served, who).approvals.RejectCall(request, timeout=TIMEOUT_S).call


def refused(attempt: Callable[[], object]) -> tuple[str, str]:
    """Give code and reason of a refusal, whose domain is the broker's."""
    found: Failure = failure(attempt)
    assert found.domain == "toolwarrant"
    return found.code.name, found.reason


class TestWho:
    @pytest.mark.parametrize("who", ["owner", "double-again", "member", "outsider"])
    def test_those_who_may_not(self, steered, who):
        """Owner, second certificate, wrong role, wrong group: each is refused; another may."""
        caller = "double" if who == "double-again" else "agent"
        call = hold(Rpc.of(steered, caller), "hold:two-groups")
        view = view_of(steered, call)
        found = refused(lambda: approve(steered, who, call.name, view))
        role = ("PERMISSION_DENIED", "ROLE_REQUIRED")
        assert found == (role if who == "member" else ("NOT_FOUND", "NOT_FOUND"))
        assert refused(lambda: reject(steered, who, call.name, view)) == found
        assert steered.client("auditor").get(call.name).hold.approvals == 0
        assert approve(steered, "approver", call.name, view).hold.approvals == 1

    def test_ones_own_call(self, steered):
        """An agent that is an approver too does not decide its own call; it does another's."""
        call = hold(Rpc.of(steered, "double"))
        other = hold(Rpc.of(steered, "agent"))
        view, others = view_of(steered, call), view_of(steered, other)
        assert refused(lambda: approve(steered, "double", call.name, view)) == (
            "PERMISSION_DENIED",
            "OWN_CALL",
        )
        assert state(approve(steered, "double", other.name, others)) in {"QUEUED", "RUNNING"}

    @pytest.mark.parametrize("who", ["owner", "double-again"])
    def test_the_same_people_elsewhere(self, steered, who):
        """The twin: the same certificates decide calls that are not their own person's."""
        call = hold(Rpc.of(steered, "agent" if who == "double-again" else "double"))
        approve(steered, who, call.name, view_of(steered, call))
        assert state(steered.client("auditor").wait(call.name)) == "SUCCEEDED"

    def test_outsider_where_no_group_is_named(self, steered, agent):
        """The twin: an approver of no group decides where policy names no group."""
        call = hold(agent)
        approve(steered, "outsider", call.name, view_of(steered, call))
        assert state(agent.wait(call.name)) == "SUCCEEDED"

    def test_lists_show_what_one_may_decide(self, steered, agent):
        """A hold stands in the lists of those who may decide it, in nobody else's."""
        call = hold(agent, "hold:two-groups")
        listed = {
            who: call.name in {one.name for one in steered.client(who).holds()}
            for who in ("approver", "approver2", "operator", "owner", "outsider", "double")
        }
        assert listed == {
            "approver": True,
            "approver2": True,
            "operator": True,
            "owner": False,
            "outsider": False,
            "double": True,
        }


class TestHowOften:
    @pytest.mark.parametrize("again", ["approver", "approver-again"])
    def test_twice_by_one_person(self, steered, agent, again):
        """One person has one vote, by however many certificates."""
        call = hold(agent, "hold:two-of-one")
        view = view_of(steered, call, "approver")
        assert state(approve(steered, "approver", call.name, view)) == "HELD"
        assert refused(lambda: approve(steered, again, call.name, view)) == (
            "FAILED_PRECONDITION",
            "ALREADY_VOTED",
        )
        approve(steered, "operator", call.name, view)
        assert state(agent.wait(call.name)) == "SUCCEEDED"

    def test_two_groups(self, steered, agent):
        """Who is in both groups fills one seat; somebody else fills the other."""
        call = hold(agent, "hold:two-groups")
        view = view_of(steered, call)
        assert {(each.group, each.count) for each in call.hold.requirements} == {
            ("operators", 1),
            ("security", 1),
        }
        assert state(approve(steered, "approver2", call.name, view)) == "HELD"
        approve(steered, "approver", call.name, view)
        assert state(agent.wait(call.name)) == "SUCCEEDED"

    def test_two_of_one_group_for_two_groups(self, steered, agent):
        """Two operators are not an operator with somebody from security."""
        call = hold(agent, "hold:two-groups")
        view = view_of(steered, call)
        approve(steered, "approver", call.name, view)
        assert state(approve(steered, "operator", call.name, view)) == "HELD"
        approve(steered, "approver2", call.name, view)
        assert state(agent.wait(call.name)) == "SUCCEEDED"

    def test_one_veto(self, steered, agent):
        """One rejection ends the call, however many approved; nothing runs."""
        call = hold(agent, "hold:two-of-one")
        view = view_of(steered, call, "approver")
        approve(steered, "approver", call.name, view)
        ended = reject(steered, "operator", call.name, view)
        assert state(ended) == "REJECTED"
        assert refused(lambda: approve(steered, "double", call.name, view)) == (
            "FAILED_PRECONDITION",
            "CALL_NOT_HELD",
        )
        assert "run.starting" not in steered.events(call.name)

    def test_fifty_at_once(self, steered, agent):
        """Fifty workers race to approve with valid views: one run, however many got through."""
        session = fresh("s")
        agent.execute("workspace_write", {"path": "n", "content": "0"}, session_id=session)
        call = agent.execute("workspace_delete", {"path": "n"}, session_id=session)
        view = view_of(steered, call)
        who = ["approver", "approver2", "operator", "approver-again", "outsider"]
        voters = [Rpc.of(steered, name) for name in who]
        request = approval_pb2.ApproveCallRequest(call=call.name, view_sha256=view)

        def vote(number: int) -> str:
            try:
                voters[number % 5].approvals.ApproveCall(request, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                return error.code().name
            return "OK"

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(vote, range(50)))
        final = agent.wait(call.name)
        events = steered.events(call.name)
        listed = agent.execute("workspace_list", {}, session_id=session)
        assert state(final) == "SUCCEEDED"
        assert answers.count("OK") == 1
        assert set(answers) == {"OK", "FAILED_PRECONDITION"}
        assert [events.count(kind) for kind in ("hold.approved", "run.starting")] == [1, 1]
        assert '"n"' not in listed.result.stdout_text


class TestWhat:
    @pytest.mark.parametrize(
        "view", ["", "0" * 64, "upper", "short", "other call's", "other hold's document"]
    )
    def test_another_view(self, steered, agent, view):
        """A vote that does not name exactly the digest of the view is refused; its twin is not."""
        call, other = hold(agent), hold(agent)
        right = view_of(steered, call)
        wrong = {
            "upper": right.upper(),
            "short": right[:32],
            "other call's": view_of(steered, other),
            "other hold's document": call.arguments_sha256,
        }.get(view, view)
        for attempt in (approve, reject):
            assert refused(lambda f=attempt: f(steered, "approver", call.name, wrong)) == (
                "FAILED_PRECONDITION",
                "VIEW_CHANGED",
            )
        approve(steered, "approver", call.name, right)
        assert state(agent.wait(call.name)) == "SUCCEEDED"

    def test_by_prefix(self, steered, agent):
        """A prefix reads a hold and decides none; the whole short id does."""
        call = hold(agent)
        prefix, view = call.short_id[:7], view_of(steered, call)
        assert steered.client("approver").hold(prefix).call.name == call.name
        found = failure(lambda: approve(steered, "approver", prefix, view))
        assert (found.code.name, found.fields) == ("INVALID_ARGUMENT", ("call",))
        approve(steered, "approver", call.short_id.lower(), view)
        assert state(agent.wait(call.name)) == "SUCCEEDED"

    def test_signature(self, steered, agent):
        """A signature is refused, never passed over, as long as none is checked."""
        call = hold(agent)
        request = approval_pb2.ApproveCallRequest(
            call=call.name, view_sha256=view_of(steered, call), signature=b"x"
        )
        approvals = Rpc.of(steered, "approver").approvals
        found = failure(lambda: approvals.ApproveCall(request, timeout=TIMEOUT_S))
        assert found.fields == ("signature",)

    @pytest.mark.parametrize("length", [2_000, 2_001])
    def test_reason(self, steered, agent, length):
        """A reason has at most 2,000 characters."""
        call = hold(agent)
        request = approval_pb2.RejectCallRequest(
            call=call.name, view_sha256=view_of(steered, call), reason="é" * length
        )
        approvals = Rpc.of(steered, "approver").approvals
        if length > 2_000:
            found = failure(lambda: approvals.RejectCall(request, timeout=TIMEOUT_S))
            assert found.fields == ("reason",)
        else:
            answer = approvals.RejectCall(request, timeout=TIMEOUT_S)
            assert state(answer.call) == "REJECTED"

    def test_a_call_that_is_not_held(self, steered, agent):
        """What was never held cannot be decided; it answers an approver as if it did not exist."""
        ran = agent.execute("python_run", {"code": "1"})
        denied = agent.execute("python_run", {"code": "1"}, purpose="deny")
        for call in (ran, denied):
            assert refused(lambda c=call: approve(steered, "approver", c.name, "0" * 64)) == (
                "NOT_FOUND",
                "NOT_FOUND",
            )

    def test_already_consumed(self, steered, agent):
        """An approval is used once: after the end nothing more can be decided."""
        call = hold(agent)
        view = view_of(steered, call)
        approve(steered, "approver", call.name, view)
        agent.wait(call.name)
        for attempt in (approve, reject):
            assert refused(lambda f=attempt: f(steered, "approver2", call.name, view)) == (
                "FAILED_PRECONDITION",
                "CALL_NOT_HELD",
            )
        assert steered.events(call.name).count("run.starting") == 1


class TestWhen:
    def test_after_expiry(self, steered, agent):
        """After its decide-by time a hold is over, by a recorded event; nobody brings it back."""
        call = hold(agent, "hold:decide-1")
        view = view_of(steered, call)
        final = agent.wait(call.name)
        found = refused(lambda: approve(steered, "approver", call.name, view))
        assert (state(final), final.cause) == ("EXPIRED", "decide_by_passed")
        assert found == ("FAILED_PRECONDITION", "CALL_NOT_HELD")
        assert steered.events(call.name)[-1] == "call.expired"

    def test_in_drain(self, serve_steered):
        """A broker that drains takes no votes: the hold waits for the next life, then runs."""
        served = serve_steered()
        agent = Rpc.of(served)
        call = hold(agent)
        view = view_of(served, call)
        served.client("admin").drain()
        for attempt in (approve, reject):
            assert refused(lambda f=attempt: f(served, "approver", call.name, view)) == (
                "UNAVAILABLE",
                "DRAINING",
            )
        served.restart()
        assert view_of(served, call) == view
        approve(served, "approver", call.name, view)
        assert state(Rpc.of(served).wait(call.name)) == "SUCCEEDED"

    def test_hold_wait(self, steered, agent):
        """A call that is approved within its hold_wait answers with its end, not with the hold."""
        request_id = fresh("r")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(
                agent.execute,
                "python_run",
                {"code": "print('ran')"},
                purpose="hold",
                hold_wait=60,
                request_id=request_id,
            )
            client = steered.client("approver")
            found = next(one for one in client.watch_holds() if one.request_id == request_id)
            approve(steered, "approver", found.name, client.hold(found.name).view_sha256)
            call = waiting.result()
        assert (state(call), call.result.stdout_text) == ("SUCCEEDED", "ran\n")
