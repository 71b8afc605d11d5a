"""text_search and pdf_text through a broker: decided, run, receipted, and kept from credentials."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.adapters.tool_files import read_catalog
from broker.core.trust_root import read_trust_root
from broker.shipped import tools_dir
from broker.v1 import call_pb2
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.api.rpc import Rpc, fresh, rules, state
from tests.broker_process import Folder, Served
from tests.e2e.policies import compile_policy
from tests.sandbox.pdfs import pdf, shows

SECRET = "token = 5f2a"
CALLS = {
    "text_search": {"pattern": "ne+dle"},
    "pdf_text": {"path": "report.pdf"},
}


def fill(agent: Rpc, session: str, files: dict[str, str]) -> None:
    """Write files into a session's workspace."""
    for path, content in files.items():
        arguments = {"path": path, "content": content}
        written = agent.execute("workspace_write", arguments, session_id=session)
        assert state(written) == "SUCCEEDED", written


@pytest.fixture(scope="module")
def made(served: Served) -> dict[str, call_pb2.Call]:
    """A call of each tool on a workspace with a note and a PDF."""
    agent, session = Rpc.of(served), fresh("text")
    fill(agent, session, {"a/note.txt": "a needle\n", "report.pdf": pdf(shows("Total")).decode()})
    return {
        tool: agent.execute(tool, arguments, session_id=session)
        for tool, arguments in CALLS.items()
    }


class TestGoverned:
    """Both tools, called as an agent calls them."""

    def test_answers(self, made: dict[str, call_pb2.Call]) -> None:
        """Policy allows them, and their one JSON document is the call's standard output."""
        assert {tool: (state(call), rules(call)) for tool, call in made.items()} == dict.fromkeys(
            CALLS, ("SUCCEEDED", ["default.workspace"])
        )
        search = json.loads(made["text_search"].result.stdout_text)
        assert search["matches"] == [
            {"path": "a/note.txt", "line": 1, "column": 3, "text": "a needle"}
        ]
        read = json.loads(made["pdf_text"].result.stdout_text)
        assert read["pages"] == [{"page": 1, "text": "Total\n\n"}]

    @pytest.mark.parametrize("tool", CALLS)
    def test_receipt_verifies(
        self, served: Served, made: dict[str, call_pb2.Call], tool: str
    ) -> None:
        """Its receipt, with request and result, is valid; with another result it is not."""
        found = served.client("auditor").receipt(made[tool].name)
        root = read_trust_root((served.folder.path / "trust-root.json").read_bytes().strip())
        request, result = found.request_document.encode(), found.result_document.encode()
        envelope = found.receipt.encode()
        good = verify_receipt(envelope, root, request=request, result=result)
        assert (good.validity, good.step) == (Validity.VALID, None)
        other = verify_receipt(envelope, root, request=request, result=result + b" ")
        assert other.validity is Validity.INVALID

    @pytest.mark.parametrize("tool", CALLS)
    def test_runs_as_locked_down_as_any(self, made: dict[str, call_pb2.Call], tool: str) -> None:
        """What was read back from the Engine is the tool's own small profile, without a network."""
        payload = base64.b64decode(json.loads(made[tool].receipt)["payload"])
        sandbox = json.loads(payload)["predicate"]["sandbox"]["facts"]
        assert (sandbox["network"], sandbox["read_only_root"]) == ("none", True)
        assert (sandbox["memory_bytes"], sandbox["pids"]) == _limits(tool)


class TestCredentials:
    """A file that policy denies by its name."""

    def test_a_search_does_not_leak_it(
        self, development_folder: Folder, opa: str, tmp_path: Path
    ) -> None:
        """No folder above it can be searched; without the rules on paths the search shows it."""
        open_paths = compile_policy(
            "", tmp_path / "open", opa, without=("teams/default/paths.rego",)
        )
        settings: Any = {
            "server": {"listen": "127.0.0.1:0"},
            "policy": {"bundle": str(open_paths)},
        }
        folder = development_folder.copy(tmp_path / "dev", settings)
        ways: list[dict[str, str]] = [{}, {"path": "."}, {"path": "app"}, {"path": "app/.env"}]
        with Served(folder) as broker:
            search = _searching(broker)
            fill(Rpc.of(broker), "s", {"app/.env": SECRET, "app/src/x": "token = os.environ"})
            for way in ways:
                assert SECRET in search(way).result.stdout_text
            broker.stop()
            folder.set({"policy": {"bundle": ""}})
            broker.start()
            search = _searching(broker)
            for way in ways:
                assert state(search(way)) == "DENIED"
            assert rules(search({"path": "app"})) == ["default.credential_searched"]
            beside = search({"path": "app/src"})
            assert [row["text"] for row in json.loads(beside.result.stdout_text)["matches"]] == [
                "token = os.environ"
            ]


def _searching(broker: Served) -> Callable[[dict[str, str]], call_pb2.Call]:
    agent = Rpc.of(broker)
    return lambda way: agent.execute("text_search", {"pattern": "token", **way}, session_id="s")


def _limits(tool: str) -> tuple[str, str]:
    (found,) = (each for each in read_catalog(tools_dir()).tools if each.name == tool)
    return str(found.limits.memory_bytes), str(found.limits.pids)
