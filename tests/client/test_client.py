"""The client, against a broker that says exactly what the test wants."""

import json
from concurrent.futures import Future
from datetime import UTC, datetime
from queue import Queue

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from broker.client import Client, ClientError, Output, WatchItem, state_of
from broker.core.lifecycle import CallState
from broker.v1 import (
    admin_pb2,
    approval_pb2,
    call_pb2,
    execution_pb2,
    receipt_pb2,
    tool_pb2,
    workspace_pb2,
)
from tests.client.broker_stand_in import StandIn, methods

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DONE = call_pb2.Call(name="calls/A", state=call_pb2.CALL_STATE_SUCCEEDED)
HELD = call_pb2.Call(name="calls/A", state=call_pb2.CALL_STATE_HELD)
DIGEST = "ab" * 32


@pytest.fixture
def broker() -> StandIn:
    """A broker driven by the test."""
    return StandIn()


class TestCall:
    """`Client.call`."""

    def test_everything_said_is_sent(self, broker: StandIn) -> None:
        """Each argument of the method reaches the broker in its field."""
        pending = broker.begin(
            lambda: broker.client.call(
                "python_run@1",
                {"code": "print('ü')", "n": 2},
                request_id="r1",
                session="s1",
                purpose="to see",
                parent="calls/B",
                timeout_s=1.5,
                hold_wait_s=0.25,
            )
        )
        request = broker.answer("ExecuteTool", execution_pb2.ExecuteToolResponse(call=DONE))
        assert pending.result() == DONE
        assert isinstance(request, execution_pb2.ExecuteToolRequest)
        assert json.loads(request.arguments_json) == {"code": "print('ü')", "n": 2}
        assert (request.tool, request.request_id) == ("python_run@1", "r1")
        assert (request.session_id, request.purpose) == ("s1", "to see")
        assert request.parent_call == "calls/B"
        assert request.timeout.ToNanoseconds() == 1_500_000_000
        assert request.hold_wait.ToNanoseconds() == 250_000_000

    def test_a_text_of_arguments_is_sent_as_it_is(self, broker: StandIn) -> None:
        """JSON text is not re-written, so that the broker judges what was given."""
        text = '{"a": 1, "a": 0.10000000000000000001}'
        pending = broker.begin(lambda: broker.client.call("t", text))
        request = broker.answer("ExecuteTool", execution_pb2.ExecuteToolResponse(call=DONE))
        pending.result()
        assert isinstance(request, execution_pb2.ExecuteToolRequest)
        assert request.arguments_json == text
        assert not request.HasField("timeout")

    def test_another_try_is_the_same_request(self, broker: StandIn) -> None:
        """A call that met an unavailable broker is repeated with the request_id it had."""
        pending = broker.begin(lambda: broker.client.call("t", {}))
        first = broker.refuse("ExecuteTool", UNAVAILABLE)
        second = broker.answer("ExecuteTool", execution_pb2.ExecuteToolResponse(call=DONE))
        assert pending.result() == DONE
        assert first == second
        assert isinstance(first, execution_pb2.ExecuteToolRequest)
        assert len(first.request_id) == 32

    def test_two_calls_have_two_request_ids(self, broker: StandIn) -> None:
        """Without a request_id of the caller's, each call is a new one."""
        answer = execution_pb2.ExecuteToolResponse(call=DONE)
        ids = set()
        for _ in range(2):
            pending = broker.begin(lambda: broker.client.call("t", {}))
            request = broker.answer("ExecuteTool", answer)
            pending.result()
            assert isinstance(request, execution_pb2.ExecuteToolRequest)
            ids.add(request.request_id)
        assert len(ids) == 2

    def test_a_denial_is_an_answer(self, broker: StandIn) -> None:
        """A denied call comes back as a call, not as an error."""
        denied = call_pb2.Call(state=call_pb2.CALL_STATE_DENIED)
        pending = broker.begin(lambda: broker.client.call("t", {}))
        broker.answer("ExecuteTool", execution_pb2.ExecuteToolResponse(call=denied))
        assert state_of(pending.result()) is CallState.DENIED

    def test_nan_is_refused_before_it_is_sent(self, broker: StandIn) -> None:
        """NaN has no JSON, so the client says so at once."""
        with pytest.raises(ValueError, match="not JSON compliant"):
            broker.client.call("t", {"x": float("nan")})


class TestRetries:
    """What is tried again, when, how often."""

    def test_the_pause_that_the_broker_names_is_kept(self, broker: StandIn) -> None:
        """RetryInfo counts, where it is longer than the client's own pause."""
        pending = broker.begin(lambda: broker.client.get("ABCD"))
        broker.refuse("GetCall", UNAVAILABLE, reason="DRAINING", retry_after_s=2.5)
        broker.refuse("GetCall", UNAVAILABLE)
        broker.answer("GetCall", execution_pb2.GetCallResponse(call=DONE))
        assert pending.result() == DONE
        assert broker.pauses_s == [2.5, 0.2]

    def test_an_absent_broker_is_given_up(self, broker: StandIn) -> None:
        """After five attempts the last error is told."""
        pending = broker.begin(lambda: broker.client.get("ABCD"))
        for _ in range(5):
            broker.refuse("GetCall", UNAVAILABLE, "connection refused")
        error = pending.exception()
        assert isinstance(error, ClientError)
        assert error.reason == "BROKER_UNREACHABLE"
        assert "broker:7443" in error.message
        assert "toolwarrant serve" in error.message
        assert broker.pauses_s == [0.1, 0.2, 0.4, 0.8]

    def test_a_long_pause_is_told_not_waited_for(self, broker: StandIn) -> None:
        """Where the broker asks for minutes, the caller decides."""
        pending = broker.begin(lambda: broker.client.get("ABCD"))
        broker.refuse("GetCall", UNAVAILABLE, reason="CLOCK", retry_after_s=600)
        error = pending.exception()
        assert isinstance(error, ClientError)
        assert (error.reason, error.retry_after_s) == ("CLOCK", 600)
        assert broker.pauses_s == []

    @pytest.mark.parametrize(
        ("method", "request_of"),
        [
            ("ApproveCall", lambda client: client.approve("ABCDEFGH", DIGEST, "fine")),
            ("RejectCall", lambda client: client.reject("ABCDEFGH", DIGEST, "no")),
            ("CancelCall", lambda client: client.cancel("ABCDEFGH")),
            ("Drain", lambda client: client.drain()),
        ],
    )
    def test_what_changes_something_is_sent_once(
        self, broker: StandIn, method: str, request_of: object
    ) -> None:
        """A vote, a cancellation or a drain whose answer was lost is not repeated."""
        assert callable(request_of)
        pending = broker.begin(lambda: request_of(broker.client))
        broker.refuse(method, UNAVAILABLE)
        assert isinstance(pending.exception(), ClientError)
        assert broker.pauses_s == []

    def test_a_refusal_is_not_repeated(self, broker: StandIn) -> None:
        """Only UNAVAILABLE is tried again: a limit is told with its pause."""
        pending = broker.begin(lambda: broker.client.call("t", {}))
        broker.refuse(
            "ExecuteTool",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "20 calls a second: wait",
            reason="RATE_LIMITED",
            retry_after_s=0.05,
        )
        error = pending.exception()
        assert isinstance(error, ClientError)
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (error.reason, error.message) == ("RATE_LIMITED", "20 calls a second: wait")
        assert error.retry_after_s == 0.05


class TestErrors:
    """How failures are told."""

    @pytest.mark.parametrize(
        ("code", "details", "reason", "words"),
        [
            (
                grpc.StatusCode.UNAVAILABLE,
                "Ssl handshake failed: SSL_ERROR_SSL",
                "BROKER_UNREACHABLE",
                "pki",
            ),
            (
                grpc.StatusCode.UNAVAILABLE,
                "last error: UNAVAILABLE: ipv4:127.0.0.1:7443: Socket closed",
                "BROKER_UNREACHABLE",
                "expired",
            ),
            (grpc.StatusCode.UNIMPLEMENTED, "", "UNIMPLEMENTED", "older"),
            (grpc.StatusCode.DEADLINE_EXCEEDED, "", "DEADLINE_EXCEEDED", "goes on"),
            (grpc.StatusCode.INTERNAL, "", "INTERNAL", "INTERNAL"),
            (
                grpc.StatusCode.PERMISSION_DENIED,
                "use approver",
                "PERMISSION_DENIED",
                "use approver",
            ),
        ],
    )
    def test_a_bare_status_has_a_reason_and_a_remedy(
        self, broker: StandIn, code: grpc.StatusCode, details: str, reason: str, words: str
    ) -> None:
        """Without rich details, the code is the reason; the message says what to do."""
        pending = broker.begin(broker.client.drain)
        broker.refuse("Drain", code, details)
        error = pending.exception()
        assert isinstance(error, ClientError)
        assert (error.code, error.reason, error.retry_after_s) == (code, reason, None)
        assert words in error.message

    def test_details_that_contradict_the_status_are_not_believed(self, broker: StandIn) -> None:
        """Rich details of another code than the status's are passed over."""
        pending = broker.begin(broker.client.drain)
        broker.refuse("Drain", grpc.StatusCode.NOT_FOUND, reason="FORGED", rich_code=7)
        error = pending.exception()
        assert isinstance(error, ClientError)
        assert error.reason == "NOT_FOUND"


class TestWait:
    """`Client.wait`."""

    def test_it_polls_until_the_call_is_final(self, broker: StandIn) -> None:
        """An answer that is not final is asked for again."""
        pending = broker.begin(lambda: broker.client.wait("ABCD"))
        broker.answer("WaitCall", execution_pb2.WaitCallResponse(call=HELD))
        request = broker.answer("WaitCall", execution_pb2.WaitCallResponse(call=DONE))
        assert pending.result() == DONE
        assert isinstance(request, execution_pb2.WaitCallRequest)
        assert request.timeout.seconds == 60

    def test_it_ends_when_the_time_is_over(self, broker: StandIn) -> None:
        """With a time of 0 it asks once, without waiting, and tells what it found."""
        pending = broker.begin(lambda: broker.client.wait("ABCD", timeout_s=0))
        request = broker.answer("WaitCall", execution_pb2.WaitCallResponse(call=HELD))
        assert pending.result() == HELD
        assert isinstance(request, execution_pb2.WaitCallRequest)
        assert request.timeout.ToNanoseconds() == 0


class TestLists:
    """Lists of several pages."""

    def test_pages_are_followed_to_the_limit(self, broker: StandIn) -> None:
        """A list asks for the next page by its token, for no more than it still wants."""
        pending = broker.begin(lambda: broker.client.calls("state=HELD", limit=201))
        page = execution_pb2.ListCallsResponse(calls=[HELD] * 200, next_page_token="t")
        first = broker.answer("ListCalls", page)
        last = execution_pb2.ListCallsResponse(calls=[DONE], next_page_token="more")
        second = broker.answer("ListCalls", last)
        assert pending.result() == [HELD] * 200 + [DONE]
        assert first == execution_pb2.ListCallsRequest(page_size=200, filter="state=HELD")
        assert second == execution_pb2.ListCallsRequest(
            page_size=1, page_token="t", filter="state=HELD"
        )

    def test_pages_of_files_are_of_one_call(self, broker: StandIn) -> None:
        """Every page of a list of files is asked for by the first one's token."""
        pending = broker.begin(lambda: broker.client.files("a", request_id="r", session="s"))
        pages = [workspace_pb2.WorkspaceFile(path=name) for name in ("a/1", "a/2")]
        asked = [
            broker.answer(
                "ListFiles",
                workspace_pb2.ListFilesResponse(call=DONE, files=[page], next_page_token=token),
            )
            for page, token in zip(pages, ("t", ""), strict=True)
        ]
        assert [(request.path, request.request_id, request.page_token) for request in asked] == [
            ("a", "r", ""),
            ("a", "r", "t"),
        ]
        assert (pending.result().call, list(pending.result().files)) == (DONE, pages)

    def test_every_receipt_is_listed_from_a_place(self, broker: StandIn) -> None:
        """Without a limit the list ends with the last page."""
        pending = broker.begin(lambda: list(broker.client.receipts(after=7)))
        receipts = [receipt_pb2.Receipt(sequence=8), receipt_pb2.Receipt(sequence=9)]
        request = broker.answer("ListReceipts", receipt_pb2.ListReceiptsResponse(receipts=receipts))
        assert pending.result() == receipts
        assert request == receipt_pb2.ListReceiptsRequest(page_size=200, filter="after=7")


def _unavailable(broker: StandIn) -> None:
    """Refuse the next stream of a watch, as nobody listens."""
    _, rpc = broker.take_stream("WatchCall")
    rpc.terminate((), UNAVAILABLE, "nobody listens")


def _begun(broker: StandIn) -> "Future[None]":
    """Have a call followed whose first stream gave one event, and is over when this returns."""
    seen: Queue[int] = Queue()

    def follow() -> None:
        for event in broker.client.watch("ABCD"):
            seen.put(event.sequence)  # type: ignore[union-attr]

    pending = broker.begin(follow)
    _, rpc = broker.take_stream("WatchCall")
    rpc.send_response(execution_pb2.WatchCallResponse(sequence=4))
    # The fake channel lets a failure overtake what was sent before it.
    assert seen.get() == 4
    rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "restart")
    return pending


class TestWatch:
    """`Client.watch` with `Client.watch_holds`."""

    def test_a_lost_stream_is_taken_up_where_it_broke(self, broker: StandIn) -> None:
        """After UNAVAILABLE the stream goes on after the last event that was seen."""
        seen: Queue[int] = Queue()

        def follow() -> None:
            for event in broker.client.watch("ABCD"):
                assert not isinstance(event, Output)
                seen.put(event.sequence)

        pending = broker.begin(follow)
        request, rpc = broker.take_stream("WatchCall")
        assert request == execution_pb2.WatchCallRequest(call="ABCD")
        rpc.send_response(execution_pb2.WatchCallResponse(sequence=4))
        rpc.send_response(execution_pb2.WatchCallResponse(sequence=9))
        # The fake channel lets a failure overtake what was sent before it.
        assert [seen.get(), seen.get()] == [4, 9]
        rpc.terminate((), UNAVAILABLE, "restart")
        request, rpc = broker.take_stream("WatchCall")
        assert request == execution_pb2.WatchCallRequest(call="ABCD", after_sequence=9)
        rpc.send_response(execution_pb2.WatchCallResponse(sequence=12))
        rpc.terminate((), grpc.StatusCode.OK, "")
        pending.result()
        assert seen.get_nowait() == 12
        assert broker.pauses_s == [0.1]

    def test_a_restart_is_waited_for(self, broker: StandIn) -> None:
        """What was begun is followed through a minute without a broker."""
        pending = _begun(broker)
        for _ in range(31):
            _unavailable(broker)
        _, rpc = broker.take_stream("WatchCall")
        rpc.terminate((), grpc.StatusCode.OK, "")
        pending.result(10)
        assert (max(broker.pauses_s), sum(broker.pauses_s)) == (2.0, pytest.approx(57.1))

    def test_nobody_is_waited_for_for_ever(self, broker: StandIn) -> None:
        """After that minute the loss is told."""
        pending = _begun(broker)
        for _ in range(32):
            _unavailable(broker)
        with pytest.raises(ClientError):
            pending.result(10)

    def test_a_broker_that_never_answered_is_told_soon(self, broker: StandIn) -> None:
        """Where no stream ever began there is nothing to take up."""
        pending = broker.begin(lambda: list(broker.client.watch("ABCD")))
        for _ in range(5):
            _unavailable(broker)
        with pytest.raises(ClientError):
            pending.result(10)
        assert broker.pauses_s == [0.1, 0.2, 0.4, 0.8]

    def test_output_is_taken_up_by_its_offsets(self, broker: StandIn) -> None:
        """Pieces come typed; after a cut the client asks for what follows in each stream."""
        seen: Queue[WatchItem] = Queue()

        def follow() -> None:
            for item in broker.client.watch("ABCD", 3, stdout_offset=2):
                seen.put(item)

        pending = broker.begin(follow)
        request, rpc = broker.take_stream("WatchCall")
        assert request == execution_pb2.WatchCallRequest(
            call="ABCD", after_sequence=3, stdout_offset=2
        )
        rpc.send_response(_output("STDOUT", 2, text="hällo"))
        rpc.send_response(_output("STDERR", 0, data=b"\xff"))
        assert [seen.get(), seen.get()] == [
            Output(stream="stdout", offset=2, data="hällo".encode(), is_live=True),
            Output(stream="stderr", offset=0, data=b"\xff", is_live=True),
        ]
        rpc.terminate((), UNAVAILABLE, "restart")
        request, rpc = broker.take_stream("WatchCall")
        assert request == execution_pb2.WatchCallRequest(
            call="ABCD", after_sequence=4, stdout_offset=8, stderr_offset=1
        )
        rpc.terminate((), grpc.StatusCode.OK, "")
        pending.result()

    def test_a_stream_of_a_later_broker_is_passed_over(self, broker: StandIn) -> None:
        """Output of a stream that this client does not know is left out, the rest goes on."""
        pending = broker.begin(lambda: list(broker.client.watch("ABCD")))
        _, rpc = broker.take_stream("WatchCall")
        piece = execution_pb2.OutputPiece(stream=9, text="x")  # type: ignore[arg-type]
        rpc.send_response(execution_pb2.WatchCallResponse(sequence=1, output=piece))
        rpc.send_response(execution_pb2.WatchCallResponse(sequence=2))
        rpc.terminate((), grpc.StatusCode.OK, "")
        assert pending.result() == [execution_pb2.WatchCallResponse(sequence=2)]

    def test_a_refused_stream_is_an_error(self, broker: StandIn) -> None:
        """Another code than UNAVAILABLE ends the watch."""
        pending = broker.begin(lambda: list(broker.client.watch("ABCD")))
        _, rpc = broker.take_stream("WatchCall")
        rpc.terminate((), grpc.StatusCode.NOT_FOUND, "no such call")
        error = pending.exception()
        assert isinstance(error, ClientError)
        assert error.code is grpc.StatusCode.NOT_FOUND

    def test_holds_are_streamed(self, broker: StandIn) -> None:
        """Each hold comes as it is; a lost stream is told."""
        seen: Queue[call_pb2.Call] = Queue()

        def follow() -> None:
            for call in broker.client.watch_holds("tool=t"):
                seen.put(call)

        pending = broker.begin(follow)
        request, rpc = broker.take_stream("WatchHolds")
        assert request == approval_pb2.WatchHoldsRequest(filter="tool=t")
        rpc.send_response(approval_pb2.WatchHoldsResponse(call=HELD))
        assert seen.get() == HELD
        rpc.terminate((), UNAVAILABLE, "gone")
        assert isinstance(pending.exception(), ClientError)


# Method with what the client is asked, what it then sends, what it gives back.
PLAIN = [
    (
        "GetCall",
        lambda client: client.get("ABCD"),
        execution_pb2.GetCallRequest(call="ABCD"),
        execution_pb2.GetCallResponse(call=DONE),
        DONE,
    ),
    (
        "CancelCall",
        lambda client: client.cancel("ABCDEFGH"),
        execution_pb2.CancelCallRequest(call="ABCDEFGH"),
        execution_pb2.CancelCallResponse(call=DONE),
        DONE,
    ),
    (
        "ListTools",
        lambda client: client.tools("text"),
        tool_pb2.ListToolsRequest(page_size=200, filter="text"),
        tool_pb2.ListToolsResponse(tools=[tool_pb2.Tool(name="text_search")]),
        [tool_pb2.Tool(name="text_search")],
    ),
    (
        "GetTool",
        lambda client: client.tool("t@1"),
        tool_pb2.GetToolRequest(tool="t@1"),
        tool_pb2.GetToolResponse(tool=tool_pb2.Tool(name="t")),
        tool_pb2.Tool(name="t"),
    ),
    (
        "CheckCall",
        lambda client: client.check("t", {"a": 1}, session="s", purpose="p"),
        tool_pb2.CheckCallRequest(tool="t", arguments_json='{"a": 1}', session_id="s", purpose="p"),
        tool_pb2.CheckCallResponse(decision=call_pb2.Decision(effect=call_pb2.EFFECT_DENY)),
        tool_pb2.CheckCallResponse(decision=call_pb2.Decision(effect=call_pb2.EFFECT_DENY)),
    ),
    (
        "ListHolds",
        lambda client: client.holds("agent=a", limit=3),
        approval_pb2.ListHoldsRequest(page_size=3, filter="agent=a"),
        approval_pb2.ListHoldsResponse(calls=[HELD]),
        [HELD],
    ),
    (
        "GetHold",
        lambda client: client.hold("ABCD"),
        approval_pb2.GetHoldRequest(call="ABCD"),
        approval_pb2.GetHoldResponse(view_sha256=DIGEST),
        approval_pb2.GetHoldResponse(view_sha256=DIGEST),
    ),
    (
        "ApproveCall",
        lambda client: client.approve("ABCDEFGH", DIGEST, "fine"),
        approval_pb2.ApproveCallRequest(call="ABCDEFGH", view_sha256=DIGEST, reason="fine"),
        approval_pb2.ApproveCallResponse(call=DONE),
        DONE,
    ),
    (
        "RejectCall",
        lambda client: client.reject("ABCDEFGH", DIGEST, "no"),
        approval_pb2.RejectCallRequest(call="ABCDEFGH", view_sha256=DIGEST, reason="no"),
        approval_pb2.RejectCallResponse(call=DONE),
        DONE,
    ),
    (
        "GetReceipt",
        lambda client: client.receipt("ABCD"),
        receipt_pb2.GetReceiptRequest(call="ABCD"),
        receipt_pb2.GetReceiptResponse(receipt="{}"),
        receipt_pb2.GetReceiptResponse(receipt="{}"),
    ),
    (
        "GetCheckpoint",
        lambda client: client.checkpoint(),
        receipt_pb2.GetCheckpointRequest(),
        receipt_pb2.GetCheckpointResponse(tree_size=3),
        receipt_pb2.GetCheckpointResponse(tree_size=3),
    ),
    (
        "GetInclusionProof",
        lambda client: client.inclusion_proof("ABCD"),
        receipt_pb2.GetInclusionProofRequest(call="ABCD"),
        receipt_pb2.GetInclusionProofResponse(index=2),
        receipt_pb2.GetInclusionProofResponse(index=2),
    ),
    (
        "GetConsistencyProof",
        lambda client: client.consistency_proof(1, 3),
        receipt_pb2.GetConsistencyProofRequest(first_size=1, second_size=3),
        receipt_pb2.GetConsistencyProofResponse(hashes=["x"]),
        receipt_pb2.GetConsistencyProofResponse(hashes=["x"]),
    ),
    (
        "GetTrustRoot",
        lambda client: client.trust_root(),
        receipt_pb2.GetTrustRootRequest(),
        receipt_pb2.GetTrustRootResponse(trust_root_json="{}"),
        "{}",
    ),
    (
        "GetServerInfo",
        lambda client: client.server_info(),
        admin_pb2.GetServerInfoRequest(),
        admin_pb2.GetServerInfoResponse(epoch=3),
        admin_pb2.GetServerInfoResponse(epoch=3),
    ),
    (
        "Drain",
        lambda client: client.drain(),
        admin_pb2.DrainRequest(),
        admin_pb2.DrainResponse(running=2),
        2,
    ),
    (
        "Halt",
        lambda client: client.halt("odd", agent="a", session="s"),
        admin_pb2.HaltRequest(scope=admin_pb2.HaltScope(agent="a", session_id="s"), reason="odd"),
        admin_pb2.HaltResponse(killed=2),
        admin_pb2.HaltResponse(killed=2),
    ),
    (
        "Resume",
        lambda client: client.resume("halts/ABCDEFGH"),
        admin_pb2.ResumeRequest(halt="halts/ABCDEFGH"),
        admin_pb2.ResumeResponse(halts=[admin_pb2.Halt(name="halts/ABCDEFGH")]),
        [admin_pb2.Halt(name="halts/ABCDEFGH")],
    ),
    (
        "Resume",
        lambda client: client.go_on_at(datetime(2026, 11, 2, 9, tzinfo=UTC)),
        admin_pb2.ResumeRequest(clock_now=Timestamp(seconds=1_793_610_000)),
        admin_pb2.ResumeResponse(clock_was=Timestamp(seconds=1_793_609_999)),
        datetime(2026, 11, 2, 8, 59, 59, tzinfo=UTC),
    ),
    (
        "ListHalts",
        lambda client: client.halts("tool=t"),
        admin_pb2.ListHaltsRequest(page_size=200, filter="tool=t"),
        admin_pb2.ListHaltsResponse(halts=[admin_pb2.Halt(name="halts/ABCDEFGH")]),
        [admin_pb2.Halt(name="halts/ABCDEFGH")],
    ),
]
ELSEWHERE = {
    "ExecuteTool",
    "WaitCall",
    "WatchCall",
    "ListCalls",
    "ListReceipts",
    "WatchHolds",
    # tests/client/test_client_files.py, against a real broker
    "PutFile",
    "GetFile",
    "ListFiles",
}


class TestRequests:
    """One method of the client for each RPC."""

    @pytest.mark.parametrize(
        ("method", "ask", "sent", "response", "given"), PLAIN, ids=[row[0] for row in PLAIN]
    )
    def test_it_sends_and_gives_back(
        self,
        broker: StandIn,
        method: str,
        ask: object,
        sent: object,
        response: execution_pb2.GetCallResponse,
        given: object,
    ) -> None:
        """What is asked stands in the request; what is answered is given back."""
        assert callable(ask)
        pending = broker.begin(lambda: ask(broker.client))
        assert broker.answer(method, response) == sent
        assert pending.result() == given

    def test_every_rpc_has_a_test_here(self) -> None:
        """An RPC that is added to the API has to be added to the client."""
        assert {row[0] for row in PLAIN} | ELSEWHERE == set(methods())


class TestStateOf:
    """`state_of`."""

    def test_an_unknown_state_is_none(self) -> None:
        """A state that a newer broker added is not taken for another one."""
        assert state_of(call_pb2.Call(state=99)) is None  # type: ignore[arg-type]

    def test_a_known_state_is_the_cores(self) -> None:
        """The wire's names are the core's, with a prefix."""
        assert state_of(HELD) is CallState.HELD


def test_the_client_closes_its_channel() -> None:
    """After `with`, the connection takes no more requests."""
    channel = grpc.insecure_channel("127.0.0.1:1")
    with Client(channel) as client:
        pass
    with pytest.raises(ValueError, match="closed channel"):
        client.get("ABCD")


def _output(
    stream: str, offset: int, *, text: str = "", data: bytes = b""
) -> execution_pb2.WatchCallResponse:
    piece = execution_pb2.OutputPiece(
        stream=execution_pb2.OutputStream.Value(f"OUTPUT_STREAM_{stream}"),
        offset=offset,
        text=text,
        data=data,
        live=True,
    )
    return execution_pb2.WatchCallResponse(sequence=4, type="run.output", output=piece)
