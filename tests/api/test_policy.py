"""`PolicyService`: which policy decides, and why it decided as it did."""

import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from broker.cli.exits import Exit
from broker.client import ClientError
from broker.shipped import policies_dir
from broker.v1 import call_pb2
from tests.broker_process import Served

PROGRAM = Path(sys.executable).with_name("toolwarrant")


def denied(served: Served) -> str:
    """Make a call that two rules deny."""
    return served.client().call("http_fetch", {"url": "https://a..b/"}).name


def explain(served: Served, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `toolwarrant policy explain`."""
    argv = [PROGRAM, "policy", "explain", *words, "--config", served.folder.config]
    return subprocess.run(
        [*argv, "--address", served.target], capture_output=True, text=True, check=False, timeout=60
    )


class TestGetPolicy:
    def test_every_shipped_rule_is_listed_with_its_place(self, served):
        """The line of each rule is where its head stands in the shipped sources."""
        answer = served.client("policy").policy()
        assert answer.bundle_sha256 == served.client("admin").server_info().policy_sha256
        for rule in answer.rules:
            head = (policies_dir() / rule.file).read_text().split("\n")[rule.line - 1]
            assert head.removeprefix("default ").startswith(rule.head)
        assert {"default.delete", "default.credential_path", "broker.not_allowed"} <= {
            rule.rule for rule in answer.rules
        }


class TestExplainCall:
    @pytest.mark.parametrize("identity", ["policy", "auditor"])
    def test_each_reason_has_its_rule_by_file_and_line(self, served, identity):
        """A denial by two rules names both, the message for the team, and what has to go."""
        name = denied(served)
        (found,) = served.client(identity).explain(name).explanations
        reasons = {reason.rule: reason for reason in found.reasons}
        assert found.effect == call_pb2.EFFECT_DENY
        assert reasons.keys() == {"default.fetch_unclear", "default.fetch_closed"}
        source = reasons["default.fetch_closed"].source
        assert (source.file, source.head) == ("teams/default/fetch.rego", "deny")
        assert reasons["default.fetch_closed"].message == (
            "no destination is listed in teams/default/data.json"
        )
        assert found.remedies[0].startswith(
            "none of these may apply: default.fetch_unclear, default.fetch_closed"
        )
        assert found.is_active_bundle

    def test_the_documents_come_along(self, served):
        """In their exact text: their digests are those that the receipt names."""
        name = denied(served)
        (found,) = served.client("policy").explain(name).explanations
        assert json.loads(found.policy_input_document)["body"]["tool"]["name"] == "http_fetch"
        assert json.loads(found.decision_document)["body"]["effect"] == "deny"

    def test_a_hold_says_who_has_to_agree(self, served):
        """The requirements, or that its rules do not apply."""
        agent = served.client()
        held = agent.call("workspace_delete", {"path": "b.txt"})
        (found,) = served.client("policy").explain(held.name).explanations
        agent.cancel(held.name)
        assert [(one.group, one.count) for one in found.requirements] == [("", 1)]
        assert list(found.remedies[:2]) == [
            "1 approver(s) of any group have to agree",
            "or none of these may apply: default.delete",
        ]

    def test_the_brokers_own_refusal_is_no_rule(self, served):
        """A call of no tool has a reason without a place in the policy."""
        name = served.client().call("no_such_tool", {}).name
        (found,) = served.client("policy").explain(name).explanations
        (reason,) = found.reasons
        assert (reason.rule, reason.HasField("source")) == ("broker.tool_unknown", False)

    def test_an_agent_learns_nothing(self, served):
        """Not even of its own call: what policy was shown is not for agents."""
        with pytest.raises(ClientError) as refused:
            served.client().explain(denied(served))
        assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED

    def test_a_call_that_is_not(self, served):
        """An unknown name is not found."""
        with pytest.raises(ClientError) as refused:
            served.client("policy").explain("calls/01K00000000000000000000000")
        assert refused.value.code is grpc.StatusCode.NOT_FOUND


class TestProgram:
    def test_people_read_rule_and_place(self, served):
        """As the security team's identity, unless another is named."""
        done = explain(served, denied(served))
        assert (done.returncode, done.stderr) == (Exit.OK, "")
        assert "  default.fetch_closed [low]: no destination is listed in" in done.stdout
        assert "    teams/default/fetch.rego:" in done.stdout
        assert "what would have to be different:" in done.stdout

    def test_programs_read_one_document(self, served):
        """With everything that the RPC answers."""
        name = denied(served)
        answer = json.loads(explain(served, name, "-o", "json").stdout)
        assert answer["call"] == name
        assert answer["explanations"][0]["effect"] == "DENY"
