"""Put a call into words for people."""

from broker.cli.documents import enum_name, time_text
from broker.client import state_of
from broker.core.lifecycle import CallState
from broker.core.visible import visible
from broker.v1 import call_pb2

_NEXT = {
    CallState.TIMED_OUT: (
        "its running time was over: split the work, or raise --timeout, as far as "
        "the tool's and the policy's own limits go"
    ),
    CallState.EXPIRED: "its time passed before it began: call again",
    CallState.INTERRUPTED: "it may or may not have had effects: look before you call again",
    CallState.SANDBOX_ERROR: "the tool never began: `toolwarrant doctor`, then call again",
    CallState.RUNNING: "it runs: toolwarrant calls watch SHORT_ID",
    CallState.QUEUED: "it starts when a sandbox is free: toolwarrant calls watch SHORT_ID",
}

_HALTED = "halted"


def state_word(call: call_pb2.Call) -> str:
    """Name the state as the contract does, without a prefix."""
    return enum_name(call_pb2.CallState.DESCRIPTOR, call.state)


def headline(call: call_pb2.Call) -> str:
    """Say in one line what became of a call; foreign text in it is escaped."""
    version = f"@{call.tool_version}" if call.tool_version else ""
    facts = [state_word(call), call.short_id, f"{call.tool}{version}"]
    if call.HasField("usage"):
        facts.append(f"{call.usage.wall_ms} ms")
    if call.HasField("result") and call.result.HasField("exit_code"):
        facts.append(f"exit {call.result.exit_code}")
    if call.cause and call.cause != "exited":
        facts.append(call.cause)
    return "  ".join(map(visible, facts))


def details(call: call_pb2.Call) -> list[str]:
    """Say what people need to know besides, a line each: rules, limits, files, what comes next."""
    return [visible(line) for line in _details(call)]


def _details(call: call_pb2.Call) -> list[str]:
    state = state_of(call)
    said: list[str] = []
    if state in {CallState.DENIED, CallState.HELD}:
        said += [f"{reason.rule}: {reason.agent_message}" for reason in call.decision.reasons]
    said += [
        f"warning, not enforced yet: {reason.rule} [{reason.severity}]: {reason.agent_message}"
        for reason in call.decision.warnings
    ]
    if state is CallState.HELD:
        said += _hold(call)
    if call.result.limits_hit:
        said.append(f"limits that struck: {', '.join(call.result.limits_hit)}")
    if call.result.stdout_truncated or call.result.stderr_truncated:
        said.append("its output was cut at the output limit")
    said += [
        f"output {call.name}/outputs/{file.path}  {file.size_bytes} bytes"
        for file in call.result.outputs
    ]
    said += [f"changed {path}" for path in call.result.changed_paths]
    said += list(call.result.notes)
    if call.halted or (state is CallState.KILLED and call.cause == _HALTED):
        said.append(call.message)
    elif state in _NEXT:
        said.append(_NEXT[state].replace("SHORT_ID", call.short_id))
    elif not said and state not in {CallState.SUCCEEDED, CallState.FAILED} and call.message:
        said.append(call.message)
    return said


def _hold(call: call_pb2.Call) -> list[str]:
    needed = " and ".join(
        f"{need.count} from {need.group or 'any approver'}" for need in call.hold.requirements
    )
    until = time_text(call.hold.decide_by) if call.hold.HasField("decide_by") else "nobody knows"
    so_far = f"{call.hold.approvals} so far; until {until}"
    return [
        f"waits for approval: {needed or 'one approver'}; {so_far}",
        f"follow it: toolwarrant calls watch {call.short_id}",
    ]
