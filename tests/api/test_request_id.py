"""One request_id, one request."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from broker.v1 import call_pb2, execution_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, failure, fresh, state, wish

FIELDS = execution_pb2.ExecuteToolRequest.DESCRIPTOR.fields
# How long the RPC waits is no part of what is asked for.
WAITS = ("hold_wait", "no_wait")
COMPARED = [field.name for field in FIELDS if field.name not in ("request_id", *WAITS)]


@pytest.fixture(scope="module")
def parents(agent: Rpc) -> tuple[call_pb2.Call, call_pb2.Call]:
    """Two calls that others may be a part of."""
    return agent.execute("no_such_tool"), agent.execute("no_such_tool")


def changed(request: Message, field: str, values: dict[str, str]) -> Message:
    """Give the request with another value in one field, whatever its type is."""
    other = type(request).FromString(request.SerializeToString())
    kind = request.DESCRIPTOR.fields_by_name[field]
    if field in values:
        setattr(other, field, values[field])
    elif kind.type == FieldDescriptor.TYPE_STRING:
        setattr(other, field, getattr(request, field) + "x")
    elif kind.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(other, field).seconds += 1
    else:
        setattr(other, field, type(getattr(request, field))(not getattr(request, field)))
    return other


class TestReuse:
    @pytest.mark.parametrize("field", COMPARED)
    def test_with_another_field(self, agent, served, parents, field):
        """A request_id with any other field of the request is refused; nothing is stored."""
        request = wish(
            "no_such_tool",
            {"a": 1},
            request_id=fresh("r"),
            session_id=fresh("s"),
            parent_call=parents[0].name,
            purpose="why",
            timeout=5,
        )
        values = {"parent_call": parents[1].name, "arguments_json": '{"a": 2}'}
        first = agent.execution.ExecuteTool(request, timeout=TIMEOUT_S).call
        before = served.rows()
        other = changed(request, field, values)
        found = failure(lambda: agent.execution.ExecuteTool(other, timeout=TIMEOUT_S))
        again = agent.execution.ExecuteTool(request, timeout=TIMEOUT_S).call
        assert (found.code, found.reason, found.domain) == (
            grpc.StatusCode.ALREADY_EXISTS,
            "REQUEST_ID_REUSED",
            "toolwarrant",
        )
        assert served.rows() == before
        assert again == first

    def test_with_another_hold_wait(self, agent):
        """How long a client waits is no part of the request: it re-attaches."""
        request_id = fresh("r")
        first = agent.execute("no_such_tool", request_id=request_id, hold_wait=1)
        assert agent.execute("no_such_tool", request_id=request_id, hold_wait=2) == first
        assert agent.execute("no_such_tool", request_id=request_id, no_wait=True) == first

    def test_with_another_spelling(self, agent):
        """Arguments are compared by their canonical text."""
        request_id = fresh("r")
        first = agent.execute("no_such_tool", '{"a":1,"b":2}', request_id=request_id)
        assert agent.execute("no_such_tool", '{"b":2.0, "a":1}', request_id=request_id) == first

    def test_without_one(self, agent):
        """Without a request_id the same request is another call."""
        assert agent.execute("no_such_tool").name != agent.execute("no_such_tool").name

    def test_after_a_restart(self, serve):
        """A restart forgets no request_id: the same re-attaches, another is refused."""
        served = serve()
        request = {"request_id": fresh("r"), "session_id": "s"}
        ran = Rpc.of(served).execute("python_run", {"code": "print(1)"}, **request)
        served.restart()
        agent = Rpc.of(served)
        again = agent.execute("python_run", {"code": "print(1)"}, **request)
        found = failure(lambda: agent.execute("python_run", {"code": "print(2)"}, **request))
        assert again == ran
        assert found.reason == "REQUEST_ID_REUSED"
        assert served.events(ran.name).count("run.starting") == 1


class TestReattach:
    def test_twenty_at_once(self, agent, served):
        """Twenty requests of one request_id at once are one call that runs once."""
        request = {"request_id": fresh("r"), "session_id": fresh("s")}
        with ThreadPoolExecutor(20) as pool:
            runs = [
                pool.submit(agent.execute, "python_run", {"code": "print(1)"}, **request)
                for _ in range(20)
            ]
            calls = [run.result() for run in runs]
        assert {(call.name, state(call)) for call in calls} == {(calls[0].name, "SUCCEEDED")}
        assert served.events(calls[0].name).count("run.starting") == 1

    def test_to_a_held_call(self, agent, served):
        """A retry of a held call answers HELD, with the same hold, and opens no other."""
        request = {"request_id": fresh("r"), "session_id": fresh("s")}
        first = agent.execute("workspace_delete", {"path": "x"}, **request)
        before = served.rows()
        again = agent.execute("workspace_delete", {"path": "x"}, **request)
        assert (state(again), again.name, again.hold) == ("HELD", first.name, first.hold)
        assert served.rows() == before

    def test_client_that_leaves(self, agent, served):
        """A client that leaves cancels nothing: its call runs to the end and is found again."""
        request = wish(
            "python_run",
            {"code": "import time; time.sleep(1); print('done')"},
            request_id=fresh("r"),
        )
        left = agent.execution.ExecuteTool.future(request, timeout=TIMEOUT_S)
        listed = execution_pb2.ListCallsRequest(page_size=1, filter="tool=python_run")
        while request.request_id not in [
            call.request_id for call in agent.execution.ListCalls(listed, timeout=TIMEOUT_S).calls
        ]:
            pass
        left.cancel()
        call = agent.execution.ExecuteTool(request, timeout=TIMEOUT_S).call
        assert (state(call), call.result.stdout_text) == ("SUCCEEDED", "done\n")
        assert served.events(call.name).count("run.starting") == 1
