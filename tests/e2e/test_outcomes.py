"""Each way that a call can end, on the real thing, with a receipt that stands on its own."""

import base64
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from broker.core.trust_root import read_trust_root
from broker.init import SPIFFE_PREFIX
from broker.v1 import call_pb2, execution_pb2, receipt_pb2
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.api.rpc import TIMEOUT_S, Rpc, fresh, state, wish
from tests.broker_process import Served
from tests.e2e.halting import halt
from tests.e2e.test_sign_off import hold, reject, view_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a call comes to its end, and what is said of it.

    Args:
        make: Gives the call when it is final.
        ran: Whether its container was given it.
    """

    make: Callable[[Served, Rpc], call_pb2.Call]
    state: str
    cause: str
    ran: bool


def program(code: str, **fields: object) -> Callable[[Served, Rpc], call_pb2.Call]:
    """Run a program."""
    return lambda _, agent: agent.execute("python_run", {"code": code}, **fields)


def rejected(served: Served, agent: Rpc) -> call_pb2.Call:
    """Hold a call, then reject it."""
    call = hold(agent)
    reject(served, "approver", call.name, view_of(served, call))
    return agent.get(call.name)


def expired(_: Served, agent: Rpc) -> call_pb2.Call:
    """Hold a call for a second, decide nothing."""
    return agent.wait(hold(agent, "hold:decide-1").name)


def cancelled_held(_: Served, agent: Rpc) -> call_pb2.Call:
    """Cancel a held call."""
    request = execution_pb2.CancelCallRequest(call=hold(agent).name)
    return agent.execution.CancelCall(request, timeout=TIMEOUT_S).call


def cancelled_running(_: Served, agent: Rpc) -> call_pb2.Call:
    """Cancel a call that runs."""
    request = wish(
        "python_run", {"code": "import time; time.sleep(60)"}, session_id=fresh("cancel")
    )
    running = agent.execution.ExecuteTool.future(request, timeout=TIMEOUT_S)
    listed = execution_pb2.ListCallsRequest(filter=f"session={request.session_id} state=RUNNING")
    while not (found := agent.execution.ListCalls(listed, timeout=TIMEOUT_S).calls):
        assert not running.done()
    agent.execution.CancelCall(execution_pb2.CancelCallRequest(call=found[0].name))
    return running.result().call


def halted_running(served: Served, agent: Rpc) -> call_pb2.Call:
    """Halt the session of a call that runs, then lift that halt."""
    request = wish("python_run", {"code": "import time; time.sleep(60)"}, session_id=fresh("halt"))
    running = agent.execution.ExecuteTool.future(request, timeout=TIMEOUT_S)
    listed = execution_pb2.ListCallsRequest(filter=f"session={request.session_id} state=RUNNING")
    while not (found := agent.execution.ListCalls(listed, timeout=TIMEOUT_S).calls):
        assert not running.done()
    with halt(served, agent=found[0].agent, session=request.session_id):
        return running.result().call


def denied_halted(served: Served, agent: Rpc) -> call_pb2.Call:
    """Call in a session that is halted."""
    session = fresh("halt")
    with halt(served, agent=f"{SPIFFE_PREFIX}agent", session=session):
        return agent.execute("python_run", {"code": "1"}, session_id=session)


ENDINGS = {
    "succeeded": Ending(make=program("print(1)"), state="SUCCEEDED", cause="exited", ran=True),
    "failed": Ending(make=program("raise SystemExit(3)"), state="FAILED", cause="exited", ran=True),
    "failed by a signal": Ending(
        make=program("import os; os.kill(os.getpid(), 11)"),
        state="FAILED",
        cause="signalled",
        ran=True,
    ),
    "denied": Ending(make=program("1", purpose="deny"), state="DENIED", cause="", ran=False),
    "unknown tool": Ending(
        make=lambda _, agent: agent.execute("no_such_tool"), state="DENIED", cause="", ran=False
    ),
    "rejected": Ending(make=rejected, state="REJECTED", cause="", ran=False),
    "expired": Ending(make=expired, state="EXPIRED", cause="decide_by_passed", ran=False),
    "cancelled held": Ending(make=cancelled_held, state="CANCELLED", cause="cancelled", ran=False),
    "cancelled running": Ending(
        make=cancelled_running, state="CANCELLED", cause="cancelled", ran=True
    ),
    "timed out": Ending(
        make=program("import time; time.sleep(60)", timeout=0.5),
        state="TIMED_OUT",
        cause="timeout",
        ran=True,
    ),
    "timed out deaf to SIGTERM": Ending(
        make=program(
            "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)", timeout=0.5
        ),
        state="TIMED_OUT",
        cause="timeout",
        ran=True,
    ),
    "killed by a halt": Ending(make=halted_running, state="KILLED", cause="halted", ran=True),
    "denied under a halt": Ending(make=denied_halted, state="DENIED", cause="", ran=False),
    "killed for memory": Ending(
        make=program("x = b'x' * 400_000_000"), state="KILLED", cause="memory", ran=True
    ),
    "killed for memory by policy": Ending(
        make=program("x = b'x' * 80_000_000; print(len(x))", purpose="small"),
        state="KILLED",
        cause="memory",
        ran=True,
    ),
    "killed for output": Ending(
        make=program("while True: print('x' * 65536)"),
        state="KILLED",
        cause="output_cap",
        ran=True,
    ),
    "no such runtime": Ending(
        make=program("1", purpose="kata"), state="SANDBOX_ERROR", cause="runtime_missing", ran=False
    ),
}


@pytest.fixture(scope="module")
def ended(steered: Served) -> dict[str, call_pb2.Call]:
    """Every ending, made at the same time."""
    agent = Rpc.of(steered)
    with ThreadPoolExecutor(len(ENDINGS)) as pool:
        making = {name: pool.submit(row.make, steered, agent) for name, row in ENDINGS.items()}
        return {name: made.result() for name, made in making.items()}


def found_receipt(served: Served, call: call_pb2.Call) -> receipt_pb2.GetReceiptResponse:
    """Read a call's receipt with its documents, as an auditor."""
    return served.client("auditor").receipt(call.name)


@pytest.mark.parametrize("name", ENDINGS)
class TestEndings:
    def test_state(self, steered, ended, name):
        """The call is in its final state, by its cause, and began exactly if it should."""
        row, call = ENDINGS[name], ended[name]
        assert (state(call), call.cause) == (row.state, row.cause)
        assert steered.events(call.name).count("run.starting") == row.ran
        assert call.HasField("result") == row.ran

    def test_receipt_says_the_same(self, ended, name):
        """The receipt's outcome is the answer's."""
        call = ended[name]
        outcome = _statement(call)["predicate"]["outcome"]
        assert outcome["state"] == state(call)
        assert (outcome["cause"] or "") == call.cause

    def test_our_verifier(self, steered, ended, name):
        """Our verifier takes the receipt with its documents; one byte changed it does not."""
        found = found_receipt(steered, ended[name])
        root_text = (steered.folder.path / "trust-root.json").read_bytes().strip()
        root = read_trust_root(root_text)
        documents = {
            "request": found.request_document.encode(),
            "result": found.result_document.encode() or None,
        }
        assert found.receipt == ended[name].receipt
        verdict = verify_receipt(found.receipt.encode(), root, **documents)
        assert (verdict.validity, verdict.step) == (Validity.VALID, None)
        changed = {**documents, "request": documents["request"].replace(b'"salt":"', b'"salt":"0')}
        refused = verify_receipt(found.receipt.encode(), root, **changed)
        assert (refused.validity, refused.step) == (Validity.INVALID, "documents")

    def test_openssl_alone(self, steered, ended, name, tmp_path):
        """OpenSSL alone, over DSSE's encoding, takes the receipt; one bit changed it does not."""
        envelope = json.loads(ended[name].receipt)
        payload = base64.b64decode(envelope["payload"])
        kind = envelope["payloadType"].encode()
        message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        root = json.loads((steered.folder.path / "trust-root.json").read_text())
        (tmp_path / "key.pem").write_text(root["keys"][0]["public_key"])
        (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        assert _openssl(tmp_path, message)
        assert not _openssl(tmp_path, message[:-1] + bytes([message[-1] ^ 1]))


class TestTogether:
    def test_every_final_state_but_one(self):
        """The table ends in every final state; INTERRUPTED needs a broker that dies."""
        open_states = {"UNSPECIFIED", "RECEIVED", "HELD", "QUEUED", "RUNNING"}
        known = {name.removeprefix("CALL_STATE_") for name, _ in call_pb2.CallState.items()}
        assert {row.state for row in ENDINGS.values()} == known - open_states - {"INTERRUPTED"}

    def test_one_receipt_each(self, steered, ended):
        """Each call has one receipt, and the whole list is one chain."""
        receipts = list(steered.client("auditor").receipts())
        names = [receipt.call for receipt in receipts]
        assert [names.count(call.name) for call in ended.values()] == [1] * len(ended)
        previous = [
            json.loads(base64.b64decode(json.loads(each.receipt)["payload"]))["predicate"][
                "identity"
            ]["previous"]
            for each in receipts
        ]
        digests = [sha256(each.receipt.encode()).hexdigest() for each in receipts]
        assert previous[1:] == digests[:-1]

    def test_nothing_is_left(self, steered, ended):
        """When all have ended there is no container of theirs."""
        assert ended
        assert steered.stop() == 0
        steered.start()


def _statement(call: call_pb2.Call) -> dict:
    statement: dict = json.loads(base64.b64decode(json.loads(call.receipt)["payload"]))
    return statement


def _openssl(folder: Path, message: bytes) -> bool:
    (folder / "message").write_bytes(message)
    argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"]
    done = subprocess.run(
        [*argv, "-in", "message", "-sigfile", "signature"],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=30,
    )
    return done.returncode == 0
