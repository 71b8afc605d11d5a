"""The reviewer's view: complete, and beyond the agent's reach."""

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given

from broker.core.call import InputFile
from broker.core.canonical import canonical_json
from broker.core.decision import (
    Approval,
    Decision,
    Effect,
    Limits,
    Obligations,
    Reason,
    Requirement,
)
from broker.core.ids import AgentId, CallId, Sha256
from broker.core.view import HeldCall, render_view
from tests.core.json_values import AWKWARD_TEXTS, OBJECTS, TEXTS

OBLIGATIONS = Obligations(
    runtime="runc",
    limits=Limits(
        cpu_millicores=1000,
        memory_bytes=268_435_456,
        pids=64,
        timeout_s=60,
        output_bytes=1_048_576,
        tmp_bytes=67_108_864,
    ),
    egress=("example.org:443",),
    secrets=("token",),
    redact=("/arguments/code",),
)
HELD = HeldCall(
    call=CallId("01JABCDEFGHJKMNPQRSTVWXYZ0"),
    short_id="K7Q2M9XA",
    hold_number=1,
    tool="workspace_delete",
    tool_version="1.0.0",
    tool_sha256=Sha256("2" * 64),
    image="sha256:" + "1" * 64,
    agent=AgentId("spiffe://toolwarrant.dev/agent"),
    owner="agent-owner",
    session_id="session-1",
    session_labels=("confidential", "untrusted"),
    purpose="clean up",
    arguments={"path": "old.txt"},
    arguments_sha256=Sha256("2" * 64),
    inputs=(InputFile(argument="from_output", sha256=Sha256("3" * 64), size_bytes=7),),
    workspace_sha256=Sha256("4" * 64),
    workspace_paths=("a.txt", "old.txt"),
    decision=Decision(
        effect=Effect.HOLD,
        reasons=(
            Reason(
                rule="files.delete", message="it deletes", agent_message="wait", severity="high"
            ),
        ),
        risk=70,
        obligations=OBLIGATIONS,
        approval=Approval(
            requirements=(Requirement(group="security", count=1), Requirement(group="", count=2)),
            decide_within_s=3600,
            run_within_s=600,
        ),
        labels=("touched",),
        output={},
    ),
    obligations=OBLIGATIONS,
    policy_revision="r1",
    received_at=datetime(2026, 1, 1, tzinfo=UTC),
    decide_by=datetime(2026, 1, 1, 1, tzinfo=UTC),
)
HEADINGS = [line for line in render_view(HELD)[0].split("\n") if not line.startswith("| ")]


def text_of(**changed: object) -> str:
    return render_view(replace(HELD, **changed))[0]


def arguments_of(arguments: object) -> str:
    return text_of(arguments=arguments).split("ARGUMENTS (complete)\n")[1].split("\n\n")[0]


class TestView:
    @pytest.mark.parametrize(
        "line",
        [
            "| call: calls/01JABCDEFGHJKMNPQRSTVWXYZ0",
            "| short id: K7Q2M9XA",
            "| tool: workspace_delete 1.0.0",
            "| definition SHA-256: " + "2" * 64,
            "| image: sha256:" + "1" * 64,
            "| agent: spiffe://toolwarrant.dev/agent",
            "| owner: agent-owner",
            "| session: session-1",
            "LABELS (of what its agent was given so far)",
            '| "untrusted"',
            "PURPOSE (the agent's own claim)",
            "| > clean up",
            '|   "path": "old.txt"',
            '| "from_output": 7 bytes, SHA-256 ' + "3" * 64,
            '| "old.txt"',
            "| risk: 70 of 100",
            "| rule files.delete, severity high",
            "|   > it deletes",
            '| label for its agent: "touched"',
            "| memory_bytes: 268435456",
            '|   "example.org:443"',
            '| 1 of group "security"',
            "| 2 of all who are eligible",
            "| decide by: 2026-01-01T01:00:00.000000Z",
            "| then run within: 600 s",
        ],
    )
    def test_everything_stands_in_it(self, line):
        """Each fact that the reviewer decides on has its line."""
        assert line in render_view(HELD)[0].split("\n")

    def test_code_is_shown_line_by_line(self):
        """A program is readable as one, its backslashes as they are."""
        assert arguments_of({"code": 'a = "\\n"\nprint(a)', "n": 1.5}) == (
            "| {\n"
            '|   "code": text of 2 lines,\n'
            '|     > a = "\\n"\n'
            "|     > print(a)\n"
            '|   "n": 1.5\n'
            "| }"
        )

    @given(OBJECTS, TEXTS | AWKWARD_TEXTS, TEXTS | AWKWARD_TEXTS)
    def test_nothing_foreign_acts_or_draws_a_heading(self, arguments, word, other):
        """Whatever is written, the headings stay, and no control gets through but line ends."""
        reasons = (Reason(rule=word, message=other, agent_message="", severity=word),)
        text = text_of(
            arguments=arguments,
            purpose=word,
            session_id=other,
            workspace_paths=(word, other),
            decision=replace(HELD.decision, reasons=reasons),
        )
        assert [line for line in text.split("\n") if not line.startswith("| ")] == HEADINGS
        hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert {char for char in text if unicodedata.category(char) in hidden} == {"\n"}

    @given(OBJECTS, OBJECTS)
    def test_different_arguments_look_different(self, one, other):
        """No two arguments have the same view."""
        assume(canonical_json(one) != canonical_json(other))
        assert arguments_of(one) != arguments_of(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"a": "\u202e"}, {"a": "\\u{202E}"}),
            ({"a": "\u202e\n"}, {"a": "\\u{202E}\n"}),
            ({"a": "x\n"}, {"a": "x"}),
            ({"a": "x\n"}, {"a": "x\\n"}),
            ({"a": "x\ny"}, {"a": "x\n> y"}),
            ({"a": "1\n2"}, {"a": "text of 2 lines"}),
            ({"a": '1\n2",\n  "b": "3'}, {"a": "1\n2", "b": "3"}),
            ({"a": "1\n"}, {"a": "1\n,"}),
            ({"a": ["1\n", "2"]}, {"a": ["1\n", "2", ""]}),
            ({"a": 1}, {"a": "1"}),
            ({"a": None}, {"a": "null"}),
            ({"a": {}}, {"a": []}),
            ({"a": ""}, {}),
            ({"é": 1}, {"e\u0301": 1}),
        ],
    )
    def test_look_alikes_look_different(self, one, other):
        """Arguments made to be mistaken for one another are told apart."""
        assert arguments_of(one) != arguments_of(other)

    @pytest.mark.parametrize("filler", ["x", "\n", "\u202e", "é\n", "\u0301"])
    def test_a_megabyte_is_shown_in_full(self, filler):
        """Nothing is cut off, however long it is."""
        shown = arguments_of({"a": filler * (1_000_000 // len(filler.encode())) + "END"})
        assert shown.rstrip('"}|\n ').endswith("END")
        assert len(shown) >= 500_000

    def test_an_empty_purpose_is_not_the_word_none(self):
        """No purpose is told apart from a purpose that says so."""
        assert text_of(purpose="") != text_of(purpose="(none)")

    def test_the_body_carries_the_text_with_the_facts(self):
        """The VIEW document holds exactly what was shown, and the same facts for programs."""
        text, body = render_view(HELD)
        assert body["text"] == text
        assert body["arguments"] == {"path": "old.txt"}
        assert canonical_json(body)

    def test_only_a_hold_has_a_view(self):
        """A decision that asks nobody cannot be shown for approval."""
        with pytest.raises(ValueError, match="asks for approval"):
            replace(HELD, decision=replace(HELD.decision, effect=Effect.DENY, approval=None))
