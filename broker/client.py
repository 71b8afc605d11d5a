"""Call a broker from Python.

    from broker.client import Client

    with Client.from_config("dev/toolwarrant.toml", "agent") as broker:
        call = broker.call("python_run", {"code": "print(6 * 7)"})
        print(call.result.stdout_text)

The methods answer with the messages of `broker.v1`. A denial is no error: it is a call with the
state DENIED, whose `decision.reasons` say what the agent can do about it.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from broker import config as configuration
from broker.client_attempts import ANSWER_S, Attempts
from broker.client_channel import open_channel
from broker.client_errors import ClientError, client_error
from broker.client_files import Claim, Download, Listing, Source, WorkspaceFiles
from broker.client_watch import Output, WatchItem, follow
from broker.core.lifecycle import CallState
from broker.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    approval_pb2,
    approval_pb2_grpc,
    call_pb2,
    execution_pb2,
    execution_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    receipt_pb2,
    receipt_pb2_grpc,
    tool_pb2,
    tool_pb2_grpc,
)

__all__ = [
    "Client",
    "ClientError",
    "Download",
    "Listing",
    "Output",
    "WatchItem",
    "config_path",
    "state_of",
]

CONFIG_VARIABLE = "TOOLWARRANT_CONFIG"

_POLL_S = 60.0
# How long ExecuteTool may take besides what was asked for: the queue with the longest usual run.
# Later the RPC is given up, never the call.
_QUEUE_AND_RUN_S = 960.0
_PAGE = 200

_Item = TypeVar("_Item")


def config_path(path: Path | str | None = None) -> Path:
    """Say which configuration counts: this one, else `$TOOLWARRANT_CONFIG`, else the local one."""
    return Path(path or os.environ.get(CONFIG_VARIABLE) or "toolwarrant.toml")


def state_of(call: call_pb2.Call) -> CallState | None:
    """Read the state of a call; None for one that this client does not know."""
    try:
        name = call_pb2.CallState.Name(call.state).removeprefix("CALL_STATE_")
        return CallState(name)
    except ValueError:
        return None


class Client:
    """One identity's connection to a broker. Thread-safe; close it, or use it in `with`.

    Requests that change nothing, and calls (which carry a request_id), are tried again where the
    broker is UNAVAILABLE, after the pause that it names. Votes and cancellations are not: look at
    the call, then decide again.

    Args:
        channel: An open channel; it is closed with the client.
        target: Where it leads, for messages.
        sleep: Waits between attempts, in seconds.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        target: str = "the broker",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._channel = channel
        self._target = target
        self._attempts = Attempts(target, sleep)
        self._files = WorkspaceFiles(channel, self._attempts)
        self._execution = execution_pb2_grpc.ExecutionServiceStub(channel)
        self._tools = tool_pb2_grpc.ToolServiceStub(channel)
        self._approval = approval_pb2_grpc.ApprovalServiceStub(channel)
        self._policy = policy_pb2_grpc.PolicyServiceStub(channel)
        self._receipts = receipt_pb2_grpc.ReceiptServiceStub(channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(channel)

    @classmethod
    def from_config(
        cls,
        path: Path | str | None = None,
        identity: str = "agent",
        *,
        address: str | None = None,
    ) -> Self:
        """Connect by mutual TLS with the pair `pki/<identity>` beside a configuration.

        Args:
            path: By default `$TOOLWARRANT_CONFIG`, else `toolwarrant.toml` here.
            identity: Name of the pair, such as `agent` or `approver`.
            address: `host:port`, where the broker is reached by another one than it listens on.

        Raises:
            ConfigurationError: The configuration, or the pair, cannot be read.
        """
        config = configuration.load(config_path(path))
        channel, target = open_channel(config, identity, address)
        return cls(channel, target=target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls go on."""
        self._channel.close()

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

        return list(_items(page, limit))

    def tools(self, filter: str = "") -> list[tool_pb2.Tool]:  # noqa: A002
        """List the tools of the catalogue."""

        def page(size: int, token: str) -> tuple[list[tool_pb2.Tool], str]:
            request = tool_pb2.ListToolsRequest(page_size=size, page_token=token, filter=filter)
            answer = self._attempts.repeated(self._tools.ListTools, request)
            return list(answer.tools), answer.next_page_token

        return list(_items(page, None))

    def tool(self, tool: str) -> tool_pb2.Tool:
        """Describe one tool, by `name` or `name@version`."""
        return self._attempts.repeated(self._tools.GetTool, tool_pb2.GetToolRequest(tool=tool)).tool

    def holds(self, filter: str = "", *, limit: int | None = None) -> list[call_pb2.Call]:  # noqa: A002
        """List open holds that this identity may decide, oldest first."""

        def page(size: int, token: str) -> tuple[list[call_pb2.Call], str]:
            request = approval_pb2.ListHoldsRequest(page_size=size, page_token=token, filter=filter)
            answer = self._attempts.repeated(self._approval.ListHolds, request)
            return list(answer.calls), answer.next_page_token

        return list(_items(page, limit))

    def watch_holds(self, filter: str = "") -> Iterator[call_pb2.Call]:  # noqa: A002
        """Follow open holds: those there are, then each as it opens, changes or closes."""
        try:
            for answer in self._approval.WatchHolds(approval_pb2.WatchHoldsRequest(filter=filter)):
                yield answer.call
        except grpc.RpcError as error:
            raise client_error(error, self._target) from error

    def hold(self, call: str) -> approval_pb2.GetHoldResponse:
        """Show a hold as it has to be judged, with the digest that a vote must name."""
        return self._attempts.repeated(
            self._approval.GetHold, approval_pb2.GetHoldRequest(call=call)
        )

    def approve(self, call: str, view_sha256: str, reason: str) -> call_pb2.Call:
        """Vote to approve exactly the view that was seen.

        Args:
            call: Its name, its ULID or its whole short id.
            view_sha256: From `hold`.
            reason: Why; kept with the record.
        """
        request = approval_pb2.ApproveCallRequest(call=call, view_sha256=view_sha256, reason=reason)
        return self._attempts.once(self._approval.ApproveCall, request).call

    def reject(self, call: str, view_sha256: str, reason: str) -> call_pb2.Call:
        """Reject a held call for good; arguments as for `approve`."""
        request = approval_pb2.RejectCallRequest(call=call, view_sha256=view_sha256, reason=reason)
        return self._attempts.once(self._approval.RejectCall, request).call

    def receipt(self, call: str) -> receipt_pb2.GetReceiptResponse:
        """Read the receipt of a call, with the documents that it names."""
        return self._attempts.repeated(
            self._receipts.GetReceipt, receipt_pb2.GetReceiptRequest(call=call)
        )

    def receipts(
        self, *, after: int = 0, limit: int | None = None
    ) -> Iterator[receipt_pb2.Receipt]:
        """List receipts by sequence, strictly after one."""

        def page(size: int, token: str) -> tuple[list[receipt_pb2.Receipt], str]:
            request = receipt_pb2.ListReceiptsRequest(
                page_size=size, page_token=token, filter=f"after={after}" if after else ""
            )
            answer = self._attempts.repeated(self._receipts.ListReceipts, request)
            return list(answer.receipts), answer.next_page_token

        return _items(page, limit)

    def policy(self) -> policy_pb2.GetPolicyResponse:
        """Show the active policy with its rules."""
        return self._attempts.repeated(self._policy.GetPolicy, policy_pb2.GetPolicyRequest())

    def explain(self, call: str) -> policy_pb2.ExplainCallResponse:
        """Say which rules decided a call; for auditors and the security team."""
        return self._attempts.repeated(
            self._policy.ExplainCall, policy_pb2.ExplainCallRequest(call=call)
        )

    def checkpoint(self, *, witnessed: bool = False) -> receipt_pb2.GetCheckpointResponse:
        """Read the latest signed head of the receipts' log, or the latest witnessed one."""
        request = receipt_pb2.GetCheckpointRequest(witnessed=witnessed)
        return self._attempts.repeated(self._receipts.GetCheckpoint, request)

    def inclusion_proof(
        self, call: str, *, unwitnessed: bool = False
    ) -> receipt_pb2.GetInclusionProofResponse:
        """Read the proof that a call's receipt is in the log; it holds offline.

        Args:
            unwitnessed: Take the latest head rather than the latest that its witnesses cosigned.
        """
        request = receipt_pb2.GetInclusionProofRequest(call=call, unwitnessed=unwitnessed)
        return self._attempts.repeated(self._receipts.GetInclusionProof, request)

    def consistency_proof(
        self, first_size: int, second_size: int = 0
    ) -> receipt_pb2.GetConsistencyProofResponse:
        """Read the proof that the log only grew between two sizes; 0 means the latest."""
        request = receipt_pb2.GetConsistencyProofRequest(
            first_size=first_size, second_size=second_size
        )
        return self._attempts.repeated(self._receipts.GetConsistencyProof, request)

    def trust_root(self) -> str:
        """Read the broker's own trust root. To verify, use one that you got elsewhere."""
        request = receipt_pb2.GetTrustRootRequest()
        return self._attempts.repeated(self._receipts.GetTrustRoot, request).trust_root_json

    def server_info(self) -> admin_pb2.GetServerInfoResponse:
        """Ask what this broker is."""
        return self._attempts.repeated(self._admin.GetServerInfo, admin_pb2.GetServerInfoRequest())

    def halt(
        self,
        reason: str,
        *,
        everything: bool = False,
        agent: str = "",
        session: str = "",
        tool: str = "",
    ) -> admin_pb2.HaltResponse:
        """Stop calls now: kill what runs in a scope, let nothing in it begin.

        Name exactly one of `everything`, `agent` and `tool`. The same scope again is the same halt,
        so it is safe to send this once more.

        Args:
            reason: Why; kept with the record.
            session: With `agent`: only this session of it.

        Raises:
            ClientError: With the reason HALT_NOT_DURABLE it counts, but a restart would forget it.
        """
        scope = admin_pb2.HaltScope(all=everything, agent=agent, session_id=session, tool=tool)
        request = admin_pb2.HaltRequest(scope=scope, reason=reason)
        return self._attempts.once(self._admin.Halt, request)

    def resume(self, halt: str = "", *, everything: bool = False) -> list[admin_pb2.Halt]:
        """Lift a halt by its name, or all that are active; return what was lifted."""
        request = admin_pb2.ResumeRequest(halt=halt, all=everything)
        return list(self._attempts.once(self._admin.Resume, request).halts)

    def go_on_at(self, clock_now: datetime) -> datetime:
        """Name the time to go on from, for a broker that does not believe its machine's clock.

        Args:
            clock_now: Aware.

        Returns:
            What the broker's time was.
        """
        request = admin_pb2.ResumeRequest()
        request.clock_now.FromDatetime(clock_now)
        answer = self._attempts.once(self._admin.Resume, request)
        return answer.clock_was.ToDatetime(tzinfo=UTC)

    def halts(self, filter: str = "") -> list[admin_pb2.Halt]:  # noqa: A002
        """List active halts, oldest first."""

        def page(size: int, token: str) -> tuple[list[admin_pb2.Halt], str]:
            request = admin_pb2.ListHaltsRequest(page_size=size, page_token=token, filter=filter)
            answer = self._attempts.repeated(self._admin.ListHalts, request)
            return list(answer.halts), answer.next_page_token

        return list(_items(page, None))

    def drain(self) -> int:
        """Let the broker take no new calls from now on; return how many are running."""
        return self._attempts.once(self._admin.Drain, admin_pb2.DrainRequest()).running


def _items(
    page: Callable[[int, str], tuple[list[_Item], str]], limit: int | None
) -> Iterator[_Item]:
    token, given = "", 0
    while limit is None or given < limit:
        size = _PAGE if limit is None else min(_PAGE, limit - given)
        items, token = page(size, token)
        yield from items
        given += len(items)
        if not token:
            return


def _json(arguments: Mapping[str, object]) -> str:
    return json.dumps(dict(arguments), ensure_ascii=False, allow_nan=False)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
