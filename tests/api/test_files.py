"""Files in and out by the service made for them: each request is a call like any other."""

import json
from typing import Any

import grpc
import pytest

from broker.v1 import call_pb2, receipt_pb2, workspace_pb2
from tests.api.files import MIB, listed, noise, rows, sha256
from tests.api.rpc import TIMEOUT_S, Rpc, failure, fresh, rules, state, upload
from tests.broker_process import Served
from tests.conftest import ServeOne


class TestPutGet:
    @pytest.mark.parametrize(
        "data",
        [b"", b"x", "grüße\n".encode(), noise(3000), noise(MIB), noise(MIB + 1), noise(20 * MIB)],
        ids=["empty", "one", "text", "binary", "1MiB", "1MiB+1", "20MiB"],
    )
    def test_comes_back_identical(self, agent: Rpc, data: bytes) -> None:
        """What was put is got back byte for byte, under the digest that the answer names."""
        session = fresh("s")
        put = agent.put("a/b.bin", data, session_id=session)
        head, got = agent.fetch("a/b.bin", session_id=session)
        assert (state(put), put.tool, list(put.result.changed_paths)) == (
            "SUCCEEDED",
            "workspace_write",
            ["a/b.bin"],
        )
        assert (state(head.call), head.call.tool, head.has_content) == (
            "SUCCEEDED",
            "workspace_read",
            True,
        )
        assert got == data
        assert (head.size_bytes, head.sha256) == (len(data), sha256(data))
        assert put.receipt
        assert head.call.receipt

    def test_is_what_the_receipt_names(self, agent: Rpc, auditor: Rpc) -> None:
        """The bytes are those of the result document whose digest the receipt holds."""
        data, session = noise(2 * MIB), fresh("s")
        agent.put("big", data, session_id=session)
        head, _ = agent.fetch("big", session_id=session)
        request = receipt_pb2.GetReceiptRequest(call=head.call.name)
        receipt = auditor.receipts.GetReceipt(request, timeout=TIMEOUT_S)
        body = json.loads(receipt.result_document)["body"]
        assert body["outputs"] == [{"path": "big", "sha256": sha256(data), "size_bytes": len(data)}]
        assert head.sha256 == sha256(data)

    def test_what_is_not_there(self, agent: Rpc) -> None:
        """A file that is not there is a failed call without bytes."""
        head, got = agent.fetch("none", session_id=fresh("s"))
        assert (state(head.call), head.has_content, got) == ("FAILED", False, b"")
        assert "No such file" in head.call.result.stderr_text

    def test_what_does_not_come_back_whole(self, serve: ServeOne) -> None:
        """A file over what a run may bring back is no empty file: there is none, and a note."""
        served, data = serve(), noise(3 * MIB)
        Rpc.of(served).put("f", data)
        served.stop()
        served.folder.set({"ceilings": {"output_bytes": 2 * MIB}})
        served.start()
        head, got = Rpc.of(served).fetch("f")
        assert (state(head.call), head.has_content, got) == ("SUCCEEDED", False, b"")
        assert "bytes of files" in head.call.result.notes[0]

    def test_list(self, agent: Rpc) -> None:
        """The list names each file with size and digest; its pages are one call."""
        session = fresh("s")
        for name in ("a", "b/c", "d"):
            agent.put(name, name.encode(), session_id=session)
        first = listed(agent, session, page_size=2)
        second = listed(agent, session, page_size=2, page_token=first.next_page_token)
        files = [*first.files, *second.files]
        assert [(f.path, f.size_bytes, f.sha256) for f in files] == [
            (name, len(name), sha256(name.encode())) for name in ("a", "b/c", "d")
        ]
        assert (first.call.name, second.next_page_token) == (second.call.name, "")
        assert [f.path for f in listed(agent, session, path="b").files] == ["b/c"]

    def test_list_of_what_is_looked_for(self, agent: Rpc) -> None:
        """A filter keeps the paths with each of its words, and pages count those alone."""
        session = fresh("s")
        for name in ("Report-1.md", "other", "report-2.md", "report.txt"):
            agent.put(name, b"", session_id=session)
        first = listed(agent, session, page_size=1, filter="REPORT .md")
        second = listed(
            agent, session, page_size=1, filter="REPORT .md", page_token=first.next_page_token
        )
        assert [f.path for f in (*first.files, *second.files)] == ["Report-1.md", "report-2.md"]
        assert second.next_page_token == ""

    def test_reviewers_of_the_list_token(self, agent: Rpc, agent2: Rpc) -> None:
        """A page token of another agent's list names nothing; one of another call is malformed."""
        session = fresh("s")
        call = listed(agent, session).call
        token = f"{call.name.removeprefix('calls/')}.0"
        assert failure(lambda: listed(agent2, session, page_token=token)).reason == "NOT_FOUND"
        assert listed(agent, session, page_token=token).call.name == call.name
        other = agent.put("x", b"", session_id=session).name.removeprefix("calls/")
        for bad in (f"{other}.0", "1", f"{other}.x", f"{other}.-1"):
            found = failure(lambda bad=bad: listed(agent, session, page_token=bad))
            assert (found.reason, found.fields) == ("INVALID_ARGUMENT", ("page_token",))


class TestPolicy:
    def test_overwriting_is_held_then_applied(self, agent: Rpc, served: Served) -> None:
        """An overwrite is held; approved, exactly the held bytes stand in the workspace."""
        session = fresh("s")
        agent.put("f", b"old", session_id=session)
        held = agent.put("f", b"new" * MIB, session_id=session)
        assert (state(held), rules(held)) == ("HELD", ["default.overwrite"])
        assert agent.fetch("f", session_id=session)[1] == b"old"
        approver = served.client("approver")
        hold = approver.hold(held.name)
        assert sha256(b"new" * MIB) in hold.view_text
        approver.approve(held.name, hold.view_sha256, "as seen")
        assert state(agent.wait(held.name)) == "SUCCEEDED"
        assert agent.fetch("f", session_id=session)[1] == b"new" * MIB

    def test_rejected_changes_nothing(self, agent: Rpc, served: Served) -> None:
        """A rejected overwrite leaves the file as it was."""
        session = fresh("s")
        agent.put("f", b"old", session_id=session)
        held = agent.put("f", b"new", session_id=session)
        approver = served.client("approver")
        approver.reject(held.name, approver.hold(held.name).view_sha256, "no")
        assert state(agent.wait(held.name)) == "REJECTED"
        assert agent.fetch("f", session_id=session)[1] == b"old"

    def test_changed_by_another_call_meanwhile(self, agent: Rpc, served: Served) -> None:
        """Of two approved overwrites of one file the second changes nothing, and says so."""
        session, approver = fresh("s"), served.client("approver")
        agent.put("f", b"old", session_id=session)
        agent.put("g", b"old", session_id=session)
        first, second, other = (
            agent.put(path, data, session_id=session)
            for path, data in (("f", b"first"), ("f", b"second"), ("g", b"other"))
        )
        ends = []
        for held in (first, second, other):
            approver.approve(held.name, approver.hold(held.name).view_sha256, "yes")
            ends.append(agent.wait(held.name))
        assert [(state(call), call.cause) for call in ends] == [
            ("SUCCEEDED", "exited"),
            ("FAILED", "workspace_conflict"),
            # The twin: a file that nobody changed meanwhile is written.
            ("SUCCEEDED", "exited"),
        ]
        assert agent.fetch("f", session_id=session)[1] == b"first"
        assert agent.fetch("g", session_id=session)[1] == b"other"

    @pytest.mark.parametrize("path", [".env", "keys/id_rsa"])
    def test_denied(self, agent: Rpc, path: str) -> None:
        """A path that policy refuses is a denial with a receipt, in and out, without bytes."""
        session = fresh("s")
        put = agent.put(path, b"x", session_id=session)
        head, got = agent.fetch(path, session_id=session)
        assert [state(call) for call in (put, head.call)] == ["DENIED", "DENIED"]
        assert rules(put) == rules(head.call) == ["default.credential_path"]
        assert (head.has_content, got, bool(put.receipt)) == (False, b"", True)
        assert not listed(agent, session).files

    @pytest.mark.parametrize("path", ["", "../x", "/etc/passwd", "a//b", "a\nb", "n" * 1025])
    def test_hostile_path(self, agent: Rpc, path: str) -> None:
        """A path that leads elsewhere is refused before a byte is read."""
        found = failure(lambda: agent.put(path, b"x"))
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT

    def test_view_is_the_hold_wait(self, agent: Rpc, served: Served) -> None:
        """With `hold_wait` the upload itself answers with the end of the approved call."""
        session = fresh("s")
        agent.put("f", b"old", session_id=session)
        put = agent.workspace.PutFile.future(
            iter(upload("f", b"new", session_id=session, hold_wait=60)), timeout=TIMEOUT_S * 2
        )
        approver = served.client("approver")
        for call in approver.watch_holds("tool=workspace_write"):
            if call.session_id == session:
                approver.approve(call.name, approver.hold(call.name).view_sha256, "yes")
                break
        assert state(put.result().call) == "SUCCEEDED"


class TestUploads:
    def test_is_named_by_its_digest(self, agent: Rpc) -> None:
        """An upload serves `from_output` in another session of the same agent, too."""
        data = noise(1000, seed=2)
        agent.put("a", data, session_id=fresh("s"))
        session = fresh("s")
        arguments = {"path": "b", "from_output": f"uploads/{sha256(data)}"}
        assert state(agent.execute("workspace_write", arguments, session_id=session)) == "SUCCEEDED"
        assert agent.fetch("b", session_id=session)[1] == data

    def test_anothers_does_not_exist(self, agent: Rpc, agent2: Rpc) -> None:
        """Another agent's upload answers, byte for byte, as one that never was."""
        data = noise(1000, seed=3)
        agent.put("a", data, session_id=fresh("s"))

        def named(digest: str) -> call_pb2.Call:
            arguments = {"path": "b", "from_output": f"uploads/{digest}"}
            return agent2.execute("workspace_write", arguments)

        theirs, nobodys = failure(lambda: named(sha256(data))), failure(lambda: named("0" * 64))
        assert (theirs.raw, theirs.reason) == (nobodys.raw, "NOT_FOUND")

    def test_anothers_files(self, agent: Rpc, agent2: Rpc) -> None:
        """Another agent's session of the same name holds none of one's files."""
        session = fresh("s")
        agent.put("f", b"mine", session_id=session)
        head, got = agent2.fetch("f", session_id=session)
        assert (state(head.call), head.has_content, got) == ("FAILED", False, b"")
        assert list(listed(agent2, session).files) == []
        assert agent.fetch("f", session_id=session)[1] == b"mine"

    def test_anothers_digest_is_no_upload(self, agent: Rpc, agent2: Rpc) -> None:
        """Announcing the digest of another's file spares nobody the bytes."""
        data, session = noise(1000, seed=4), fresh("s")
        agent.put("a", data, session_id=session)
        parts = upload("b", b"", sha256=sha256(data), session_id=session)
        found = failure(lambda: agent2.workspace.PutFile(iter(parts), timeout=TIMEOUT_S))
        assert (found.reason, found.fields) == ("INVALID_ARGUMENT", ("head.sha256",))
        assert state(agent.workspace.PutFile(iter(parts), timeout=TIMEOUT_S).call) == "SUCCEEDED"

    @pytest.mark.parametrize("name", ["uploads/x", "uploads/" + "A" * 64, "uploads", "x/y"])
    def test_malformed_name(self, agent: Rpc, name: str) -> None:
        """What is neither an output nor an upload by its form is malformed."""
        found = failure(
            lambda: agent.execute("workspace_write", {"path": "b", "from_output": name})
        )
        assert found.fields == ("arguments_json/from_output",)

    def test_same_request_id(self, agent: Rpc, served: Served) -> None:
        """The same request again is the same call, with its bytes or by its digest alone."""
        data, session, request_id = noise(300_000, seed=5), fresh("s"), fresh("r")
        fields = {"session_id": session, "request_id": request_id}
        first = agent.put("f", data, **fields)
        again = agent.put("f", data, **fields)
        alone = agent.put("f", b"", sha256=sha256(data), size_bytes=len(data), **fields)
        assert (first.name, state(first)) == (again.name, "SUCCEEDED")
        assert alone.name == first.name
        question = "SELECT count(*) FROM calls WHERE session_id = ?"
        assert rows(served, question, session) == [(1,)]

    def test_request_id_with_other_bytes(self, agent: Rpc) -> None:
        """A request_id stands for the bytes, too: others are another request."""
        session, request_id = fresh("s"), fresh("r")
        agent.put("f", b"one", session_id=session, request_id=request_id)
        found = failure(lambda: agent.put("f", b"two", session_id=session, request_id=request_id))
        assert found.reason == "REQUEST_ID_REUSED"
        assert agent.fetch("f", session_id=session)[1] == b"one"

    def test_get_again(self, agent: Rpc) -> None:
        """The same download again is the same call with the same bytes, whatever came between."""
        session, request_id = fresh("s"), fresh("r")
        agent.put("f", b"one", session_id=session)
        first, _ = agent.fetch("f", session_id=session, request_id=request_id)
        agent.execute("workspace_write", {"path": "g", "content": "x"}, session_id=session)
        again, data = agent.fetch("f", session_id=session, request_id=request_id)
        assert (again.call.name, data) == (first.call.name, b"one")


class TestAnnounced:
    @pytest.mark.parametrize(
        ("announced", "field"),
        [
            ({"size_bytes": 4}, "head.size_bytes"),
            ({"size_bytes": 2}, "head.size_bytes"),
            ({"size_bytes": -1}, "head.size_bytes"),
            ({"sha256": sha256(b"abd")}, "head.sha256"),
            ({"sha256": "abc"}, "head.sha256"),
            ({"sha256": sha256(b"abc").upper()}, "head.sha256"),
        ],
    )
    def test_otherwise_than_it_comes(
        self, agent: Rpc, served: Served, announced: dict[str, Any], field: str
    ) -> None:
        """A file that is not as its head says makes no call and leaves nothing."""
        session = fresh("s")
        found = failure(lambda: agent.put("f", b"abc", session_id=session, **announced))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
        assert rows(served, "SELECT 1 FROM calls WHERE session_id = ?", session) == []

    def test_as_it_comes(self, agent: Rpc) -> None:
        """The twin: a true head is taken."""
        put = agent.put("f", b"abc", session_id=fresh("s"), size_bytes=3, sha256=sha256(b"abc"))
        assert state(put) == "SUCCEEDED"

    @pytest.mark.parametrize(
        "parts",
        [
            [],
            [workspace_pb2.PutFileRequest()],
            [workspace_pb2.PutFileRequest(chunk=b"x")],
            [*upload("f", b"x"), *upload("f", b"x")],
            [*upload("f", b""), workspace_pb2.PutFileRequest()],
            [*upload("f", b""), workspace_pb2.PutFileRequest(chunk=bytes(MIB + 1))],
        ],
        ids=["nothing", "unset", "no-head", "two-heads", "unset-chunk", "large-chunk"],
    )
    def test_malformed_stream(self, agent: Rpc, parts: list[workspace_pb2.PutFileRequest]) -> None:
        """A stream that is no head with chunks is refused."""
        found = failure(lambda: agent.workspace.PutFile(iter(parts), timeout=TIMEOUT_S))
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT
