"""The demo, run as a newcomer runs it."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import docker
import pytest

from tests.broker_process import DOCKER_URL, LABEL

ROOT = Path(__file__).resolve().parents[2]


def run_demo(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it with a temporary folder of the test's own, its output in a pipe."""
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py"],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def installation_of(store: Path) -> str:
    """Read a broker's installation id behind its back."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)) as opened:
        row = opened.execute("SELECT value FROM meta WHERE name = 'installation'").fetchone()
    return str(row[0])


def brokers_in(folder: Path) -> list[str]:
    """List the processes whose command line names a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end while we look.
        with suppress(OSError):
            found += [entry.parent.name] * (str(folder).encode() in entry.read_bytes())
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One run, of which the tests below claim things."""
    folder = tmp_path_factory.mktemp("demo")
    # Another broker's settings in the shell are no part of the story.
    done = run_demo(folder, TOOLWARRANT_CONFIG="/nowhere.toml", TOOLWARRANT_OUTPUT="json")
    (folder / "left.txt").write_text("\n".join(p.name for p in folder.iterdir()))
    done.args = folder
    return done


class TestDemo:
    def test_everything_is_as_told(self, demo):
        """It ends with exit code 0 and says so."""
        assert (demo.returncode, demo.stderr) == (0, "")
        assert "Everything was as told" in demo.stdout

    @pytest.mark.parametrize(
        "said",
        [
            "SUCCEEDED  allowed by rule default.python_run",
            "north 1500",
            "DENIED  denied by rule default.credential_path",
            "KILLED  cause: memory",
            "HELD  held by rule default.overwrite",
            "refuses: PERMISSION_DENIED, ROLE_REQUIRED",
            "A HELD CALL WAITS FOR YOUR DECISION",
            "| > south was 950, not 800",
            "END OF THE VIEW",
            "HELD  held by rule default.delete",
            "REJECTED",
            "VALID  python_run: KILLED, number 4 of the chain",
            "INVALID  at step signature",
        ],
    )
    def test_it_shows_each_outcome(self, demo, said):
        """Every chapter shows what the broker said."""
        assert said in demo.stdout

    def test_every_receipt_is_verified(self, demo):
        """Seven calls, seven valid receipts."""
        assert demo.stdout.count("verifier  VALID") == 7

    def test_a_pipe_gets_plain_lines(self, demo):
        """No escape sequence and no trailing blank reaches a pipe; lines fit a page."""
        lines = demo.stdout.split("\n")
        assert "\x1b" not in demo.stdout
        assert [line for line in lines if line != line.rstrip()] == []
        assert max(map(len, lines)) <= 96

    def test_it_leaves_nothing_behind(self, demo):
        """Its folder of keys, store and receipts is gone."""
        assert (demo.args / "left.txt").read_text() == ""


class TestAnInterruptedDemo:
    def test_it_leaves_nothing_behind(self, tmp_path):
        """Terminated while a call runs it leaves no folder, no broker and no container."""
        with subprocess.Popen(
            [sys.executable, "-u", ROOT / "scripts" / "demo.py"],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        ) as demo:
            assert demo.stdout is not None
            for line in demo.stdout:
                if "blocks.append" in line:
                    break
            (store,) = tmp_path.glob("*/broker/toolwarrant.db")
            installation = installation_of(store)
            demo.terminate()
            assert demo.wait(60) == 128 + signal.SIGTERM
        assert list(tmp_path.iterdir()) == []
        assert brokers_in(tmp_path) == []
        engine = docker.APIClient(DOCKER_URL)
        try:
            wanted = {"label": [f"{LABEL}={installation}"]}
            assert engine.containers(all=True, filters=wanted) == []
        finally:
            engine.close()


class TestAFailingDemo:
    def test_a_step_that_is_not_as_told_fails_it(self, tmp_path):
        """The exit code is 1, what differs is named, and nothing is left behind."""
        scripts = tmp_path / "scripts"
        scripts.mkdir()
        for name in ("demo.py", "demo_stage.py", "demo_broker.py"):
            text = (ROOT / "scripts" / name).read_text()
            (scripts / name).write_text(text.replace('"default.credential_path"', '"another"'))
        done = subprocess.run(
            [sys.executable, scripts / "demo.py"],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 1
        assert "the rule should be 'another', but is 'default.credential_path'" in done.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["scripts"]
