"""Compare a call's receipt with the intent that came before its run."""

import json
from dataclasses import dataclass, fields

from broker.core.canonical import JsonObject, JsonValue
from broker.core.ids import sha256_hex
from broker.verify.evidence import group, listed

_IMAGE = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What an intent says of a run, and the receipt of the same call once more.

    A broker writes both from one record: where they differ it showed one run, or one request, to
    whoever read along, and vouched for another one afterwards.

    Args:
        agent: Who asked.
        request: Digest of the request document.
        tool: Name, version and image, as JSON; empty where there is no image.
        bundle: Digest of the policy bundle of the last evaluation, as the next two; empty: none.
        policy_input: Digest of what policy was asked.
        decision: Digest of what policy said.
        sandbox: SHA-256 of the container's settings; empty where a receipt has none, as of a call
            whose broker died: what nobody knows any more is not compared.
    """

    agent: str
    request: str
    tool: str
    bundle: str
    policy_input: str
    decision: str
    sandbox: str

    def difference(self, receipt: "RunFacts") -> str:
        """Name the first thing of which a receipt says otherwise; empty where there is none."""
        for field in fields(self):
            said, found = getattr(self, field.name), getattr(receipt, field.name)
            if said != found and not (field.name == "sandbox" and not found):
                return field.name.replace("_", " ")
        return ""


def facts_of_intent(body: JsonObject) -> RunFacts:
    """Read what an intent says, whose shape was checked."""
    tool = group(body, "tool")
    return RunFacts(
        agent=str(body["agent"]),
        request=str(body["request_sha256"]),
        tool=_text(tool) if tool[_IMAGE] else "",
        bundle=str(body["bundle_sha256"] or ""),
        policy_input=str(body["policy_input_sha256"] or ""),
        decision=str(body["decision_sha256"] or ""),
        sandbox=_digest(body["sandbox"]),
    )


def facts_of_receipt(predicate: JsonObject) -> RunFacts:
    """Read what a receipt says of the same, whose shape was checked."""
    request, sandbox = group(predicate, "request"), predicate["sandbox"]
    evaluations = listed(group(predicate, "decision"), "evaluations")
    last = evaluations[-1] if evaluations else {}
    return RunFacts(
        agent=str(group(predicate, "agent")["id"]),
        request=str(request["sha256"]),
        tool="" if request["tool"] is None else _text(request["tool"]),
        bundle=str(last.get("bundle_sha256") or ""),
        policy_input=str(last.get("policy_input_sha256") or ""),
        decision=str(last.get("decision_sha256") or ""),
        sandbox="" if sandbox is None else _digest(group(predicate, "sandbox")["facts"]),
    )


def _digest(value: JsonValue) -> str:
    return sha256_hex(_text(value).encode())


def _text(value: JsonValue) -> str:
    # Both sides come from canonical text; sorting costs little, and relies on nobody's order.
    return json.dumps(value, sort_keys=True)
