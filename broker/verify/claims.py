"""Check that what a receipt says of itself can be true together."""

from broker.core.canonical import JsonObject
from broker.errors import ReceiptInvalid
from broker.verify.evidence import Evidence, group, listed


def check_subjects(evidence: Evidence) -> None:
    """7: its subjects are the documents that its predicate names, in this order."""
    predicate = evidence.predicate
    named = [("request", str(group(predicate, "request")["sha256"]))]
    if predicate["result"] is not None:
        named.append(("result", str(group(predicate, "result")["sha256"])))
    if evidence.subjects != named:
        raise ReceiptInvalid("subjects", "they are not the documents that the predicate names")


_HAS_RESULT = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "KILLED"})
_HAS_NO_RESULT = frozenset({"DENIED", "REJECTED", "EXPIRED", "SANDBOX_ERROR"})


def check_outcome(evidence: Evidence) -> None:
    """8: what it says of the run can be true together."""
    predicate = evidence.predicate
    state = str(group(predicate, "outcome")["state"])
    if fault := _run_fault(predicate, state) or _decision_fault(predicate, state):
        raise ReceiptInvalid("outcome", f"{state}, but {fault}")
    identity = group(predicate, "identity")
    if str(identity["receipt"]).split("/")[1] != str(identity["call"]).split("/")[1]:
        raise ReceiptInvalid("outcome", "the receipt's name is another call's")


def _run_fault(predicate: JsonObject, state: str) -> str | None:
    """Compare the outcome with what is said of the run."""
    if predicate["result"] is None:
        return "there is no result" if state in _HAS_RESULT else None
    if state in _HAS_NO_RESULT:
        return "there is a result"
    if predicate["sandbox"] is None:
        return "there is a result without a sandbox"
    # What never began has no intent in the log: a run told so would be missed by nobody.
    if group(predicate, "times")["started_at"] is None:
        return "there is a result of what never began"
    exit_code = group(predicate, "result")["exit_code"]
    # A sandbox whose first process left early may leave with any code: that is a failure by
    # another cause than `exited`.
    exited = group(predicate, "outcome")["cause"] == "exited"
    if (state == "SUCCEEDED" and exit_code != 0) or (
        state == "FAILED" and exited and exit_code == 0
    ):
        return f"the exit code is {exit_code}"
    return None


def _decision_fault(predicate: JsonObject, state: str) -> str | None:
    """Compare the outcome with what policy and people said."""
    verdicts = [entry["verdict"] for entry in listed(predicate, "approvals")]
    if state == "REJECTED" and "reject" not in verdicts:
        return "nobody rejected it"
    if predicate["result"] is None:
        return None
    effects = [entry["effect"] for entry in listed(group(predicate, "decision"), "evaluations")]
    if not effects or effects[-1] == "deny":
        return "policy did not allow it to run"
    if "hold" in effects and "approve" not in verdicts:
        return "nobody approved it"
    return None
