#!/usr/bin/env python3
"""Tell what a broker does, with real calls of a real one.

Exit codes: 0 everything was as told; 1 something was not.
"""

import base64
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from demo_broker import (
    DemoFailed,
    Running,
    containers_left,
    initialise,
    serving,
    verify,
    without_network,
)
from demo_stage import Stage

from broker.cli.phrases import state_word
from broker.client import Client
from broker.client_errors import ClientError
from broker.errors import BrokerError
from broker.v1 import call_pb2

_SESSION = "quarterly-report"
_SALES = "region,amount\nnorth,1200\nsouth,800\nnorth,300\n"
_CORRECTED = "region,amount\nnorth,1200\nsouth,950\nnorth,300\n"
_SUM = """\
import collections, csv
totals = collections.Counter()
for row in csv.DictReader(open("sales.csv")):
    totals[row["region"]] += int(row["amount"])
for region, total in totals.items():
    print(region, total)
"""
_HUNGRY = """\
blocks = []
while True:
    blocks.append(bytearray(16 * 1024 * 1024))
"""
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who plays: the stage, the broker, and a connection for each identity."""

    stage: Stage
    broker: Running
    agent: Client
    approver: Client
    auditor: Client
    calls: list[call_pb2.Call] = field(default_factory=list)

    def agent_calls(
        self, tool: str, arguments: Mapping[str, object], purpose: str = ""
    ) -> call_pb2.Call:
        """Call as the agent, showing what is sent."""
        self.stage.sends("agent", tool, arguments)
        call = self.agent.call(tool, arguments, session=_SESSION, purpose=purpose)
        self.calls.append(call)
        return call


def expect(what: str, actual: object, wanted: object) -> None:
    """Stop the story where it is not true.

    Raises:
        DemoFailed: `actual` is not `wanted`.
    """
    if actual != wanted:
        raise DemoFailed(f"{what} should be {wanted!r}, but is {actual!r}")


def allowed(cast: Cast) -> None:
    """Show a call that policy allows."""
    stage = cast.stage
    stage.heading("1  A call that policy allows")
    stage.say(
        "The agent has sales figures. It writes them into its workspace, then adds them up with "
        "a program of its own."
    )
    written = cast.agent_calls("workspace_write", {"path": "sales.csv", "content": _SALES})
    stage.answers(
        written, f"allowed by rule {_rule(written)}", f"ran for {written.usage.wall_ms} ms"
    )
    expect("the state of the write", state_word(written), "SUCCEEDED")
    ran = cast.agent_calls("python_run", {"code": _SUM})
    stage.answers(ran, f"allowed by rule {_rule(ran)}", f"ran for {ran.usage.wall_ms} ms")
    stage.line("tool", ran.result.stdout_text.rstrip("\n"))
    expect("the state of the run", state_word(ran), "SUCCEEDED")
    expect("what it printed", ran.result.stdout_text, "north 1500\nsouth 800\n")
    facts = _predicate(ran.receipt)["sandbox"]["facts"]
    expect("its network, read back from the Engine", facts["network"], "none")
    stage.why(
        "Each call gets a container of its own, made for it and removed after it: no network, a "
        f"read-only system, no capabilities, {int(facts['memory_bytes']) // _MIB} MiB of memory, "
        f"at most {facts['pids']} processes. The broker reads these back from the Engine and "
        "signs them into the call's receipt."
    )


def denied(cast: Cast) -> None:
    """Show a call that policy denies."""
    stage = cast.stage
    stage.heading("2  A call that policy denies")
    stage.say("Now the agent asks for a file where people keep passwords.")
    call = cast.agent_calls("workspace_read", {"path": ".env"})
    stage.answers(call, f"denied by rule {_rule(call)}")
    stage.line("", call.decision.reasons[0].agent_message)
    expect("the state", state_word(call), "DENIED")
    expect("the rule", _rule(call), "default.credential_path")
    stage.why(
        "No container was started. The agent is told which rule stopped it and what it can do "
        "instead, and the denial has a signed receipt like every other outcome. What no rule "
        "allows is denied as well."
    )


def killed(cast: Cast) -> None:
    """Show a call that runs into its memory limit."""
    stage = cast.stage
    stage.heading("3  A call that wants too much")
    stage.say("A program takes memory until there is none left.")
    call = cast.agent_calls("python_run", {"code": _HUNGRY})
    peak_mib = call.usage.max_memory_bytes // _MIB
    stage.answers(
        call, f"cause: {call.cause}", f"at {peak_mib} MiB", f"after {call.usage.wall_ms} ms"
    )
    expect("the state", state_word(call), "KILLED")
    expect("the cause", call.cause, "memory")
    stage.why(
        "The limit is the kernel's, set from outside the container, so the program cannot argue "
        "with it. What killed it and how much it used are measured outside too: the receipt does "
        "not rest on the tool's own word."
    )


def approved(cast: Cast) -> None:
    """Show a call that waits for a person who says yes."""
    stage = cast.stage
    stage.heading("4  A call that waits for a person, who approves")
    stage.say("One figure was wrong. To correct it the agent has to overwrite its file.")
    arguments = {"path": "sales.csv", "content": _CORRECTED}
    call = cast.agent_calls("workspace_write", arguments, purpose="south was 950, not 800")
    stage.answers(call, f"held by rule {_rule(call)}", f"short id {call.short_id}")
    stage.line("", call.decision.reasons[0].agent_message)
    expect("the state", state_word(call), "HELD")
    expect("the rule", _rule(call), "default.overwrite")
    _approve_oneself(cast, call)
    view = cast.approver.hold(call.short_id)
    stage.line("approver", "is another person, with another certificate, and sees:")
    stage.quote(view.view_text)
    cast.approver.approve(call.short_id, view.view_sha256, "the correction is in the ledger")
    stage.line("approver", f"approves exactly that view: SHA-256 {view.view_sha256[:16]}...")
    done = cast.agent.wait(call.name, 60)
    stage.answers(done, f"ran for {done.usage.wall_ms} ms")
    expect("the state after the approval", state_word(done), "SUCCEEDED")
    expect("what changed", list(done.result.changed_paths), ["sales.csv"])
    stage.why(
        "A vote names the digest of the view, so what runs is what was read: the same arguments, "
        "files, image and limits. Policy is asked once more before the start. The agent sees "
        "neither the view nor who approved."
    )


def _approve_oneself(cast: Cast, call: call_pb2.Call) -> None:
    try:
        cast.agent.approve(call.short_id, "0" * 64, "looks good to me")
    except ClientError as error:
        cast.stage.line("agent", "tries to approve its own call")
        cast.stage.line("broker", f"refuses: {error.code.name}, {error.reason}")
        expect("the refusal", error.code, grpc.StatusCode.PERMISSION_DENIED)
        return
    raise DemoFailed("the agent approved its own call")


def rejected(cast: Cast) -> None:
    """Show a call that waits for a person who says no."""
    stage = cast.stage
    stage.heading("5  A call that waits for a person, who rejects")
    stage.say("Then the agent wants to tidy up.")
    call = cast.agent_calls("workspace_delete", {"path": "sales.csv"}, purpose="tidying up")
    stage.answers(call, f"held by rule {_rule(call)}", f"short id {call.short_id}")
    expect("the state", state_word(call), "HELD")
    view = cast.approver.hold(call.short_id)
    cast.approver.reject(call.short_id, view.view_sha256, "we keep the sources of reports")
    stage.line("approver", "looks, and rejects")
    done = cast.agent.wait(call.name, 60)
    stage.answers(done)
    expect("the state after the rejection", state_word(done), "REJECTED")
    listed = cast.agent_calls("workspace_list", {})
    stage.answers(listed, f"allowed by rule {_rule(listed)}, ran for {listed.usage.wall_ms} ms")
    stage.line("tool", listed.result.stdout_text)
    expect("the file", "sales.csv" in listed.result.stdout_text, True)
    stage.why("One rejection is final. Nothing ran, and the file is still there.")


def collect(cast: Cast, folder: Path) -> list[Path]:
    """Fetch every receipt with its documents, as an auditor."""
    folder.mkdir()
    files = []
    for number, call in enumerate(cast.calls, start=1):
        found = cast.auditor.receipt(call.name)
        file = folder / f"{number}-{call.tool}.json"
        file.write_text(found.receipt)
        file.with_suffix(".request.json").write_text(found.request_document)
        if found.result_document:
            file.with_suffix(".result.json").write_text(found.result_document)
        files.append(file)
    return files


def verify_all(stage: Stage, files: list[Path], trust_root: Path) -> None:
    """Verify every receipt, then one in which a byte was changed."""
    stage.heading("6  Every receipt, checked by somebody who trusts nobody")
    prefix = without_network()
    where = "without any network" if prefix else "in a process of its own"
    stage.say(
        f"An auditor fetched the {len(files)} receipts. The broker is stopped now. The verifier "
        f"runs {where}: it has the files and the trust root, nothing else."
    )
    for file in files:
        code, found = verify(file, trust_root, prefix)
        facts = found["receipt"] if isinstance(found["receipt"], dict) else {}
        about = f"{facts.get('state', '')}, number {facts.get('sequence', '?')} of the chain"
        stage.verdict("verifier", str(found["verdict"]).upper(), f"{file.stem[2:]}: {about}")
        expect(f"the exit code for {file.name}", code, 0)
    _tamper(stage, files[3], trust_root, prefix)
    stage.why(
        "A receipt is a standard in-toto statement in a DSSE envelope, signed with Ed25519: "
        "`openssl` alone can check it. Whoever has the trust root needs no broker, and nobody "
        "without the signing key can quietly mend a record."
    )


def _tamper(stage: Stage, file: Path, trust_root: Path, prefix: list[str]) -> None:
    envelope = json.loads(file.read_text())
    payload = base64.b64decode(envelope["payload"])
    true, false = b'"memory_bytes":"268435456"', b'"memory_bytes":"968435456"'
    changed = payload.replace(true, false, 1)
    expect("the bytes that differ", sum(a != b for a, b in zip(payload, changed, strict=True)), 1)
    envelope["payload"] = base64.b64encode(changed).decode()
    forged = file.with_name("forged.json")
    forged.write_text(json.dumps(envelope, separators=(",", ":"), sort_keys=True))
    stage.line("forger", "changes one byte: the memory limit of call 4, 268435456 to 968435456")
    code, found = verify(forged, trust_root, prefix)
    said = f"at step {found['step']}: {found['message']}"
    stage.verdict("verifier", str(found["verdict"]).upper(), f"{said} (exit code {code})")
    expect("the exit code for the forgery", code, 1)
    expect("the step that fails", found["step"], "signature")


def _rule(call: call_pb2.Call) -> str:
    return call.decision.reasons[0].rule


def _predicate(receipt: str) -> dict[str, dict[str, dict[str, str]]]:
    statement = json.loads(base64.b64decode(json.loads(receipt)["payload"]))
    predicate: dict[str, dict[str, dict[str, str]]] = statement["predicate"]
    return predicate


def tell(stage: Stage, folder: Path) -> None:
    """Tell the whole story in a new folder.

    Raises:
        DemoFailed: It is not true.
    """
    stage.title("Toolwarrant: no tool runs without a warrant")
    stage.say(
        "An agent may not touch a tool. It asks the broker, which knows the agent by its "
        "certificate, asks policy, runs the tool in a container of its own or waits for a person, "
        "and signs what became of it. Everything below happens as you read it."
    )
    config = initialise(folder / "broker")
    with serving(config) as broker:
        stage.line("broker", f"is ready at {broker.address}, with new keys in a temporary folder")
        with (
            Client.from_config(config, "agent", address=broker.address) as agent,
            Client.from_config(config, "approver", address=broker.address) as approver,
            Client.from_config(config, "auditor", address=broker.address) as auditor,
        ):
            cast = Cast(stage=stage, broker=broker, agent=agent, approver=approver, auditor=auditor)
            for chapter in (allowed, denied, killed, approved, rejected):
                chapter(cast)
            files = collect(cast, folder / "audit")
            installation = auditor.server_info().installation
        broker.stop()
    expect("containers left behind", containers_left(config, installation), 0)
    # By hand, as a verifier gets it: never from the broker that it checks.
    trust_root = folder / "audit" / "trust-root.json"
    trust_root.write_bytes((config.parent / "trust-root.json").read_bytes())
    verify_all(stage, files, trust_root)


def main() -> int:
    """Run the demo; leave nothing behind."""
    # A terminated demo cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    stage = Stage()
    try:
        with tempfile.TemporaryDirectory(prefix="toolwarrant-demo-") as folder:
            tell(stage, Path(folder))
    except (DemoFailed, BrokerError) as error:
        stage.title("The demo failed")
        stage.line("", str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    stage.title("Everything was as told; the temporary folder and all containers are gone.")
    stage.line("next", "README.md: a broker of your own, your first rule, your first tool")
    return 0


if __name__ == "__main__":
    sys.exit(main())
