"""The shipped policy, call by call, on the engine that the broker embeds."""

from dataclasses import replace

import pytest

from broker.adapters.opa_wasm import WasmEngine
from broker.core.canonical import JsonObject, canonical_json
from broker.core.decision import Approval, Requirement
from broker.core.decision_reader import read_decision
from broker.core.identity import Role
from tests.policy.samples import AGENT, HISTORY, LIMITS, PATHS, ask

CALLS = [
    ("python", ask("python_run", {"code": "1"}), "allow", "default.python_run"),
    ("list", ask("workspace_list"), "allow", "default.workspace"),
    ("list_folder", ask("workspace_list", {"path": "data"}), "allow", "default.workspace"),
    ("read", ask("workspace_read", {"path": "notes.txt"}), "allow", "default.workspace"),
    ("pdf", ask("pdf_text", {"path": "report.pdf"}), "allow", "default.workspace"),
    ("search", ask("text_search", {"pattern": "x"}), "allow", "default.workspace"),
    ("search_folder", ask("text_search", {"path": "data"}), "allow", "default.workspace"),
    (
        "search_with_credentials",
        ask("text_search", {"pattern": "x"}, paths=(*PATHS, "data/.env")),
        "deny",
        "default.credential_searched",
    ),
    (
        "search_dot_with_credentials",
        ask("text_search", {"path": "."}, paths=(*PATHS, "data/.env")),
        "deny",
        "default.credential_searched",
    ),
    (
        "search_folder_with_credentials",
        ask("text_search", {"path": "data"}, paths=(*PATHS, "data/keys/id_rsa")),
        "deny",
        "default.credential_searched",
    ),
    (
        "search_beside_credentials",
        ask("text_search", {"path": "data"}, paths=(*PATHS, ".env", "data.d/.env")),
        "allow",
        "default.workspace",
    ),
    ("search_env", ask("text_search", {"path": ".env"}), "deny", "default.credential_path"),
    ("pdf_key", ask("pdf_text", {"path": "k/x.key"}), "deny", "default.credential_path"),
    ("pdf_no_path", ask("pdf_text"), "deny", "default.path_unknown"),
    ("pdf_dotdot", ask("pdf_text", {"path": "../x"}), "deny", "default.path_escapes"),
    ("search_absolute", ask("text_search", {"path": "/etc"}), "deny", "default.path_escapes"),
    (
        "fetch_as_shipped",
        ask("http_fetch", {"url": "https://example.org/"}),
        "deny",
        "default.fetch_closed",
    ),
    ("fetch_unclear", ask("http_fetch", {"url": "-"}), "deny", "default.fetch_unclear"),
    *(
        (f"fetch_{name}", ask("http_fetch", {"url": url}), "deny", rule)
        for name, url, rule in [
            ("short_address", "http://127.1/", "default.fetch_unclear"),
            ("empty_label", "https://a..b/", "default.fetch_unclear"),
            ("other_scheme", "ftp://example.org/", "default.fetch_unclear"),
            ("credentials", "https://u:p@example.org/", "default.fetch_unclear"),
            ("ipv6", "https://[2606:4700::1111]/", "default.fetch_closed"),
        ]
    ),
    *(
        (f"sql_{name}", ask("sql_query", {"statement": text}), "deny", rule)
        for name, text, rule in [
            ("reads", "SELECT 1", "default.sql_reading_closed"),
            ("writes", "DELETE FROM t", "default.sql_writing_closed"),
            ("unclear", "SELEC", "default.sql_writing_closed"),
            ("several", "SELECT 1; SELECT 2", "default.sql_several"),
        ]
    ),
    ("write_new", ask("workspace_write", {"path": "new.txt"}), "allow", "default.workspace"),
    ("overwrite", ask("workspace_write", {"path": "notes.txt"}), "hold", "default.overwrite"),
    (
        "overwrite_spelt_otherwise",
        ask("workspace_write", {"path": "data/./x/../in.csv"}),
        "deny",
        "default.path_escapes",
    ),
    (
        "overwrite_dots",
        ask("workspace_write", {"path": "./notes.txt"}),
        "hold",
        "default.overwrite",
    ),
    (
        "delete",
        ask("workspace_delete", {"path": "notes.txt"}, destructive=True),
        "hold",
        "default.delete",
    ),
    (
        "delete_not_marked",
        ask("workspace_delete", {"path": "notes.txt"}),
        "hold",
        "default.delete",
    ),
    (
        "destructive",
        ask("python_run", {"code": "1"}, destructive=True),
        "hold",
        "default.destructive_tool",
    ),
    ("unknown_tool", ask("rocket_launch"), "deny", "broker.not_allowed"),
    (
        "unknown_destructive_tool",
        ask("rocket_launch", destructive=True),
        "deny",
        "broker.hold_without_allow",
    ),
    ("env_file", ask("workspace_write", {"path": ".env"}), "deny", "default.credential_path"),
    ("env_upper", ask("workspace_read", {"path": "a/.ENV"}), "deny", "default.credential_path"),
    ("key", ask("workspace_read", {"path": "k/id_rsa"}), "deny", "default.credential_path"),
    ("pem", ask("workspace_delete", {"path": "tls.pem"}), "deny", "default.credential_path"),
    ("ssh", ask("workspace_write", {"path": ".ssh/config"}), "deny", "default.credential_path"),
    ("dotdot", ask("workspace_read", {"path": "../x"}), "deny", "default.path_escapes"),
    ("absolute", ask("workspace_read", {"path": "/etc/passwd"}), "deny", "default.path_escapes"),
    ("no_path", ask("workspace_read"), "deny", "default.path_unknown"),
    ("path_of_wrong_type", ask("workspace_read", {"path": 1}), "deny", "default.path_unknown"),
    (
        "no_role",
        ask("python_run", identity=replace(AGENT, roles=frozenset({Role.APPROVER}))),
        "deny",
        "default.unknown_agent",
    ),
    (
        "no_identity",
        ask("python_run", identity=replace(AGENT, id="")),
        "deny",
        "default.unknown_agent",
    ),
    (
        "budget_spent",
        ask("python_run", history=replace(HISTORY, budget_spent=5, budget_limit=5)),
        "deny",
        "default.budget_spent",
    ),
    (
        "budget_left",
        ask("python_run", history=replace(HISTORY, budget_spent=4, budget_limit=5)),
        "allow",
        "default.python_run",
    ),
    (
        "too_many_denials",
        ask("python_run", history=replace(HISTORY, denied=(600, 600, 600))),
        "deny",
        "default.too_many_denials",
    ),
    (
        "too_many_calls",
        ask("python_run", history=replace(HISTORY, calls=(0, 60_000, 60_000))),
        "deny",
        "default.too_many_calls",
    ),
]


BOTH = frozenset({"confidential", "untrusted"})
FLOWS = [
    ("says_nothing", ask("python_run"), ()),
    ("open_and_says_nothing", ask("lookup", open_world=True), ("untrusted",)),
    ("by_its_word", ask("sql_query", open_world=True, labels=("confidential",)), ("confidential",)),
    ("other_words", ask("python_run", labels=("internal", "untrusted")), ("untrusted",)),
    ("of_the_call_alone", ask("python_run", seen=BOTH), ()),
]


class TestDefaultPolicy:
    """What the shipped policy says."""

    @pytest.mark.parametrize(
        ("request_", "effect", "rule"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS]
    )
    async def test_effect_and_rule(
        self, wasm: WasmEngine, request_: JsonObject, effect: str, rule: str
    ) -> None:
        """Each call gets its effect, and the first reason names the rule."""
        answer = await wasm.evaluate(canonical_json(request_))
        decision = read_decision(answer.output, LIMITS)
        assert (decision.effect.value, decision.reasons[0].rule) == (effect, rule)

    @pytest.mark.parametrize(
        ("request_", "labels"), [row[1:] for row in FLOWS], ids=[row[0] for row in FLOWS]
    )
    async def test_labels(
        self, wasm: WasmEngine, request_: JsonObject, labels: tuple[str, ...]
    ) -> None:
        """A call is labelled with what its tool's author says of what it gives."""
        answer = await wasm.evaluate(canonical_json(request_))
        assert read_decision(answer.output, LIMITS).labels == labels

    async def test_hold_asks_for_one_vote(self, wasm: WasmEngine) -> None:
        """Where no rule says who approves, one eligible approver does, within the hour."""
        answer = await wasm.evaluate(canonical_json(ask("workspace_write", {"path": "notes.txt"})))
        decision = read_decision(answer.output, LIMITS)
        assert decision.approval == Approval(
            requirements=(Requirement(group="", count=1),), decide_within_s=3600, run_within_s=600
        )

    async def test_ceilings(self, wasm: WasmEngine) -> None:
        """The agent's ceilings are set, whatever the tool's limits."""
        answer = await wasm.evaluate(canonical_json(ask("python_run")))
        assert read_decision(answer.output, LIMITS).obligations.limits.by_name() == {
            "cpu_millicores": 2000,
            "memory_bytes": 1_073_741_824,
            "pids": 256,
            "timeout_s": 300,
            "output_bytes": 33_554_432,
            "tmp_bytes": 268_435_456,
        }
