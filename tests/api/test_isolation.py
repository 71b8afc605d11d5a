"""What is another's answers as if it did not exist."""

import pytest

from broker.v1 import approval_pb2, call_pb2, execution_pb2, receipt_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, failure, fresh, rules, seconds, state
from tests.broker_process import Served

# Well formed, and of no call: each stands for as many characters as what it is compared with.
UNKNOWN = {"name": "calls/00000000000000000000000000", "short": "ZZZZZZZZ", "prefix": "ZZZZ"}


@pytest.fixture(scope="module")
def ended(agent: Rpc) -> call_pb2.Call:
    """A call of `agent` that has ended, with a receipt."""
    return agent.execute("python_run", {"code": "open('/out/f', 'w').write('secret')"})


@pytest.fixture(scope="module")
def held(agent: Rpc) -> call_pb2.Call:
    """A call of `agent` that is held."""
    return agent.execute("workspace_delete", {"path": "x"})


def reads(rpc: Rpc, call: str) -> dict[str, object]:
    """List every way to ask for a call by name."""
    execution, receipts = rpc.execution, rpc.receipts
    return {
        "GetCall": lambda: execution.GetCall(
            execution_pb2.GetCallRequest(call=call), timeout=TIMEOUT_S
        ),
        "WaitCall": lambda: execution.WaitCall(
            execution_pb2.WaitCallRequest(call=call, timeout=seconds(0)), timeout=TIMEOUT_S
        ),
        "WatchCall": lambda: next(
            execution.WatchCall(execution_pb2.WatchCallRequest(call=call), timeout=TIMEOUT_S)
        ),
        "GetReceipt": lambda: receipts.GetReceipt(
            receipt_pb2.GetReceiptRequest(call=call), timeout=TIMEOUT_S
        ),
    }


def changes(rpc: Rpc, call: str) -> dict[str, object]:
    """List every way for an agent to do something to a call, or with it."""
    execution = rpc.execution
    return {
        "CancelCall": lambda: execution.CancelCall(
            execution_pb2.CancelCallRequest(call=call), timeout=TIMEOUT_S
        ),
        "parent_call": lambda: rpc.execute("workspace_list", {}, parent_call=call),
        "from_output": lambda: rpc.execute(
            "workspace_write", {"path": fresh(), "from_output": f"{call}/outputs/f"}
        ),
    }


def compare(mine: object, unknown: object, names: tuple[str, str]) -> None:
    """Check that two refusals are the same bytes but for the name that was asked for."""
    theirs, nobodys = failure(mine), failure(unknown)
    assert theirs.raw.replace(names[0].encode(), names[1].encode()) == nobodys.raw
    assert theirs.reason == "NOT_FOUND"


class TestAnothersCalls:
    @pytest.mark.parametrize("how", ["GetCall", "WaitCall", "WatchCall", "GetReceipt"])
    @pytest.mark.parametrize("form", ["name", "short", "prefix"])
    @pytest.mark.parametrize("kind", ["ended", "held"])
    def test_reading(self, agent2, ended, held, how, form, kind):
        """Another's call, ended or held, in any form of its name, reads as an unknown one does."""
        call = {"ended": ended, "held": held}[kind]
        name = {"name": call.name, "short": call.short_id, "prefix": call.short_id[:4]}[form]
        mine, unknown = reads(agent2, name)[how], reads(agent2, UNKNOWN[form])[how]
        compare(mine, unknown, (name, UNKNOWN[form]))

    @pytest.mark.parametrize("how", ["CancelCall", "parent_call", "from_output"])
    def test_changing(self, agent2, ended, how):
        """Another's call can be neither cancelled nor built on; it answers as an unknown one."""
        mine, unknown = changes(agent2, ended.name)[how], changes(agent2, UNKNOWN["name"])[how]
        compare(mine, unknown, (ended.name, UNKNOWN["name"]))

    @pytest.mark.parametrize("how", ["GetCall", "WaitCall", "WatchCall", "GetReceipt"])
    def test_own(self, agent, ended, how):
        """The same requests succeed for the call's own agent."""
        assert reads(agent, ended.name)[how]()

    @pytest.mark.parametrize("how", ["parent_call", "from_output"])
    def test_own_changes(self, agent, ended, how):
        """The agent itself builds on its call."""
        assert state(changes(agent, ended.name)[how]()) == "SUCCEEDED"

    def test_own_cancel(self, agent):
        """The agent itself cancels its call."""
        call = agent.execute("workspace_delete", {"path": "x"})
        cancelled = changes(agent, call.name)["CancelCall"]().call
        assert state(cancelled) == "CANCELLED"

    def test_lists(self, agent, agent2, ended, held):
        """Lists hold one's own calls and receipts only."""
        request = execution_pb2.ListCallsRequest(page_size=200)
        calls = agent2.execution.ListCalls(request, timeout=TIMEOUT_S).calls
        assert not {call.agent for call in calls} - {"spiffe://toolwarrant.dev/agent2"}
        listed = receipt_pb2.ListReceiptsRequest(page_size=200)
        theirs = agent2.receipts.ListReceipts(listed, timeout=TIMEOUT_S).receipts
        own = agent.receipts.ListReceipts(listed, timeout=TIMEOUT_S).receipts
        assert ended.name in {receipt.call for receipt in own}
        assert ended.name not in {receipt.call for receipt in theirs}

    def test_filter_by_another(self, agent2, auditor, ended):
        """Only auditors filter by agent; another's name answers alike whether it exists or not."""

        def by(rpc: Rpc, name: str) -> object:
            request = execution_pb2.ListCallsRequest(filter=f"agent={name}")
            return rpc.execution.ListCalls(request, timeout=TIMEOUT_S)

        known = failure(lambda: by(agent2, ended.agent))
        unknown = failure(lambda: by(agent2, "spiffe://toolwarrant.dev/nobody"))
        assert (known.raw, known.fields) == (unknown.raw, ("filter",))
        assert by(auditor, ended.agent).calls


class TestHolds:
    def test_agents_do_not_see_the_view(self, agent, held):
        """No agent reads a hold's view, not even of its own call."""
        request = approval_pb2.GetHoldRequest(call=held.name)
        found = failure(lambda: agent.approvals.GetHold(request, timeout=TIMEOUT_S))
        assert found.reason == "ROLE_REQUIRED"

    def test_agents_do_not_see_approvers(self, serve):
        """What an agent reads of a decided call has no approver's name, and none of their words."""
        served = serve()
        agent, approver = Rpc.of(served, "agent"), served.client("approver")
        call = agent.execute("workspace_delete", {"path": "x"})
        approver.approve(call.name, approver.hold(call.name).view_sha256, "because")
        final = agent.wait(call.name)
        final.receipt = ""
        text = str(final)
        for request in agent.execution.WatchCall(
            execution_pb2.WatchCallRequest(call=call.name), timeout=TIMEOUT_S
        ):
            request.call.receipt = ""
            text += str(request)
        assert "hold.approved" in text
        assert not [word for word in ("approver", "because") if word in text]

    def test_approvers_see_no_content(self, agent, approver, held, ended):
        """An approver reads the hold that waits for it, no other call, no result, no receipt."""
        assert approver.get(held.name).name == held.name
        assert failure(lambda: approver.get(ended.name)).reason == "NOT_FOUND"


class TestSessions:
    def test_same_id(self, agent, agent2):
        """Two agents' sessions of one id have two workspaces."""
        session = fresh("s")
        agent.execute("workspace_write", {"path": "a", "content": "mine"}, session_id=session)
        listed = agent2.execute("workspace_list", {}, session_id=session)
        own = agent.execute("workspace_list", {}, session_id=session)
        read = agent2.execute("workspace_read", {"path": "a"}, session_id=session)
        assert ('"a"' in own.result.stdout_text, '"a"' in listed.result.stdout_text) == (
            True,
            False,
        )
        assert state(read) == "FAILED"

    def test_same_request_id(self, agent, agent2):
        """Two agents' request_ids of one text are two calls."""
        request_id = fresh("r")
        ours = agent.execute("no_such_tool", {}, request_id=request_id)
        theirs = agent2.execute("no_such_tool", {}, request_id=request_id)
        assert ours.name != theirs.name
        assert (ours.agent, theirs.agent) == (
            "spiffe://toolwarrant.dev/agent",
            "spiffe://toolwarrant.dev/agent2",
        )


class TestUnknownTool:
    def test_is_denied_with_a_receipt(self, agent):
        """A call of an unknown tool is denied, recorded, receipted; it is no error."""
        call = agent.execute("no_such_tool", {"x": 1})
        assert (state(call), rules(call), bool(call.receipt)) == (
            "DENIED",
            ["broker.tool_unknown"],
            True,
        )

    def test_other_version(self, agent):
        """A known tool in a version that the catalogue lacks is unknown."""
        assert rules(agent.execute("python_run@9.9.9", {"code": "1"})) == ["broker.tool_unknown"]

    def test_same_version(self, agent):
        """Its twin in the catalogue's version runs."""
        assert state(agent.execute("python_run@1.0.0", {"code": "1"})) == "SUCCEEDED"


def test_auditors_read_all(auditor: Rpc, ended: call_pb2.Call, served: Served) -> None:
    """The twin of all of the above: an auditor reads every call, its result and its receipt."""
    assert auditor.get(ended.name).receipt == ended.receipt
