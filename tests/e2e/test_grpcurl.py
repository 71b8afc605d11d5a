"""A person with grpcurl alone can do all that an agent, a reviewer and an auditor do."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.rpc import fresh
from tests.broker_process import Served

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def curl(grpcurl: str, served: Served) -> Run:
    """Run grpcurl as an identity, with the arguments that a person would type."""
    pki = served.folder.path / "pki"

    def run(identity: str, *words: str, request: object = None) -> Any:
        argv = [grpcurl, "-cacert", pki / "ca.crt"]
        argv += ["-cert", pki / f"{identity}.crt", "-key", pki / f"{identity}.key"]
        argv += ["-max-time", "60"]
        argv += ["-d", json.dumps(request)] if request is not None else []
        return subprocess.run(
            [*argv, served.target, *words], capture_output=True, text=True, check=False, timeout=90
        )

    return run


@pytest.fixture
def ask(curl: Run) -> Callable[[str, str, object], dict[str, Any]]:
    """Call a method of broker.v1 that must succeed; read its JSON."""

    def call(identity: str, method: str, request: object) -> dict[str, Any]:
        done = curl(identity, f"broker.v1.{method}", request=request)
        assert (done.returncode, done.stderr) == (0, "")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return call


class TestReflection:
    def test_lists_services(self, curl):
        """`list` names every service, health and reflection included."""
        done = curl("agent", "list")
        assert set(done.stdout.split()) >= {
            "broker.v1.AdminService",
            "broker.v1.ApprovalService",
            "broker.v1.ExecutionService",
            "broker.v1.ReceiptService",
            "broker.v1.ToolService",
            "grpc.health.v1.Health",
        }

    def test_describes_methods(self, curl):
        """`describe` shows the methods of a service with their messages."""
        done = curl("agent", "describe", "broker.v1.ExecutionService")
        assert ".broker.v1.ExecuteToolRequest" in done.stdout

    def test_health(self, curl):
        """Health answers without a request."""
        done = curl("auditor", "grpc.health.v1.Health/Check")
        assert json.loads(done.stdout) == {"status": "SERVING"}

    def test_without_a_certificate(self, grpcurl, served):
        """The same without a certificate gets no connection."""
        argv = [grpcurl, "-cacert", served.folder.path / "pki" / "ca.crt", "-connect-timeout", "5"]
        done = subprocess.run(
            [*argv, served.target, "list"], capture_output=True, check=False, timeout=60
        )
        assert done.returncode != 0


class TestCalls:
    def test_a_call(self, ask):
        """A call answers as JSON that a person reads: state by name, output as text."""
        request = {"tool": "python_run", "arguments_json": json.dumps({"code": "print(6 * 7)"})}
        call = ask("agent", "ExecutionService/ExecuteTool", request)["call"]
        assert call["state"] == "CALL_STATE_SUCCEEDED"
        assert call["result"]["stdout_text"] == "42\n"
        assert call["decision"]["effect"] == "EFFECT_ALLOW"
        assert call["decision"]["reasons"][0]["rule"] == "default.python_run"
        assert call["ended_at"].endswith("Z")
        # Not the base64 of bytes: text that can be kept as it is.
        assert json.loads(call["receipt"])["payloadType"] == "application/vnd.in-toto+json"

    def test_a_denied_call(self, ask):
        """A denial says by which rule, and what to do about it."""
        request = {"tool": "workspace_read", "arguments_json": '{"path": ".env"}'}
        call = ask("agent", "ExecutionService/ExecuteTool", request)["call"]
        reason = call["decision"]["reasons"][0]
        assert (call["state"], reason["rule"]) == ("CALL_STATE_DENIED", "default.credential_path")
        assert "may not be read" in reason["agent_message"]

    def test_an_error(self, curl):
        """An error says code, message and reason."""
        request = {"tool": "python_run", "arguments_json": "{}"}
        done = curl("agent", "broker.v1.ExecutionService/ExecuteTool", request=request)
        assert done.returncode != 0
        for word in ("InvalidArgument", "arguments_json", "INVALID_ARGUMENT", "toolwarrant"):
            assert word in done.stderr

    def test_an_approval(self, ask, held):
        """A held call is shown, approved by its short id, and runs."""
        short_id = held["short_id"]
        shown = ask("approver", "ApprovalService/GetHold", {"call": short_id[:4]})
        assert "A HELD CALL WAITS FOR YOUR DECISION\n" in shown["view_text"]
        vote = {"call": short_id, "view_sha256": shown["view_sha256"], "reason": "looks right"}
        ask("approver", "ApprovalService/ApproveCall", vote)
        final = ask("agent", "ExecutionService/WaitCall", {"call": short_id, "timeout": "60s"})
        assert final["call"]["state"] == "CALL_STATE_SUCCEEDED"
        assert final["call"]["result"]["changed_paths"] == ["x.txt"]

    def test_a_rejection(self, ask, held):
        """A held call is rejected by its short id; its receipt can be read by an auditor."""
        short_id = held["short_id"]
        listed = ask("approver", "ApprovalService/ListHolds", {"page_size": 200})["calls"]
        assert short_id in {call["short_id"] for call in listed}
        shown = ask("approver", "ApprovalService/GetHold", {"call": short_id})
        vote = {"call": short_id, "view_sha256": shown["view_sha256"], "reason": "no"}
        rejected = ask("approver", "ApprovalService/RejectCall", vote)["call"]
        assert rejected["state"] == "CALL_STATE_REJECTED"
        found = ask("auditor", "ReceiptService/GetReceipt", {"call": short_id})
        body = json.loads(found["request_document"])["body"]
        assert (body["tool"], body["arguments"]) == ("workspace_delete", {"path": "x.txt"})

    def test_a_watch(self, curl, ask):
        """The events of a call are a stream of JSON."""
        request = {"tool": "no_such_tool", "arguments_json": "{}"}
        call = ask("agent", "ExecutionService/ExecuteTool", request)["call"]
        done = curl(
            "agent", "broker.v1.ExecutionService/WatchCall", request={"call": call["short_id"]}
        )
        types = [json.loads(text)["type"] for text in _documents(done.stdout)]
        assert types == ["call.received", "call.denied"]

    def test_output_is_text(self, curl, ask):
        """What a tool wrote is to be read in a watch as it was written, without base64."""
        arguments = json.dumps({"code": "print('größer')"})
        request = {"tool": "python_run", "arguments_json": arguments, "no_wait": True}
        call = ask("agent", "ExecutionService/ExecuteTool", request)["call"]
        done = curl(
            "agent", "broker.v1.ExecutionService/WatchCall", request={"call": call["short_id"]}
        )
        items = [json.loads(text) for text in _documents(done.stdout)]
        pieces = [item["output"] for item in items if "output" in item]
        assert [(piece["stream"], piece["text"]) for piece in pieces] == [
            ("OUTPUT_STREAM_STDOUT", "größer\n")
        ]


@pytest.fixture
def held(ask: Callable[[str, str, object], dict[str, Any]]) -> dict[str, Any]:
    """A call that is held: the deletion of a file that is there."""
    session = fresh("s")
    for tool, arguments in (
        ("workspace_write", {"path": "x.txt", "content": "1"}),
        ("workspace_delete", {"path": "x.txt"}),
    ):
        request = {
            "tool": tool,
            "arguments_json": json.dumps(arguments),
            "session_id": session,
        }
        call: dict[str, Any] = ask("agent", "ExecutionService/ExecuteTool", request)["call"]
    assert call["state"] == "CALL_STATE_HELD"
    return call


def _documents(text: str) -> Iterator[str]:
    decoder, place = json.JSONDecoder(), 0
    while text[place:].strip():
        place += len(text[place:]) - len(text[place:].lstrip())
        _, end = decoder.raw_decode(text, place)
        yield text[place:end]
        place = end
