"""Tell whether policy lets a call's documents be handed over."""

import json
from collections.abc import Mapping

from broker.client import Client
from broker.core.canonical import JsonObject
from broker.core.replay import FAILURES, REFUSALS, rules_of
from broker.errors import PermissionDenied

_BROKERS = REFUSALS | FAILURES


def is_masked(broker: Client, call: str, *, state: str, redactions: int | None) -> bool:
    """Tell whether something in a call's documents is masked, or nobody said that it is not.

    A receipt counts the redactions of what was allowed or held. Of a denied call it has none, or
    those of an earlier decision: there each decision itself is read. Where policy was not asked, or
    its words were erased or are not for this reader, nobody knows what it would have masked.

    Args:
        call: `calls/<ULID>`.
        state: Of the receipt's outcome.
        redactions: Those that the receipt counts; None where it lists none.
    """
    if redactions is not None and (redactions or state != "DENIED"):
        return redactions > 0
    try:
        explanations = broker.explain(call).explanations
    except PermissionDenied:
        return True
    texts = [each.decision_document for each in explanations]
    if not all(texts):
        return True
    answers = [json.loads(text)["body"] for text in texts]
    said = [answer for answer in answers if not _is_the_brokers(answer)]
    return not said or any(map(_masks, said))


def _is_the_brokers(answer: JsonObject) -> bool:
    return not _BROKERS.isdisjoint(rules_of(answer))


def _masks(answer: JsonObject) -> bool:
    obligations = answer.get("obligations")
    return not isinstance(obligations, Mapping) or obligations.get("redact") != []
