"""The packs on a real broker, each bound to its own group of agents."""

from collections.abc import Iterator

import pytest

from broker.init import SPIFFE_PREFIX
from broker.v1 import call_pb2
from tests.broker_process import UNHURRIED, Folder, Served
from tests.policy.samples import compiled_packs

GROUPS = {"coder": "coding", "analyst": "analysts", "supporter": "support"}
IDENTITIES = "\n".join(
    f'[identities."{SPIFFE_PREFIX}{name}"]\nowner = "alice"\nroles = ["agent"]\n'
    f'groups = ["{group}"]\n'
    for name, group in GROUPS.items()
)
SUCCEEDED, DENIED, HELD = (
    call_pb2.CALL_STATE_SUCCEEDED,
    call_pb2.CALL_STATE_DENIED,
    call_pb2.CALL_STATE_HELD,
)
ANSWER = {"url": "https://desk.example.org/1", "method": "POST", "body": "Dear customer"}


@pytest.fixture(scope="module")
def packed(
    development_folder: Folder, opa: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A broker whose teams are the three packs."""
    scratch = tmp_path_factory.mktemp("packed")
    bundle = scratch / "policy.tar.gz"
    bundle.write_bytes(compiled_packs(scratch / "policy", opa).archive)
    folder = development_folder.copy(
        scratch / "dev", {**UNHURRIED, "policy": {"bundle": str(bundle)}}, IDENTITIES
    )
    for name in GROUPS:
        folder.add_pair(name)
    with Served(folder) as running:
        yield running


def outcome(
    broker: Served, who: str, tool: str, arguments: dict[str, str]
) -> tuple[int, list[str]]:
    """Make a call; give its state with the rules that decided it."""
    call = broker.client(who).call(tool, arguments)
    return call.state, [reason.rule for reason in call.decision.reasons]


class TestPacks:
    @pytest.mark.parametrize(
        ("who", "tool", "arguments", "wanted"),
        [
            ("coder", "python_run", {"code": "print(1)"}, (SUCCEEDED, "coding_agent.open")),
            (
                "coder",
                "workspace_write",
                {"path": "src/a.py", "content": "1"},
                (SUCCEEDED, "coding_agent.open"),
            ),
            (
                "coder",
                "workspace_write",
                {"path": "etc/a", "content": "1"},
                (DENIED, "library.path_outside"),
            ),
            (
                "coder",
                "workspace_write",
                {"path": "ci/a", "content": "1"},
                (HELD, "coding_agent.guarded"),
            ),
            ("analyst", "pdf_text", {"path": "a.pdf"}, (DENIED, "data_analyst.tool_closed")),
            (
                "supporter",
                "workspace_write",
                {"path": "drafts/a", "content": "1"},
                (SUCCEEDED, "support_agent.open"),
            ),
            ("supporter", "http_fetch", ANSWER, (HELD, "support_agent.answers")),
            ("agent", "python_run", {"code": "1"}, (DENIED, "broker.not_allowed")),
        ],
    )
    def test_each_agent_is_bound_by_its_own(self, packed, who, tool, arguments, wanted):
        """By the group of its identity; who is in none is allowed nothing."""
        state, rules = outcome(packed, who, tool, arguments)
        assert (state, wanted[1] in rules) == (wanted[0], True)

    def test_what_is_private_is_not_carried_out(self, packed):
        """Once an agent touched it, it reaches nothing outside, listed hosts neither."""
        private = {"path": "private/a", "content": "1"}
        assert outcome(packed, "coder", "workspace_write", private)[0] == SUCCEEDED
        state, rules = outcome(packed, "coder", "http_fetch", {"url": "https://pypi.org/simple/"})
        assert (state, rules) == (DENIED, ["library.flow_out"])
