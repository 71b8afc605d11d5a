"""Each RPC of the other services, in its good case and its main bad case."""

import json
from base64 import b64decode
from hashlib import sha256

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.core.trust_root import read_trust_root
from broker.v1 import admin_pb2, approval_pb2, call_pb2, receipt_pb2, tool_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, failure, fresh, rules, state

SHIPPED = [
    "http_fetch",
    "pdf_text",
    "python_run",
    "sql_query",
    "text_search",
    "workspace_delete",
    "workspace_list",
    "workspace_read",
    "workspace_write",
]


class TestTools:
    def test_list_tools(self, agent):
        """Tools are listed by name, with schemas that a model can be given."""
        answer = agent.tools.ListTools(tool_pb2.ListToolsRequest(), timeout=TIMEOUT_S)
        names = [tool.name for tool in answer.tools]
        assert set(SHIPPED) <= set(names)
        assert names == sorted(names)
        assert all(json.loads(tool.input_schema_json)["type"] == "object" for tool in answer.tools)

    def test_list_tools_by_page(self, agent):
        """Pages together are the whole list."""
        whole = agent.tools.ListTools(tool_pb2.ListToolsRequest(), timeout=TIMEOUT_S).tools
        token, found = "", []
        while not found or token:
            request = tool_pb2.ListToolsRequest(page_size=2, page_token=token)
            answer = agent.tools.ListTools(request, timeout=TIMEOUT_S)
            token, found = answer.next_page_token, [*found, *answer.tools]
        assert [tool.name for tool in found] == [tool.name for tool in whole]

    def test_list_tools_by_word(self, agent):
        """A filter names words of name, title or description."""
        request = tool_pb2.ListToolsRequest(filter="PYTHON program")
        found = agent.tools.ListTools(request, timeout=TIMEOUT_S).tools
        assert [tool.name for tool in found] == ["python_run"]

    def test_get_tool(self, agent):
        """A tool is described by name, with or without its version."""
        for name in ("python_run", "python_run@1.0.0"):
            request = tool_pb2.GetToolRequest(tool=name)
            tool = agent.tools.GetTool(request, timeout=TIMEOUT_S).tool
            assert (tool.name, tool.effects.read_only, tool.max_timeout.seconds > 0) == (
                "python_run",
                True,
                True,
            )

    def test_get_unknown_tool(self, agent):
        """An unknown tool is not found."""
        request = tool_pb2.GetToolRequest(tool="no_such_tool")
        found = failure(lambda: agent.tools.GetTool(request, timeout=TIMEOUT_S))
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")

    @pytest.mark.parametrize(
        ("tool", "arguments", "effect"),
        [
            ("python_run", {"code": "1"}, "ALLOW"),
            ("workspace_delete", {"path": "x"}, "HOLD"),
            ("workspace_read", {"path": ".env"}, "DENY"),
            ("no_such_tool", {}, "DENY"),
        ],
    )
    def test_check_call(self, agent, served, tool, arguments, effect):
        """A check says what policy would say; it records, holds and counts nothing."""
        before = served.rows()
        request = tool_pb2.CheckCallRequest(tool=tool, arguments_json=json.dumps(arguments))
        answer = agent.tools.CheckCall(request, timeout=TIMEOUT_S)
        call = agent.execute(tool, arguments)
        assert answer.decision.effect == call_pb2.Effect.Value(f"EFFECT_{effect}")
        assert [reason.rule for reason in answer.decision.reasons] == rules(call)
        assert len(answer.requirements) == (effect == "HOLD")
        after = served.rows()
        assert after["calls"] - before["calls"] == 1

    def test_check_malformed_call(self, agent, served):
        """A check refuses what a call would be refused for."""
        before = served.rows()
        request = tool_pb2.CheckCallRequest(tool="python_run", arguments_json="{")
        found = failure(lambda: agent.tools.CheckCall(request, timeout=TIMEOUT_S))
        assert found.fields == ("arguments_json",)
        assert served.rows() == before


class TestApprovals:
    def test_list_holds_by_page(self, agent, approver):
        """Pages of holds together are the whole list, oldest first; filters hold."""
        made = [agent.execute("workspace_delete", {"path": "x"}).name for _ in range(3)]
        token, found = "", []
        while not found or token:
            request = approval_pb2.ListHoldsRequest(
                page_size=2, page_token=token, filter="tool=workspace_delete"
            )
            answer = approver.approvals.ListHolds(request, timeout=TIMEOUT_S)
            token, found = answer.next_page_token, [*found, *(call.name for call in answer.calls)]
        assert found == sorted(set(found))
        assert found[-3:] == made
        other = approval_pb2.ListHoldsRequest(filter="tool=python_run")
        assert list(approver.approvals.ListHolds(other, timeout=TIMEOUT_S).calls) == []

    def test_list_holds_by_an_unknown_filter(self, approver):
        """An unknown term is an invalid argument."""
        request = approval_pb2.ListHoldsRequest(filter="color=red")
        found = failure(lambda: approver.approvals.ListHolds(request, timeout=TIMEOUT_S))
        assert found.fields == ("filter",)

    def test_watch_holds(self, agent2, approver):
        """A watch gives a hold as it opens, then as it closes."""
        request = approval_pb2.WatchHoldsRequest(filter="agent=spiffe://toolwarrant.dev/agent2")
        watch = approver.approvals.WatchHolds(request, timeout=TIMEOUT_S)
        call = agent2.execute("workspace_delete", {"path": "x"})
        opened = next(each.call for each in watch if each.call.name == call.name)
        view = self._view(approver, call.name)
        vote = approval_pb2.RejectCallRequest(call=call.name, view_sha256=view.view_sha256)
        approver.approvals.RejectCall(vote, timeout=TIMEOUT_S)
        closed = next(each.call for each in watch if each.call.name == call.name)
        watch.cancel()
        assert (state(opened), state(closed)) == ("HELD", "REJECTED")

    def test_get_hold(self, agent, approver, auditor):
        """A hold shows its view with the digest of the exact view document."""
        call = agent.execute("workspace_delete", {"path": "x.txt"}, purpose="because")
        found = self._view(approver, call.short_id)
        document = json.loads(found.view_document)
        assert sha256(found.view_document.encode()).hexdigest() == found.view_sha256
        assert document["body"]["text"] == found.view_text
        assert {"x.txt", "because"} <= {
            word.strip('">') for line in found.view_text.split("\n") for word in line.split()
        }
        assert self._view(auditor, call.name).view_sha256 == found.view_sha256

    def test_get_hold_of_a_call_that_was_never_held(self, agent, auditor):
        """A call that was never held has no view."""
        call = agent.execute("no_such_tool")
        assert failure(lambda: self._view(auditor, call.name)).reason == "NOT_FOUND"

    def test_approve(self, agent, approver):
        """An approved call runs."""
        session = fresh("s")
        agent.execute("workspace_write", {"path": "x", "content": "1"}, session_id=session)
        call = agent.execute("workspace_delete", {"path": "x"}, session_id=session)
        view = self._view(approver, call.name)
        vote = approval_pb2.ApproveCallRequest(call=call.short_id, view_sha256=view.view_sha256)
        approver.approvals.ApproveCall(vote, timeout=TIMEOUT_S)
        final = agent.wait(call.name)
        assert (state(final), list(final.result.changed_paths)) == ("SUCCEEDED", ["x"])

    def test_reject(self, agent, approver):
        """A rejected call ends without running, with a receipt."""
        call = agent.execute("workspace_delete", {"path": "x"})
        view = self._view(approver, call.name)
        vote = approval_pb2.RejectCallRequest(call=call.name, view_sha256=view.view_sha256)
        assert state(approver.approvals.RejectCall(vote, timeout=TIMEOUT_S).call) == "REJECTED"
        assert agent.get(call.name).receipt

    def test_votes_on_an_unknown_call(self, approver):
        """A vote on a call that does not exist finds nothing."""
        vote = approval_pb2.ApproveCallRequest(call="calls/00000000000000000000000000")
        found = failure(lambda: approver.approvals.ApproveCall(vote, timeout=TIMEOUT_S))
        assert found.reason == "NOT_FOUND"

    def _view(self, rpc: Rpc, call: str) -> approval_pb2.GetHoldResponse:
        return rpc.approvals.GetHold(approval_pb2.GetHoldRequest(call=call), timeout=TIMEOUT_S)


class TestReceipts:
    def test_get_receipt(self, agent, auditor):
        """A receipt comes with the exact documents that it names, to agent and auditor alike."""
        call = agent.execute("python_run", {"code": "print(1)"})
        request = receipt_pb2.GetReceiptRequest(call=call.name)
        found = agent.receipts.GetReceipt(request, timeout=TIMEOUT_S)
        assert auditor.receipts.GetReceipt(request, timeout=TIMEOUT_S) == found
        assert found.receipt == call.receipt
        subjects = _statement(found.receipt)["subject"]
        documents = {"request": found.request_document, "result": found.result_document}
        assert {each["name"]: each["digest"]["sha256"] for each in subjects} == {
            name: sha256(text.encode()).hexdigest() for name, text in documents.items()
        }

    def test_get_receipt_of_an_open_call(self, agent):
        """An open call has no receipt yet; the message says what to wait with."""
        call = agent.execute("workspace_delete", {"path": "x"})
        request = receipt_pb2.GetReceiptRequest(call=call.name)
        found = failure(lambda: agent.receipts.GetReceipt(request, timeout=TIMEOUT_S))
        assert (found.reason, "WaitCall" in found.message) == ("NOT_FOUND", True)

    def test_list_receipts(self, agent, auditor):
        """An auditor's pages are the whole chain by sequence, without a gap."""
        for _ in range(3):
            agent.execute("no_such_tool")
        token, found = "", []
        while not found or token:
            request = receipt_pb2.ListReceiptsRequest(page_size=50, page_token=token)
            answer = auditor.receipts.ListReceipts(request, timeout=TIMEOUT_S)
            token, found = answer.next_page_token, [*found, *answer.receipts]
        last = found[-1].sequence
        later = receipt_pb2.ListReceiptsRequest(filter=f"after={last - 1}")
        rest = auditor.receipts.ListReceipts(later, timeout=TIMEOUT_S).receipts
        assert [each.sequence for each in found] == list(range(1, last + 1))
        assert [each.sequence for each in rest] == [last]

    @pytest.mark.parametrize("fields", [{"filter": "after=x"}, {"page_token": "-1"}])
    def test_list_receipts_malformed(self, auditor, fields):
        """A place that is no sequence is an invalid argument."""
        request = receipt_pb2.ListReceiptsRequest(**fields)
        found = failure(lambda: auditor.receipts.ListReceipts(request, timeout=TIMEOUT_S))
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT

    def test_trust_root(self, agent, served):
        """The trust root is the one of the folder, readable by a verifier."""
        request = receipt_pb2.GetTrustRootRequest()
        text = agent.receipts.GetTrustRoot(request, timeout=TIMEOUT_S).trust_root_json
        assert text == (served.folder.path / "trust-root.json").read_text()
        roles = [key.role.value for key in read_trust_root(text.encode()).keys]
        assert roles == ["receipt", "log", "policy"]


class TestAdmin:
    def test_server_info(self, agent, served):
        """The broker says what it is, development keys included."""
        info = agent.admin.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=TIMEOUT_S)
        assert (info.installation, info.epoch, info.policy_engine) == (
            served.installation,
            1,
            "wasm",
        )
        assert (info.development, info.draining, len(info.policy_sha256)) == (True, False, 64)
        assert info.engine["version"]
        assert info.policy_fault == ""

    def test_drain(self, serve):
        """A draining broker ends what runs, refuses new calls, says so; reads go on."""
        served = serve()
        agent, admin = Rpc.of(served), Rpc.of(served, "admin")
        ended = agent.execute("no_such_tool", request_id="before")
        admin.admin.Drain(admin_pb2.DrainRequest(), timeout=TIMEOUT_S)
        before = served.rows()
        found = failure(lambda: agent.execute("no_such_tool"))
        info = agent.admin.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=TIMEOUT_S)
        assert (found.code, found.domain, found.retry_s is not None) == (
            grpc.StatusCode.UNAVAILABLE,
            "toolwarrant",
            True,
        )
        assert info.draining
        assert agent.get(ended.name).name == ended.name
        assert agent.execute("no_such_tool", request_id="before").name == ended.name
        assert served.rows() == before
        assert served.stop() == 0

    def test_health(self, agent, served):
        """Health says of the broker, and of each of its services, that it serves."""
        health = health_pb2_grpc.HealthStub(agent.channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        for name in ("", "broker.v1.ExecutionService", "broker.v1.ApprovalService"):
            request = health_pb2.HealthCheckRequest(service=name)
            assert health.Check(request, timeout=TIMEOUT_S).status == serving

    def test_health_of_an_unknown_service(self, agent):
        """Health knows no service that is not served."""
        health = health_pb2_grpc.HealthStub(agent.channel)
        request = health_pb2.HealthCheckRequest(service="broker.v1.Nothing")
        found = failure(lambda: health.Check(request, timeout=TIMEOUT_S))
        assert found.code is grpc.StatusCode.NOT_FOUND

    def test_unknown_method(self, agent):
        """A method that is not served is unimplemented."""
        found = failure(lambda: agent.raw("/broker.v1.ExecutionService/Nothing"))
        assert found.code is grpc.StatusCode.UNIMPLEMENTED


def _statement(receipt: str) -> dict[str, object]:
    return json.loads(b64decode(json.loads(receipt)["payload"]))
