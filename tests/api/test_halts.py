"""Halts on the wire: which requests are refused, what a list says."""

from collections.abc import Iterator

import grpc
import pytest

from broker.init import SPIFFE_PREFIX
from broker.v1 import admin_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, failure, fresh
from tests.broker_process import UNHURRIED, Served

A, B = f"{SPIFFE_PREFIX}agent", f"{SPIFFE_PREFIX}agent2"


@pytest.fixture(scope="module")
def halting(development_folder, tmp_path_factory) -> Iterator[Served]:
    """A broker of its own."""
    folder = development_folder.copy(tmp_path_factory.mktemp("halts") / "dev", UNHURRIED)
    with Served(folder) as running:
        yield running


@pytest.fixture
def admin(halting) -> Iterator[Rpc]:
    """The stubs of an administrator; nothing is halted before or after a test."""
    rpc = Rpc.of(halting, "admin")
    yield rpc
    rpc.admin.Resume(admin_pb2.ResumeRequest(all=True), timeout=TIMEOUT_S)


def set_halt(admin: Rpc, reason: str = "why", **scope: object) -> admin_pb2.HaltResponse:
    """Halt a scope."""
    request = admin_pb2.HaltRequest(scope=admin_pb2.HaltScope(**scope), reason=reason)
    return admin.admin.Halt(request, timeout=TIMEOUT_S)


def listed(admin: Rpc, **fields: object) -> admin_pb2.ListHaltsResponse:
    """List halts."""
    return admin.admin.ListHalts(admin_pb2.ListHaltsRequest(**fields), timeout=TIMEOUT_S)


class TestHalt:
    @pytest.mark.parametrize(
        "scope",
        [
            {},
            {"session_id": "s"},
            {"all": True, "agent": A},
            {"all": True, "tool": "python_run"},
            {"agent": A, "tool": "python_run"},
            {"tool": "python_run", "session_id": "s"},
        ],
    )
    def test_scope(self, admin, scope):
        """A scope that names nothing, or two things, is refused with its field."""
        found = failure(lambda: set_halt(admin, **scope))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("scope",))
        assert listed(admin).halts == []

    @pytest.mark.parametrize("reason", ["", "  ", "é" * 2001])
    def test_reason(self, admin, reason):
        """A reason is required, and bounded."""
        found = failure(lambda: set_halt(admin, reason, all=True))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("reason",))
        assert listed(admin).halts == []

    @pytest.mark.parametrize("scope", [{"agent": "agent"}, {"tool": "python_run@1.0.0"}])
    def test_nobody(self, admin, scope):
        """A name that nobody has is NOT_FOUND, and nothing is halted."""
        assert failure(lambda: set_halt(admin, **scope)).code is grpc.StatusCode.NOT_FOUND
        assert listed(admin).halts == []

    def test_longest_reason(self, admin):
        """A reason of 2,000 characters is kept whole."""
        set_halt(admin, "é" * 2000, all=True)
        assert listed(admin).halts[0].reason == "é" * 2000

    def test_counts_in_the_store(self, admin, halting):
        """A durable halt is one row, document, event, log entry; lifted, the row is gone."""
        before = halting.rows()
        set_halt(admin, agent=A, session_id=fresh("s"))
        halted = halting.rows()
        admin.admin.Resume(admin_pb2.ResumeRequest(all=True), timeout=TIMEOUT_S)
        lifted = halting.rows()
        change = {
            name: halted[name] - before[name] for name in before if halted[name] != before[name]
        }
        assert change == {"content": 1, "events": 1, "halts": 1, "log_entries": 1}
        assert lifted["halts"] == before["halts"]
        assert lifted["events"] == before["events"] + 2


class TestList:
    def test_says_all(self, admin):
        """A halt in the list says what it covers, why, by whom, since when, whether it lasts."""
        done = set_halt(admin, "odd", agent=A, session_id="s")
        (one,) = listed(admin).halts
        assert one == done.halt
        assert one.scope == admin_pb2.HaltScope(agent=A, session_id="s")
        assert (one.reason, one.person, one.durable) == ("odd", "admin-person", True)
        assert one.set_by.startswith("p-")
        assert one.name.startswith("halts/")
        assert one.HasField("set_at")

    def test_pages_and_filters(self, admin):
        """Pages follow one another by time; a filter names what a scope names."""
        names = [
            set_halt(admin, **scope).halt.name
            for scope in ({"agent": A}, {"agent": B}, {"tool": "python_run"}, {"all": True})
        ]
        first = listed(admin, page_size=3)
        second = listed(admin, page_size=3, page_token=first.next_page_token)
        assert [one.name for one in (*first.halts, *second.halts)] == names
        assert second.next_page_token == ""
        assert [one.name for one in listed(admin, filter=f"agent={B}").halts] == names[1:2]
        assert [one.name for one in listed(admin, filter="tool=python_run").halts] == names[2:3]
        assert failure(lambda: listed(admin, filter="x=1")).fields == ("filter",)


class TestResume:
    def test_one(self, admin):
        """A halt is lifted by its name or its id, in whatever case; the others stay."""
        first, second, third = (
            set_halt(admin, **scope).halt.name
            for scope in ({"agent": A}, {"agent": B}, {"tool": "python_run"})
        )
        for name in (first, second.removeprefix("halts/").lower()):
            request = admin_pb2.ResumeRequest(halt=name)
            answer = admin.admin.Resume(request, timeout=TIMEOUT_S)
            assert len(answer.halts) == 1
        assert [one.name for one in listed(admin).halts] == [third]

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({}, "INVALID_ARGUMENT"),
            ({"halt": "ABCDEFGH", "all": True}, "INVALID_ARGUMENT"),
            ({"halt": "halts/x"}, "INVALID_ARGUMENT"),
            ({"halt": "ABCDEFG"}, "INVALID_ARGUMENT"),
            ({"halt": "ABCDEFGH"}, "NOT_FOUND"),
        ],
    )
    def test_refused(self, admin, fields, code):
        """What names no active halt lifts none."""
        set_halt(admin, agent=A)
        request = admin_pb2.ResumeRequest(**fields)
        found = failure(lambda: admin.admin.Resume(request, timeout=TIMEOUT_S))
        assert found.code.name == code
        assert len(listed(admin).halts) == 1
