"""The program itself, as people and programs run it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from broker.cli.exits import Exit, exit_of_error, exit_of_state
from broker.cli.main import app
from broker.client import ClientError
from broker.core.lifecycle import CallState
from broker.errors import BrokerError, ConfigurationError, InvalidArgument

COMMANDS = [
    [],
    ["init"],
    ["serve"],
    ["doctor"],
    ["call"],
    ["calls", "list"],
    ["calls", "show"],
    ["calls", "watch"],
    ["calls", "cancel"],
    ["files", "put"],
    ["files", "get"],
    ["files", "list"],
    ["tools", "list"],
    ["tools", "show"],
    ["tools", "validate"],
    ["tools", "build"],
    ["holds", "list"],
    ["holds", "watch"],
    ["holds", "show"],
    ["holds", "approve"],
    ["holds", "reject"],
    ["policy", "build"],
    ["policy", "check"],
    ["policy", "test"],
    ["policy", "replay"],
    ["policy", "explain"],
    ["receipts", "list"],
    ["receipts", "get"],
    ["receipts", "verify"],
    ["receipts", "verify-export"],
    ["receipts", "export"],
    ["keys", "rotate"],
    ["trust-root", "show"],
    ["trust-root", "new-version"],
    ["trust-root", "to-sign"],
    ["trust-root", "sign"],
    ["trust-root", "add-signature"],
    ["trust-root", "verify"],
    ["receipts", "witness-key"],
    ["halt"],
    ["resume"],
    ["halts"],
    ["drain"],
    ["version"],
]


PROGRAM = [sys.executable, "-c", "from broker.cli.main import main; main()"]


def environment() -> dict[str, str]:
    """Give this test's environment without what the program reads of it."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("TOOLWARRANT_")}
    return keep | {"PYTHONPATH": str(Path(__file__).parents[2])}


def toolwarrant(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the program with nothing of this test's environment that it reads."""
    return subprocess.run(
        [*PROGRAM, *words],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set for a broker that is not running."""
    folder = tmp_path_factory.mktemp("program")
    # Port 1 is nobody's: a connection there is refused at once.
    done = toolwarrant(
        "init", "dev", "--no-images", "--listen", "127.0.0.1:1", "--metrics", "", cwd=folder
    )
    config = f"--config {folder}/dev/toolwarrant.toml\n"
    # Not "ready": a broker starts with pinned images only.
    assert done.stdout == f"no images are pinned yet: toolwarrant tools build --pin {config}"
    assert done.stderr.endswith(f"then: toolwarrant serve {config}")
    return folder / "dev"


class TestStart:
    def test_no_command_waits_for_what_others_need(self):
        """Neither a policy engine nor Docker's SDK is loaded before a command asks for it."""
        heavy = {"aiohttp", "docker", "requests", "wasmtime"}
        program = f"import sys, broker.cli.main; print(*{heavy} & set(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout == "\n"


class TestHelp:
    """`--help`."""

    @pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(row) or "all" for row in COMMANDS])
    def test_every_command_explains_itself(self, command: list[str]) -> None:
        """Each command has help; exit codes stand there."""
        done = CliRunner().invoke(app, [*command, "--help"])
        assert done.exit_code == 0
        assert "Usage:" in done.stdout

    @pytest.mark.parametrize("command", [["call"], ["calls", "show"], ["receipts", "verify"], []])
    def test_exit_codes_are_documented(self, command: list[str]) -> None:
        """Whoever scripts it finds the codes."""
        assert "Exit codes:" in CliRunner().invoke(app, [*command, "--help"]).stdout


class TestErrors:
    """What goes wrong, in one line."""

    def test_an_absent_broker_is_code_6(self, dev: Path) -> None:
        """The line says where it looked and how to start one; no traceback."""
        done = toolwarrant("calls", "list", "--config", "toolwarrant.toml", cwd=dev)
        assert done.returncode == Exit.UNREACHABLE
        assert done.stdout == ""
        assert done.stderr.startswith("error: no broker answers at 127.0.0.1:1 ")
        assert "toolwarrant serve" in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stderr.endswith(" [BROKER_UNREACHABLE]\n")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["call", "t", "--config", "absent.toml"], "error: absent.toml: does not exist: "),
            (["call", "t", "word"], "error: arguments: 'word' is neither key=value"),
            (
                ["call", "t", "--as", "nobody"],
                "there is admin, agent, agent2, approver, approver2, auditor, policy\n",
            ),
            (["--as", "nobody", "call", "t"], "there is admin, agent, agent2, "),
            (["call", "--as", "../agent", "t"], "is no name of a pair"),
            (["frobnicate"], "No such command 'frobnicate'"),
            (["call"], "Missing argument"),
            (["calls", "list", "-o", "xml"], "'xml' is not one of 'table', 'json'"),
            (["receipts", "verify", "x"], "--trust-root"),
            (["init", "."], "error: {cwd}: already holds pki, keys, "),
        ],
    )
    def test_wrong_usage_is_code_2(self, dev: Path, words: list[str], said: str) -> None:
        """What is wrong is said on standard error, with the remedy."""
        done = toolwarrant(*words, cwd=dev)
        assert done.returncode == Exit.USAGE
        assert said.format(cwd=dev) in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""

    def test_a_lost_answer_can_be_found(self, dev: Path) -> None:
        """Who got no answer learns how to repeat the call without making it twice."""
        done = toolwarrant("call", "t", "--config", "toolwarrant.toml", cwd=dev)
        named = toolwarrant("call", "t", "--request-id", "mine", cwd=dev)
        assert (done.returncode, named.returncode) == (Exit.UNREACHABLE, Exit.UNREACHABLE)
        assert re.search("repeat it with --request-id [0-9a-f]{32}, which finds it", done.stderr)
        assert "repeat it with --request-id mine, which" in named.stderr

    def test_ctrl_c_says_that_the_call_goes_on(self, dev: Path) -> None:
        """Who stops waiting for a call learns that it is not cancelled, and where to look."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            waiting = subprocess.Popen(
                [*PROGRAM, "call", "t", "--address", address],
                cwd=dev,
                env=environment(),
                stderr=subprocess.PIPE,
                # A shell's job in the background ignores it, and so would what it starts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            connection, _ = silent.accept()
            waiting.send_signal(signal.SIGINT)
            _, said = waiting.communicate(timeout=60)
            connection.close()
        assert waiting.returncode == Exit.INTERRUPTED
        assert b"goes on: toolwarrant calls list" in said
        assert b"Traceback" not in said

    def test_a_hostile_message_does_not_act(self, dev: Path) -> None:
        """Control characters of an argument come back escaped."""
        done = toolwarrant("call", "t", "--config", "\x1b[31m.toml", cwd=dev)
        assert "\x1b" not in done.stderr
        assert r"\u{1B}[31m.toml" in done.stderr

    def test_a_broken_configuration_is_named_by_line(self, tmp_path: Path) -> None:
        """File and line stand first."""
        (tmp_path / "toolwarrant.toml").write_text("[server]\nlisten = 1\n")
        done = toolwarrant("calls", "list", cwd=tmp_path)
        assert done.returncode == Exit.USAGE
        assert done.stderr.startswith("error: toolwarrant.toml:2: server.listen: ")


class TestExitCodes:
    """Which code means what."""

    def test_every_state_has_its_code(self) -> None:
        """The code tells success, the tool's failure, a refusal, waiting, the rest."""
        codes = {state: exit_of_state(state) for state in CallState}
        assert codes == {
            CallState.RECEIVED: Exit.HELD,
            CallState.HELD: Exit.HELD,
            CallState.QUEUED: Exit.HELD,
            CallState.RUNNING: Exit.HELD,
            CallState.SUCCEEDED: Exit.OK,
            CallState.FAILED: Exit.TOOL_FAILED,
            CallState.DENIED: Exit.DENIED,
            CallState.REJECTED: Exit.DENIED,
            CallState.EXPIRED: Exit.ENDED_OTHERWISE,
            CallState.CANCELLED: Exit.ENDED_OTHERWISE,
            CallState.TIMED_OUT: Exit.ENDED_OTHERWISE,
            CallState.KILLED: Exit.ENDED_OTHERWISE,
            CallState.INTERRUPTED: Exit.ENDED_OTHERWISE,
            CallState.SANDBOX_ERROR: Exit.ENDED_OTHERWISE,
        }
        assert exit_of_state(None) is Exit.ENDED_OTHERWISE

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (ConfigurationError("f", 1, "m"), Exit.USAGE),
            (InvalidArgument("f", "m"), Exit.USAGE),
            (BrokerError("m"), Exit.TOOL_FAILED),
            (ClientError(grpc.StatusCode.INVALID_ARGUMENT, "X", "m"), Exit.USAGE),
            (ClientError(grpc.StatusCode.UNAVAILABLE, "DRAINING", "m", 1), Exit.UNREACHABLE),
            (ClientError(grpc.StatusCode.DEADLINE_EXCEEDED, "X", "m"), Exit.UNREACHABLE),
            (ClientError(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "m"), Exit.REFUSED),
            (ClientError(grpc.StatusCode.RESOURCE_EXHAUSTED, "X", "m"), Exit.REFUSED),
        ],
    )
    def test_every_error_has_its_code(self, error: BrokerError, code: Exit) -> None:
        """The code tells wrong usage, an absent broker and a refusal apart."""
        assert exit_of_error(error) is code


class TestDoctor:
    """`toolwarrant doctor`."""

    def test_it_names_what_has_to_be_mended(self, dev: Path) -> None:
        """Without pinned images no tool runs: one finding fails, with its remedy."""
        done = toolwarrant("doctor", "-o", "json", cwd=dev)
        report = json.loads(done.stdout)
        failed = [row for row in report["findings"] if row["level"] == "fail"]
        assert [row["subject"] for row in failed] == ["images"]
        assert "tools build --pin" in failed[0]["remedy"]
        assert (done.returncode, report["healthy"]) == (1, False)

    def test_it_sees_keys_that_others_can_read(self, tmp_path: Path) -> None:
        """A key of another mode is told, with the command that mends it."""
        toolwarrant("init", "dev", "--no-images", cwd=tmp_path)
        keys = [tmp_path / "dev" / name for name in ("pki/server.key", "keys/receipt.key")]
        for key in keys:
            key.chmod(0o644)
        done = toolwarrant("doctor", "--config", "dev/toolwarrant.toml", cwd=tmp_path)
        assert f"FAIL  server key: {keys[0]} has mode 0644: others can read it" in done.stdout
        assert f"FAIL  receipt key: {keys[1]}" in done.stdout
        assert done.returncode == 1

    def test_it_sees_files_that_are_gone(self, tmp_path: Path) -> None:
        """What is not there is told by its name; everything else is looked at, too."""
        toolwarrant("init", "dev", "--no-images", cwd=tmp_path)
        config = tmp_path / "dev" / "toolwarrant.toml"
        (tmp_path / "dev/pki/server.crt").unlink()
        (tmp_path / "dev/images.lock.json").unlink()
        text = config.read_text()
        config.write_text(text.replace("/var/run/docker.sock", "/absent.sock"))
        done = toolwarrant("doctor", "--config", str(config), cwd=tmp_path)
        assert "FAIL  certificates: " in done.stdout
        assert "FAIL  Docker Engine: unix:///absent.sock" in done.stdout
        assert done.returncode == 1

    def test_a_broken_configuration_is_a_finding(self, tmp_path: Path) -> None:
        """The first thing that fails is the file itself."""
        (tmp_path / "toolwarrant.toml").write_text("x = 1")
        done = toolwarrant("doctor", cwd=tmp_path)
        assert done.stdout.startswith("FAIL  configuration: toolwarrant.toml:1: x: ")
        assert done.returncode == 1
