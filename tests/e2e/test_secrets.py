"""Secrets through a whole broker: who gets them, and where they are not."""

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.config import load
from broker.core.trust_root import read_trust_root
from broker.diagnosis import Level, diagnose
from broker.shipped import tools_dir
from broker.v1 import approval_pb2, call_pb2, execution_pb2
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.api.rpc import TIMEOUT_S, Rpc, fresh, state
from tests.broker_process import Folder, NotServed, Served
from tests.e2e.conftest import Compile

FILED = "s3cr3t-File/42-Token"
VARIABLE = "s3cr3t-Variable/43-Token"
NO_SECRET = "0rdinary-Text/44-Token"
NEVER = "t0p-Undeclared/45"

# It does what a call tells it, which no tool should that has secrets: tests have to.
TOOL = """schema: toolwarrant.tool/v1
name: {name}
version: 1.0.0
title: Reveal
description: Shows what it is given.
image: python_run
command: [/usr/bin/python3, -I, -c, 'import json, sys; exec(json.load(sys.stdin)["do"])']
workspace: write
secrets: [{secrets}]
input_schema:
  type: object
  required: [do]
  properties:
    do: {{type: string}}
limits:
  cpu_millicores: 500
  memory_bytes: 67108864
  pids: 8
  timeout_s: 60
  output_bytes: 65536
  tmp_bytes: 16777216
effects:
  read_only: true
  destructive: false
  idempotent: true
  reversible: true
  open_world: false
"""
POLICY = """package teams.probe

tools := {"reveal", "reveal_none"}

reason := {"rule": "probe.reveal", "message": "m", "agent_message": "a", "severity": "low"}

allow contains reason if input.tool.name in tools

hold contains reason if input.session.purpose == "hold"

# Also what a tool does not declare, and to python_run: the broker has to know better.
secret contains name if {
	input.session.purpose != "none"
	some name in ["filed", "in_variable", "undeclared"]
}
"""
SECRETS = """[secrets]
filed = "file:secrets/filed"
in_variable = "env:TOOLWARRANT_TEST_SECRET"
undeclared = "file:secrets/undeclared"
"""
NAMES = "import os; print(sorted(n for n in os.environ if n.isupper() and n not in {}))".format(
    {"PATH", "HOME", "LANG", "PYTHONDONTWRITEBYTECODE"}
)
BACKWARDS = "import os; print(os.environ['FILED'][::-1], os.environ['IN_VARIABLE'][::-1])"
SAY = f"""
import base64, os, sys
for raw in [os.environb[b"FILED"], os.environb[b"IN_VARIABLE"], b"{NO_SECRET}"]:
    os.write(1, raw[:5])
    os.write(1, raw[5:] + b"\\n")
    print(base64.b64encode(raw).decode(), raw.hex(), flush=True)
    os.write(2, raw)
    open("/out/" + str(len(raw)), "wb").write(raw)
    open("kept-" + str(len(raw)), "wb").write(raw)
    open("/out/" + raw.hex(), "wb")
"""


def write_secret(folder: Folder, name: str, value: str) -> None:
    """Write a secret's file, the new one over the old."""
    kept = folder.path / "secrets"
    kept.mkdir(exist_ok=True)
    (kept / "next").touch(mode=0o600)
    (kept / "next").write_text(f"{value}\n")
    (kept / "next").rename(kept / name)


def prepare(folder: Folder) -> Folder:
    """Give a folder two tools and three secrets."""
    shutil.copytree(tools_dir(), folder.path / "tools")
    for name, secrets in (("reveal", "filed, in_variable"), ("reveal_none", "")):
        (folder.path / "tools" / name).mkdir()
        text = TOOL.format(name=name, secrets=secrets)
        (folder.path / "tools" / name / "tool.yaml").write_text(text)
    folder.set({"sandbox": {"tools_dir": "tools"}})
    folder.replace("[secrets]\n", SECRETS)
    write_secret(folder, "filed", FILED)
    write_secret(folder, "undeclared", NEVER)
    return folder


@pytest.fixture(scope="module")
def secret_folder(
    people_folder: Folder, compile_team: Compile, tmp_path_factory: pytest.TempPathFactory
) -> Folder:
    """A folder with secrets. Copy it, never serve from it."""
    bundle = str(compile_team(POLICY))
    path = tmp_path_factory.mktemp("secrets") / "dev"
    return prepare(people_folder.copy(path, {"policy": {"bundle": bundle}}))


ENVIRONMENT = {"TOOLWARRANT_TEST_SECRET": VARIABLE}


@pytest.fixture(scope="module")
def broker(
    secret_folder: Folder, opa: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A broker with secrets that tests share; its policy engine is a child process."""
    folder = secret_folder.copy(
        tmp_path_factory.mktemp("shared") / "dev",
        {"policy": {"engine": "opa", "opa_binary": opa}, "log": {"level": "debug"}},
    )
    with Served(folder, ENVIRONMENT) as running:
        yield running


@pytest.fixture
def own(secret_folder: Folder, tmp_path: Path) -> Folder:
    """A folder of the test's own."""
    return secret_folder.copy(tmp_path / "dev")


def run(served: Served, do: str, tool: str = "reveal", **fields: str) -> call_pb2.Call:
    """Let a tool do something, in a session of its own."""
    name = "code" if tool == "python_run" else "do"
    return Rpc.of(served).execute(tool, {name: do}, session_id=fresh(), **fields)


def printed(call: call_pb2.Call) -> str:
    """Give what a call that succeeded printed."""
    assert state(call) == "SUCCEEDED", call
    return call.result.stdout_text.strip()


def result_of(served: Served, call: call_pb2.Call) -> dict[str, object]:
    """Read a call's result document."""
    body: dict[str, object] = json.loads(served.client().receipt(call.name).result_document)["body"]
    return body


class TestWhoGetsThem:
    """Declared by the tool and granted by policy."""

    def test_declared_and_granted(self, broker: Served) -> None:
        """The tool finds both values in its environment, and no third that policy granted too."""
        assert printed(run(broker, BACKWARDS)) == f"{FILED[::-1]} {VARIABLE[::-1]}"
        assert printed(run(broker, NAMES)) == "['FILED', 'IN_VARIABLE']"

    @pytest.mark.parametrize(
        ("tool", "purpose"),
        [("reveal", "none"), ("reveal_none", ""), ("python_run", "")],
        ids=["not granted", "not declared", "the agent's own code"],
    )
    def test_nobody_else(self, broker: Served, tool: str, purpose: str) -> None:
        """Not granted, not declared, or to run the agent's own code: the tool has none."""
        call = run(broker, NAMES, tool, purpose=purpose)
        assert printed(call) == "[]"
        assert result_of(broker, call)["secrets"] == []

    def test_after_approval(self, broker: Served) -> None:
        """Who approves is told which secrets by name; the call then gets just those."""
        call = run(broker, BACKWARDS, purpose="hold")
        assert state(call) == "HELD"
        shown = broker.client("approver2").hold(call.name)
        assert "filed" in shown.view_text
        assert "in_variable" in shown.view_text
        assert FILED not in shown.view_text
        request = approval_pb2.ApproveCallRequest(
            call=call.name, view_sha256=shown.view_sha256, reason="fine"
        )
        Rpc.of(broker, "approver2").approvals.ApproveCall(request, timeout=TIMEOUT_S)
        ended = Rpc.of(broker).wait(call.name)
        assert printed(ended) == f"{FILED[::-1]} {VARIABLE[::-1]}"


@pytest.fixture(scope="module")
def said(broker: Served) -> call_pb2.Call:
    """A call whose tool said both secrets, and a text that is none, in every way."""
    call = run(broker, SAY)
    assert state(call) == "SUCCEEDED", call
    return call


def forms(value: str) -> list[bytes]:
    """Give the forms in which `SAY` says a value."""
    raw = value.encode()
    return [raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode()]


def found(where: bytes) -> list[str]:
    """Name the values that some bytes have in some form."""
    values = (FILED, VARIABLE, NEVER, NO_SECRET)
    return [value for value in values if any(form in where for form in forms(value))]


class TestWhereTheyAreNot:
    """Everything that a broker keeps, says or starts."""

    def test_the_answer(self, said: call_pb2.Call) -> None:
        """Names stand in the place of values; what is no secret is there."""
        result = said.result
        assert found(said.SerializeToString()) == [NO_SECRET]
        lines = result.stdout_text.splitlines()
        assert lines[:4] == [
            "[secret filed]",
            "[secret filed] [secret filed]",
            "[secret in_variable]",
            "[secret in_variable] [secret in_variable]",
        ]
        assert result.stdout_size_bytes == len(result.stdout_text)
        sizes = {output.path: output.size_bytes for output in result.outputs}
        assert sizes[str(len(FILED))] == len("[secret filed]")
        assert f"'{len(FILED)}': 1 values of secrets were replaced" in result.notes

    def test_live_output(self, broker: Served) -> None:
        """Who watches a tool print its secret in two pieces sees its name, never a part of it."""
        do = (
            "import os, sys; value = os.environ['FILED']; print('begun', flush=True);"
            "sys.stdout.write(value[:5]); sys.stdout.flush(); print(value[5:], flush=True)"
        )
        agent = Rpc.of(broker)
        call = agent.execute("reveal", {"do": do}, session_id=fresh("s"), no_wait=True)
        request = execution_pb2.WatchCallRequest(call=call.name)
        pieces = [
            message.output.data or message.output.text.encode()
            for message in agent.execution.WatchCall(request, timeout=TIMEOUT_S)
            if message.HasField("output")
        ]
        assert b"".join(pieces) == b"begun\n[secret filed]\n"

    def test_the_workspace(self, broker: Served) -> None:
        """A file that a tool wrote a secret into has its name in its place, for the next call."""
        agent, session = Rpc.of(broker), fresh()
        written = agent.execute("reveal", {"do": SAY}, session_id=session)
        assert state(written) == "SUCCEEDED"
        path = f"kept-{len(FILED)}"
        read = agent.execute("workspace_read", {"path": path}, session_id=session)
        assert printed(read) == "[secret filed]"

    def test_store_and_log(self, broker: Served, said: call_pb2.Call) -> None:
        """The store's files, raw, and the log have none; the twin: what is none is found there."""
        kept = [
            broker.folder.store.with_name(broker.folder.store.name + end) for end in ("", "-wal")
        ]
        raw = b"".join(file.read_bytes() for file in kept if file.exists())
        assert said.short_id.encode() in raw
        assert found(raw) == [NO_SECRET]
        assert [form in raw for form in forms(NO_SECRET)] == [True, True, True]
        assert found(broker.words().encode()) == []
        assert said.name.removeprefix("calls/") in broker.words()

    def test_the_receipt(self, broker: Served, said: call_pb2.Call) -> None:
        """The receipt counts the secrets and says that they were given, by no name; it is valid."""
        receipt = said.receipt.encode()
        payload = base64.b64decode(json.loads(receipt)["payload"])
        assert found(payload) == []
        assert b"in_variable" not in payload
        (entry,) = [
            each
            for each in json.loads(payload)["predicate"]["obligations"]
            if each["name"] == "secrets"
        ]
        assert entry == {"name": "secrets", "count": 2, "enforced": True}
        root = read_trust_root((broker.folder.path / "trust-root.json").read_bytes())
        assert verify_receipt(receipt, root).validity is Validity.VALID
        body = result_of(broker, said)
        assert body["secrets"] == ["filed", "in_variable"]
        assert body["redactions"] == said.result.redactions >= 10

    def test_children(self, broker: Served) -> None:
        """No child of the broker has the variable; the broker was started with it."""
        pid = broker.process.pid
        children = [
            child
            for tasks in Path(f"/proc/{pid}/task").iterdir()
            for child in (tasks / "children").read_text().split()
        ]
        assert children
        for child in children:
            for name in ("environ", "cmdline"):
                assert found(Path("/proc", child, name).read_bytes()) == []
        assert found(Path(f"/proc/{pid}/environ").read_bytes()) == [VARIABLE]


class TestValues:
    """Values that change, or go."""

    def test_anew_for_each_call(self, own: Folder) -> None:
        """A new value needs no restart; one that is gone ends the call unrun, until it is back."""
        with Served(own, ENVIRONMENT) as served:
            assert FILED[::-1] in printed(run(served, BACKWARDS))
            write_secret(own, "filed", "another-value/46")
            assert "another-value/46"[::-1] in printed(run(served, BACKWARDS))
            said = run(served, "import os; print(os.environ['FILED'])")
            assert printed(said) == "[secret filed]"
            (own.path / "secrets" / "filed").unlink()
            gone = run(served, BACKWARDS)
            assert (state(gone), gone.cause) == ("SANDBOX_ERROR", "secret_unavailable")
            assert "operator" in gone.message
            assert "run.starting" not in served.events(gone.name)
            assert gone.receipt
            assert "SECRET_UNAVAILABLE" in served.words()
            assert printed(run(served, NAMES, purpose="none")) == "[]"
            write_secret(own, "filed", FILED)
            assert FILED[::-1] in printed(run(served, BACKWARDS))
            served.restart()
            assert FILED[::-1] in printed(run(served, BACKWARDS))


def unset(folder: Folder) -> dict[str, str]:
    return {}


def too_short(folder: Folder) -> dict[str, str]:
    return {"TOOLWARRANT_TEST_SECRET": "v3ry+"}


def absent(folder: Folder) -> dict[str, str]:
    (folder.path / "secrets" / "filed").unlink()
    return ENVIRONMENT


def for_everybody(folder: Folder) -> dict[str, str]:
    (folder.path / "secrets" / "filed").chmod(0o644)
    return ENVIRONMENT


def not_said(folder: Folder) -> dict[str, str]:
    folder.replace('filed = "file:secrets/filed"\n', "")
    return ENVIRONMENT


class TestStart:
    """With what a broker does not start."""

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (unset, ["secrets.in_variable", "is not set"]),
            (too_short, ["secrets.in_variable", "shorter than 12"]),
            (absent, ["secrets.filed", "No such file"]),
            (for_everybody, ["secrets.filed", "mode 0644"]),
            (not_said, ["secrets: reveal asks for filed"]),
        ],
        ids=lambda value: getattr(value, "__name__", ""),
    )
    def test_refused(
        self, own: Folder, spoil: Callable[[Folder], dict[str, str]], words: list[str]
    ) -> None:
        """What cannot be had stops the start; file, line and key are named, the value is not."""
        environment = spoil(own)
        lines = own.config.read_text().splitlines()
        with pytest.raises(NotServed) as caught, Served(own, environment):
            pass
        said = caught.value.words
        assert [word for word in words if word not in said] == []
        assert str(own.config) in said
        key = words[0].partition(".")[2]
        numbers = [number for number, line in enumerate(lines, 1) if line.startswith(f"{key} = ")]
        assert not key or f"{own.config}:{numbers[0]}: " in said
        assert [value for value in (FILED, "v3ry+", *environment.values()) if value in said] == []

    def test_doctor_finds_it_first(self, own: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        """`doctor` says that all can be read, else which one cannot."""
        monkeypatch.setenv("TOOLWARRANT_TEST_SECRET", VARIABLE)
        config, now = load(own.config), datetime.now(UTC)
        told = [each for each in diagnose(config, now) if each.subject.startswith("secret")]
        assert [(each.level, each.said) for each in told] == [(Level.OK, "3 can be read")]
        assert os.environ["TOOLWARRANT_TEST_SECRET"] == VARIABLE
        absent(own)
        told = [each for each in diagnose(config, now) if each.subject.startswith("secret")]
        assert [(each.level, each.subject) for each in told] == [(Level.FAIL, "secret filed")]

    def test_doctor_finds_what_no_tool_can_do_without(self, own: Folder) -> None:
        """A tool that asks for a secret which nobody keeps stops the start, so `doctor` fails."""
        os.environ.update(not_said(own))
        found = diagnose(load(own.config), datetime.now(UTC))
        failed = [each.said for each in found if each.level is Level.FAIL]
        assert [said for said in failed if "reveal asks for filed" in said] != []

    def test_doctor_cannot_tell_of_a_service(
        self, own: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What only the service's environment has is a warning to who asks outside of it."""
        monkeypatch.delenv("TOOLWARRANT_TEST_SECRET", raising=False)
        told = [
            each.level
            for each in diagnose(load(own.config), datetime.now(UTC))
            if each.subject.startswith("secret")
        ]
        assert told == [Level.WARN]
