"""`toolwarrant policy replay` over the store of a real broker."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.cli.exits import Exit
from broker.shipped import policies_dir
from tests.broker_process import UNHURRIED, Folder, Served
from tests.e2e.policies import compile_policy

PROGRAM = Path(sys.executable).with_name("toolwarrant")
SHIPPED = policies_dir() / "bundle.tar.gz"
DENIALS = 5
STRICTER = """package teams.probe

deny contains {"rule": "probe.no_python", "message": "m"} if input.tool.name == "python_run"

hold contains {"rule": "probe.look", "message": "m"} if input.tool.name == "workspace_write"

limit contains {"name": "pids", "value": 7}
"""


def replay(bundle: Path, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    argv = [PROGRAM, "policy", "replay", "--bundle", bundle, "--config", config, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture(scope="module")
def config(development_folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a running broker that decided in every way: ten decisions of policy."""
    folder = development_folder.copy(tmp_path_factory.mktemp("replayed") / "dev", UNHURRIED)
    with Served(folder) as broker:
        agent, approver = broker.client("agent"), broker.client("approver")
        agent.call("python_run", {"code": "print(1)"})
        agent.call("workspace_write", {"path": "a.txt", "content": "1"})
        for number in range(DENIALS):
            agent.call("workspace_write", {"path": f"{number}/.env", "content": "1"})
        agent.call("workspace_delete", {"path": "b.txt"})
        # Decided twice: when it came, and again before it began.
        held = agent.call("workspace_delete", {"path": "a.txt"})
        hold = approver.hold(held.name)
        approver.approve(held.name, hold.view_sha256, reason="as seen")
        agent.wait(held.name)
        agent.call("no_such_tool", {})
        yield folder.config


@pytest.fixture(scope="module")
def stricter(opa: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that denies Python, holds every write and lowers a limit."""
    return compile_policy(STRICTER, tmp_path_factory.mktemp("stricter"), opa)


class TestReplay:
    def test_every_decision_replays_to_the_same_bytes(self, config):
        """By the bundle that decided nothing changes, in any field of any decision."""
        done = replay(SHIPPED, config, "-o", "json")
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["changes"]) == (Exit.OK, [])
        assert (answer["decisions"], answer["not_policys"], answer["erased"]) == (10, 1, 0)
        assert answer["failed"] == 0
        assert answer["holds"] == {"were": 2, "would_be": 2}

    def test_changes_are_told_by_effect_rule_tool_and_agent(self, config, stricter):
        """What a stricter bundle would have denied, held, or run under other limits."""
        done = replay(stricter, config, "-o", "json", "--since", "1h")
        answer = json.loads(done.stdout)
        assert done.returncode == Exit.TOOL_FAILED
        assert (answer["decisions"], len(answer["changes"])) == (10, 10)
        assert {(e["was"], e["would_be"], e["decisions"]) for e in answer["by_effect"]} == {
            ("allow", "deny", 1),
            ("allow", "hold", 1),
            ("deny", "deny", DENIALS),
            ("hold", "hold", 3),
        }
        assert answer["by_rule"] == [
            {"rule": "default.python_run", "no_longer": 1, "newly": 0},
            {"rule": "default.workspace", "no_longer": 1, "newly": 0},
            {"rule": "probe.look", "no_longer": 0, "newly": 1},
            {"rule": "probe.no_python", "no_longer": 0, "newly": 1},
        ]
        assert answer["by_tool"] == {
            "python_run": 1,
            "workspace_write": 1 + DENIALS,
            "workspace_delete": 3,
        }
        assert list(answer["by_agent"].values()) == [10]
        assert answer["holds"] == {"were": 2, "would_be": 3}

    def test_people_get_tables(self, config, stricter):
        """The same for a terminal; the progress bar is for terminals alone."""
        done = replay(stricter, config)
        assert done.returncode == Exit.TOOL_FAILED
        assert "10 decisions replayed: 10 would change, 2 of them in their effect" in done.stdout
        assert "held: 2 calls; would be held: 3" in done.stdout
        assert "probe.no_python" in done.stdout
        assert done.stderr == (
            "left out: 1 that the broker decided itself, 0 for which policy gave no decision, "
            "0 whose content was erased\n"
        )

    def test_the_store_is_only_read(self, config, stricter):
        """A replay beside a running broker writes nothing into its store."""
        store = sqlite3.connect(f"file:{config.parent / 'toolwarrant.db'}?mode=ro", uri=True)
        before = store.execute("SELECT max(sequence) FROM events").fetchone()
        replay(stricter, config)
        assert store.execute("SELECT max(sequence) FROM events").fetchone() == before
        store.close()


class TestCouldNot:
    """Exit code 2: nothing can be said of the bundle."""

    def test_no_bundle(self, config, tmp_path):
        """A file that is none is named."""
        (tmp_path / "b").write_bytes(b"x")
        done = replay(tmp_path / "b", config)
        assert (done.returncode, "cut short, too large" in done.stderr) == (Exit.USAGE, True)

    @pytest.mark.parametrize("since", ["7", "d", "0d", "1y", "-1d", ""])
    def test_no_span(self, config, since):
        """A time that is none is refused, with how to write one."""
        done = replay(SHIPPED, config, "--since", since)
        assert (done.returncode, "such as 7d" in done.stderr) == (Exit.USAGE, True)

    def test_nothing_kept(self, development_folder, tmp_path):
        """A folder whose broker never ran has no store to read."""
        folder = development_folder.copy(tmp_path / "dev", {})
        done = replay(SHIPPED, folder.config)
        assert (done.returncode, "cannot be read as a store" in done.stderr) == (Exit.USAGE, True)
