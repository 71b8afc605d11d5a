"""Call a broker from Python.

    from broker.client import Client

    with Client.from_config("dev/toolwarrant.toml", "agent") as broker:
        call = broker.call("python_run", {"code": "print(6 * 7)"})
        print(call.result.stdout_text)

The methods answer with the messages of `broker.v1`. A denial is no error: it is a call with the
state DENIED, whose `decision.reasons` say what the agent can do about it.
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from google.protobuf.duration_pb2 import Duration

from broker.client_admin import AdminClient
from broker.client_approval import ApprovalClient
from broker.client_attempts import ANSWER_S
from broker.client_connection import CONFIG_VARIABLE, config_path, listed
from broker.client_errors import ClientError
from broker.client_files import Claim, Download, Listing, Source
from broker.client_receipts import ReceiptClient
from broker.client_watch import Output, WatchItem, follow
from broker.core.lifecycle import CallState
from broker.v1 import call_pb2, execution_pb2, tool_pb2

__all__ = [
    "CONFIG_VARIABLE",
    "Client",
    "ClientError",
    "Download",
    "Listing",
    "Output",
    "WatchItem",
    "config_path",
    "state_of",
]

_POLL_S = 60.0
# How long ExecuteTool may take besides what was asked for: the queue with the longest usual run.
# Later the RPC is given up, never the call.
_QUEUE_AND_RUN_S = 960.0


def state_of(call: call_pb2.Call) -> CallState | None:
    """Read the state of a call; None for one that this client does not know."""
    try:
        name = call_pb2.CallState.Name(call.state).removeprefix("CALL_STATE_")
        return CallState(name)
    except ValueError:
        return None


class Client(ApprovalClient, ReceiptClient, AdminClient):
    """One identity's connection to a broker. Thread-safe; close it, or use it in `with`.

    Requests that change nothing, and calls (which carry a request_id), are tried again where the
    broker is UNAVAILABLE, after the pause that it names. Votes and cancellations are not: look at
    the call, then decide again.

    Args:
        channel: An open channel; it is closed with the client.
        target: Where it leads, for messages.
        sleep: Waits between attempts, in seconds.
    """

    def call(
        self,
        tool: str,
        arguments: Mapping[str, object] | str,
        *,
        request_id: str | None = None,
        session: str = "",
        purpose: str = "",
        parent: str = "",
        timeout_s: float | None = None,
        hold_wait_s: float = 0,
        no_wait: bool = False,
    ) -> call_pb2.Call:
        """Call a tool; return when the call is final, or held for longer than `hold_wait_s`.

        Args:
            tool: `name` or `name@version`.
            arguments: A JSON object, or its exact JSON text.
            request_id: Makes another try the same call; by default a fresh one.
            session: Names the agent's session, with its workspace.
            purpose: Why, in the agent's words.
            parent: `calls/<ULID>` of the call that this one is a part of.
            timeout_s: How long the tool may run; more than allowed is cut down.
            hold_wait_s: How long to wait for people where the call is held.
            no_wait: Return as soon as the call is decided, to `watch` it run.

        Raises:
            ClientError: The broker refused the request, or did not answer.
        """
        text = arguments if isinstance(arguments, str) else _json(arguments)
        request = execution_pb2.ExecuteToolRequest(
            tool=tool,
            arguments_json=text,
            request_id=request_id or uuid.uuid4().hex,
            session_id=session,
            purpose=purpose,
            parent_call=parent,
            timeout=None if timeout_s is None else _duration(timeout_s),
            hold_wait=_duration(hold_wait_s),
            no_wait=no_wait,
        )
        patience_s = _QUEUE_AND_RUN_S + (timeout_s or 0) + hold_wait_s
        return self._attempts.repeated(self._execution.ExecuteTool, request, patience_s).call

    def put(
        self,
        path: str,
        source: Source,
        *,
        request_id: str | None = None,
        session: str = "",
        purpose: str = "",
        parent: str = "",
        hold_wait_s: float = 0,
    ) -> call_pb2.Call:
        """Upload a file into the session's workspace: the call of `workspace_write` that it is.

        Args:
            path: Where it shall stand in the workspace; the other arguments are those of `call`.
            source: A local file's path, the bytes, or an open file that is read to its end.

        Raises:
            ClientError: The broker refused the request, or did not answer.
            OSError: The local file cannot be read.
        """
        claim = Claim.of(request_id, session, purpose, parent, hold_wait_s)
        return self._files.put(path, source, claim)

    def fetch(
        self,
        path: str,
        into: BinaryIO | None = None,
        *,
        request_id: str | None = None,
        session: str = "",
        purpose: str = "",
        parent: str = "",
        hold_wait_s: float = 0,
    ) -> Download:
        """Download a file of the session's workspace: the call of `workspace_read` with its bytes.

        Args:
            path: The file in the workspace; the other arguments are those of `call`.
            into: Where to write the bytes; by default the answer carries them as `data`. One that
                cannot be rewound is written to by one attempt only.

        Raises:
            ClientError: The broker refused the request, did not answer, or the bytes that came are
                not the file; what was written of them is of no use then.
        """
        claim = Claim.of(request_id, session, purpose, parent, hold_wait_s)
        return self._files.fetch(path, into, claim)

    def files(
        self,
        path: str = "",
        *,
        request_id: str | None = None,
        session: str = "",
        purpose: str = "",
        parent: str = "",
        hold_wait_s: float = 0,
    ) -> Listing:
        """List the session's workspace, or what is below a path: the call of `workspace_list`."""
        claim = Claim.of(request_id, session, purpose, parent, hold_wait_s)
        return self._files.files(path, claim)

    def check(
        self,
        tool: str,
        arguments: Mapping[str, object] | str,
        *,
        session: str = "",
        purpose: str = "",
    ) -> tool_pb2.CheckCallResponse:
        """Ask what policy would say of a call now; nothing runs, is held or is consumed."""
        text = arguments if isinstance(arguments, str) else _json(arguments)
        request = tool_pb2.CheckCallRequest(
            tool=tool, arguments_json=text, session_id=session, purpose=purpose
        )
        return self._attempts.repeated(self._tools.CheckCall, request)

    def get(self, call: str) -> call_pb2.Call:
        """Read a call, by its name, its ULID or at least 4 characters of its short id."""
        return self._attempts.repeated(
            self._execution.GetCall, execution_pb2.GetCallRequest(call=call)
        ).call

    def wait(self, call: str, timeout_s: float | None = None) -> call_pb2.Call:
        """Wait until a call is final, or the time is over; None waits as long as it takes."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _POLL_S if deadline_s is None else max(deadline_s - time.monotonic(), 0)
            poll_s = min(left_s, _POLL_S)
            request = execution_pb2.WaitCallRequest(call=call, timeout=_duration(poll_s))
            found = self._attempts.repeated(
                self._execution.WaitCall, request, poll_s + ANSWER_S
            ).call
            state = state_of(found)
            if (state and state.is_final) or (deadline_s is not None and left_s <= _POLL_S):
                return found

    def watch(
        self,
        call: str,
        after: int = 0,
        *,
        stdout_offset: int = 0,
        stderr_offset: int = 0,
        events_only: bool = False,
    ) -> Iterator[WatchItem]:
        """Follow a call until it is final: events, and what its tool writes as it comes.

        A lost connection is taken up again, without loss or repetition. Output that `is_live` may
        still belong to a call whose end nobody will know; the result is what a receipt stands for.

        Args:
            after: Sequence of the last event already seen.
            stdout_offset: Bytes of standard output already seen.
            stderr_offset: Bytes of standard error already seen.
            events_only: Leave the output out.
        """
        request = execution_pb2.WatchCallRequest(
            call=call,
            after_sequence=after,
            stdout_offset=stdout_offset,
            stderr_offset=stderr_offset,
            events_only=events_only,
        )
        return follow(self._execution.WatchCall, request, self._attempts.pause)

    def cancel(self, call: str) -> call_pb2.Call:
        """Cancel a call of one's own, by its name, its ULID or its whole short id."""
        request = execution_pb2.CancelCallRequest(call=call)
        return self._attempts.once(self._execution.CancelCall, request).call

    def calls(self, filter: str = "", *, limit: int = 50) -> list[call_pb2.Call]:  # noqa: A002
        """List calls that this identity may see, newest first.

        Args:
            filter: Terms `state=HELD`, `tool=NAME`, `session=ID`, `agent=ID`, joined by spaces.
            limit: How many at the most.
        """

        def page(size: int, token: str) -> tuple[list[call_pb2.Call], str]:
            request = execution_pb2.ListCallsRequest(
                page_size=size, page_token=token, filter=filter
            )
            answer = self._attempts.repeated(self._execution.ListCalls, request)
            return list(answer.calls), answer.next_page_token

        return list(listed(page, limit))

    def tools(self, filter: str = "") -> list[tool_pb2.Tool]:  # noqa: A002
        """List the tools of the catalogue."""

        def page(size: int, token: str) -> tuple[list[tool_pb2.Tool], str]:
            request = tool_pb2.ListToolsRequest(page_size=size, page_token=token, filter=filter)
            answer = self._attempts.repeated(self._tools.ListTools, request)
            return list(answer.tools), answer.next_page_token

        return list(listed(page, None))

    def tool(self, tool: str) -> tool_pb2.Tool:
        """Describe one tool, by `name` or `name@version`."""
        return self._attempts.repeated(self._tools.GetTool, tool_pb2.GetToolRequest(tool=tool)).tool


def _json(arguments: Mapping[str, object]) -> str:
    return json.dumps(dict(arguments), ensure_ascii=False, allow_nan=False)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
