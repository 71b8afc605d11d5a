"""Each RPC of ExecutionService, in its good case and its main bad case."""

import json
import time

import grpc
import pytest

from broker.v1 import call_pb2, execution_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, failure, fresh, seconds, state, wish
from tests.broker_process import UNHURRIED, Served

NOBODYS = "calls/00000000000000000000000000"


@pytest.fixture(scope="module")
def crowd(agent: Rpc) -> list[str]:
    """Seven calls of one session, oldest first: five denied, two held."""
    session = "crowd"
    calls = [agent.execute("no_such_tool", {}, session_id=session) for _ in range(5)]
    calls += [
        agent.execute("workspace_delete", {"path": "x"}, session_id=session) for _ in range(2)
    ]
    return [call.name for call in calls]


def listed(rpc: Rpc, **fields: object) -> execution_pb2.ListCallsResponse:
    """List calls."""
    return rpc.execution.ListCalls(execution_pb2.ListCallsRequest(**fields), timeout=TIMEOUT_S)


def cancel(rpc: Rpc, call: str) -> call_pb2.Call:
    """Cancel a call."""
    request = execution_pb2.CancelCallRequest(call=call)
    return rpc.execution.CancelCall(request, timeout=TIMEOUT_S).call


class TestExecuteTool:
    def test_succeeds(self, agent):
        """A call that is allowed answers with its end: result, usage, cause, receipt, times."""
        call = agent.execute(
            "python_run", {"code": "import sys; print(6 * 7); print('e', file=sys.stderr)"}
        )
        result = call.result
        assert (state(call), result.exit_code, call.cause) == ("SUCCEEDED", 0, "exited")
        assert (result.stdout_text, result.stderr_text) == ("42\n", "e\n")
        assert (result.stdout_size_bytes, result.stdout_truncated) == (3, False)
        assert call.usage.wall_ms > 0
        assert call.usage.max_memory_bytes > 0
        assert call.receipt
        times = ("received_at", "decided_at", "queued_at", "started_at", "ended_at", "start_by")
        assert [name for name in times if not call.HasField(name)] == []
        assert call.image_digest.startswith("sha256:")

    def test_output_that_is_not_utf8(self, agent):
        """Output that is no UTF-8 comes as bytes."""
        call = agent.execute("python_run", {"code": r"import os; os.write(1, b'\xff\x00\xfe')"})
        assert (call.result.stdout, call.result.stdout_text) == (b"\xff\x00\xfe", "")

    def test_output_files(self, agent):
        """Files in /out come back by name, size and digest, and serve as input of a later call."""
        session = fresh("s")
        code = "open('/out/a.txt', 'w').write('hello')"
        made = agent.execute("python_run", {"code": code}, session_id=session)
        output = made.result.outputs[0]
        arguments = {"path": "b.txt", "from_output": f"{made.name}/outputs/{output.path}"}
        written = agent.execute("workspace_write", arguments, session_id=session)
        read = agent.execute("workspace_read", {"path": "b.txt"}, session_id=session)
        assert (output.path, output.size_bytes) == ("a.txt", 5)
        assert list(written.result.changed_paths) == ["b.txt"]
        assert "hello" in read.result.stdout_text

    def test_timeout_is_clamped(self, agent):
        """A wish for less time than the tool has is kept; a wish for more is clamped, no error."""
        slow = {"code": "import time; time.sleep(30)"}
        assert state(agent.execute("python_run", slow, timeout=0.5)) == "TIMED_OUT"
        assert state(agent.execute("python_run", {"code": "1"}, timeout=86_400)) == "SUCCEEDED"

    def test_parent(self, agent):
        """A call that is a part of another says so."""
        parent = agent.execute("no_such_tool")
        child = agent.execute("no_such_tool", parent_call=parent.name)
        assert child.parent_call == parent.name

    def test_held_answers_at_once(self, agent):
        """Without hold_wait a held call answers HELD, with what it waits for."""
        call = agent.execute("workspace_delete", {"path": "x"})
        assert (state(call), call.hold.number, call.hold.approvals) == ("HELD", 1, 0)
        assert call.hold.HasField("decide_by")
        assert [(each.group, each.count) for each in call.hold.requirements] == [("", 1)]
        assert not call.receipt

    def test_hold_wait_that_passes(self, agent):
        """After hold_wait a call that is still held answers HELD."""
        call = agent.execute("workspace_delete", {"path": "x"}, hold_wait=0.2)
        assert state(call) == "HELD"

    def test_malformed(self, agent):
        """A request without a tool is malformed."""
        found = failure(lambda: agent.execute("", {}))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("tool",))


class TestGetCall:
    def test_by_every_name(self, agent, crowd):
        """A call is read by its name, its ULID, its short id in either case, or a prefix."""
        call = agent.get(crowd[0])
        names = [call.name, call.name.removeprefix("calls/"), call.short_id, call.short_id.lower()]
        assert {agent.get(name).name for name in names} == {call.name}
        assert agent.get(call.short_id[:6]).name == call.name

    @pytest.mark.parametrize("name", ["", "abc", "calls/x", "UUUUUUUU", "%" * 8, "x" * 10_000])
    def test_malformed(self, agent, name):
        """What names no call by its form is an invalid argument."""
        found = failure(lambda: agent.get(name))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("call",))

    def test_unknown(self, agent):
        """A call that does not exist is not found."""
        assert failure(lambda: agent.get(NOBODYS)).reason == "NOT_FOUND"


class TestListCalls:
    def test_pages(self, agent, crowd):
        """Pages together are the whole list, newest first, nothing twice."""
        found: list[str] = []
        token, pages = "", 0
        while pages == 0 or token:
            answer = listed(agent, page_size=3, page_token=token, filter="session=crowd")
            found += [call.name for call in answer.calls]
            token, pages = answer.next_page_token, pages + 1
        assert found == crowd[::-1]
        assert pages == 3

    @pytest.mark.parametrize(
        ("terms", "count"),
        [
            ("", 7),
            ("state=HELD", 2),
            ("state=denied", 5),
            ("tool=workspace_delete", 2),
            ("tool=workspace_delete state=DENIED", 0),
            ("agent=spiffe://toolwarrant.dev/agent", 7),
        ],
    )
    def test_filters(self, agent, crowd, terms, count):
        """All terms of a filter must hold."""
        answer = listed(agent, page_size=200, filter=f"session=crowd {terms}")
        assert len(answer.calls) == count

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"filter": "state=NO"}, "filter"),
            ({"filter": "color=red"}, "filter"),
            ({"filter": "state"}, "filter"),
            ({"filter": "state=HELD state=HELD"}, "filter"),
            ({"page_size": -1}, "page_size"),
            ({"page_token": "'; DROP TABLE calls; --"}, "page_token"),
        ],
    )
    def test_malformed(self, agent, fields, field):
        """A filter, size or token that means nothing is an invalid argument."""
        assert failure(lambda: listed(agent, **fields)).fields == (field,)

    def test_no_content(self, agent):
        """Lists carry no results and no receipts."""
        agent.execute("python_run", {"code": "print('x')"}, session_id="listed")
        call = listed(agent, filter="session=listed").calls[0]
        assert (call.HasField("result"), call.receipt, state(call)) == (False, "", "SUCCEEDED")


class TestWaitCall:
    def test_until_the_end(self, agent):
        """A wait ends with the call."""
        held = agent.execute("workspace_delete", {"path": "x"})
        request = execution_pb2.WaitCallRequest(call=held.name, timeout=seconds(60))
        waiting = agent.execution.WaitCall.future(request, timeout=TIMEOUT_S)
        cancel(agent, held.name)
        assert state(waiting.result().call) == "CANCELLED"

    def test_time_out(self, agent, crowd):
        """A wait whose time is over answers with the call as it stands; it is no error."""
        request = execution_pb2.WaitCallRequest(call=crowd[-1], timeout=seconds(0.2))
        assert state(agent.execution.WaitCall(request, timeout=TIMEOUT_S).call) == "HELD"

    def test_negative(self, agent, crowd):
        """A negative wait is an invalid argument."""
        request = execution_pb2.WaitCallRequest(call=crowd[-1], timeout=seconds(-1))
        found = failure(lambda: agent.execution.WaitCall(request, timeout=TIMEOUT_S))
        assert found.fields == ("timeout",)


class TestWatchCall:
    def test_whole_history(self, agent, served):
        """A watch gives every event once, in order, the last with the final call; then it ends."""
        call = agent.execute("python_run", {"code": "1"})
        events = list(self._watch(agent, call.name))
        sequences = [event.sequence for event in events]
        assert [event.type for event in events] == served.events(call.name)
        assert sequences == sorted(set(sequences))
        assert (state(events[-1].call), events[-1].call.receipt) == ("SUCCEEDED", call.receipt)
        assert all(isinstance(json.loads(event.data_json), dict) for event in events)

    def test_resumes(self, agent):
        """A watch from a sequence gives what came after it, nothing twice, nothing left out."""
        call = agent.execute("python_run", {"code": "1"})
        events = list(self._watch(agent, call.name))
        for place, event in enumerate(events):
            rest = list(self._watch(agent, call.name, event.sequence))
            assert [each.sequence for each in rest] == [
                each.sequence for each in events[place + 1 :]
            ]

    def test_follows(self, agent):
        """A watch of an open call goes on as the call does."""
        call = agent.execute("workspace_delete", {"path": "x"})
        watch = self._watch(agent, call.name)
        first = [next(watch).type, next(watch).type]
        cancel(agent, call.name)
        assert first == ["call.received", "call.held"]
        assert [event.type for event in watch] == ["call.cancelled"]

    def test_negative(self, agent, crowd):
        """A negative sequence is an invalid argument."""
        found = failure(lambda: list(self._watch(agent, crowd[0], -1)))
        assert found.fields == ("after_sequence",)

    def _watch(self, rpc: Rpc, call: str, after: int = 0) -> object:
        request = execution_pb2.WatchCallRequest(call=call, after_sequence=after)
        return rpc.execution.WatchCall(request, timeout=TIMEOUT_S)


class TestCancelCall:
    def test_held(self, agent):
        """A held call is cancelled at once, with a receipt."""
        call = cancel(agent, agent.execute("workspace_delete", {"path": "x"}).name)
        assert (state(call), call.cause, bool(call.receipt)) == ("CANCELLED", "cancelled", True)

    def test_running_then_queued(self, serve):
        """A running call is ended, a queued one never begins; both have receipts."""
        served = serve({**UNHURRIED, "sandbox": {"max_running": 1}})
        agent = Rpc.of(served)
        code = {"code": "import time; time.sleep(60)"}
        tries = [
            agent.execution.ExecuteTool.future(wish("python_run", code), timeout=TIMEOUT_S)
            for _ in range(2)
        ]
        running, queued = self._in_state(served, "RUNNING"), self._in_state(served, "QUEUED")
        assert state(cancel(agent, queued)) == "CANCELLED"
        assert state(cancel(agent, running)) in {"RUNNING", "CANCELLED"}
        ends = {each.result().call.name: each.result().call for each in tries}
        assert {name: (state(end), end.cause) for name, end in ends.items()} == {
            running: ("CANCELLED", "cancelled"),
            queued: ("CANCELLED", "cancelled"),
        }
        assert all(end.receipt for end in ends.values())
        assert ends[running].usage.wall_ms < 60_000
        assert "run.starting" not in served.events(queued)

    def test_ended(self, agent):
        """A call that has ended cannot be cancelled."""
        call = agent.execute("no_such_tool")
        found = failure(lambda: cancel(agent, call.name))
        assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CALL_ENDED")
        assert found.preconditions == ("CALL_ENDED",)

    def test_by_prefix(self, agent, crowd):
        """A prefix of the short id cancels nothing."""
        prefix = agent.get(crowd[-1]).short_id[:6]
        assert failure(lambda: cancel(agent, prefix)).fields == ("call",)

    def _in_state(self, served: Served, wanted: str) -> str:
        agent = Rpc.of(served)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if found := listed(agent, filter=f"state={wanted}").calls:
                return found[0].name
        raise AssertionError(f"no call is {wanted}")
