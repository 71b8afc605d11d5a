"""Generate inputs of policy that nobody would send in good faith."""

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from broker.core.identity import Role
from tests.policy.samples import AGENT, HISTORY, ask

TEXTS = (
    "",
    "a",
    ".env",
    "../x",
    "\u0130stanbul \u01c5 \u017f \u00df \u212a",
    "\u202egnp.exe",
    "a\u0000b",
    "\u2028\u2029",
    "\U0001f469\u200d\U0001f469 \U0001d4b3",
    'quote " \\ / \b\f\n\r\t',
    "%s %d %v %!d(string=x)",
    "x" * 5000,
    "</script>\x1b[31m\x7f",
    "e\u0301 é",
)
NUMBERS = (0, -1, 1, 599, 600, 60_000, 2**31, 2**32 + 1, 2**53 - 1, -(2**53) + 1, 0.1, 1e21, 1e-7)
TOOLS = (
    "http_fetch",
    "pdf_text",
    "python_run",
    "sql_query",
    "text_search",
    "workspace_delete",
    "workspace_list",
    "workspace_read",
    "workspace_write",
)
PATHS = ("notes.txt", "new.txt", "data/in.csv", "./notes.txt", "k/ID_RSA", "a/../b", "x.pem")
LABELS = ("confidential", "untrusted", "internal")
ROLES = ([Role.AGENT], [Role.AGENT], [Role.AGENT], [])


def inputs(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Make this many inputs, always the same for a seed: one in four is as the broker builds it."""
    dice = random.Random(seed)
    for number in range(count):
        built = _built(dice)
        for _ in range(number % 4):
            _spoil(built, dice)
        yield built


def _built(dice: random.Random) -> dict[str, Any]:
    arguments: dict[str, Any] = {"path": dice.choice(PATHS)} if dice.random() < 0.8 else {}
    arguments["content"] = dice.choice(TEXTS)
    request = ask(
        dice.choice((*TOOLS, *TOOLS, "rocket_launch", dice.choice(TEXTS))),
        arguments,
        destructive=dice.random() < 0.3,
        open_world=dice.random() < 0.3,
        labels=tuple(dice.sample(LABELS, dice.randint(0, 2))),
        seen=frozenset(dice.sample(LABELS, dice.randint(0, 3))),
        identity=replace(
            AGENT,
            id=dice.choice((AGENT.id, AGENT.id, AGENT.id, "", "spiffe://example.org/ünknown")),
            roles=frozenset([*dice.sample(list(Role), dice.randint(0, 2)), *dice.choice(ROLES)]),
            attributes=((dice.choice(TEXTS), dice.choice(TEXTS)),),
        ),
        history=replace(
            HISTORY,
            calls=(dice.choice((0, 2**53 - 1)), dice.choice((0, 1, 59_999, 60_000)), 599),
            denied=(dice.choice((0, 1, 599, 600)), 0, 0),
            budget_spent=dice.choice((0, 1, 2**53 - 2, 2**53 - 1)),
        ),
    )
    built: dict[str, Any] = copy.deepcopy(dict(request))
    built["session"]["purpose"] = dice.choice(TEXTS)
    return built


def _spoil(document: dict[str, Any], dice: random.Random) -> None:
    """Change one place: remove it, or put something of another kind there."""
    place: Any = document
    while True:
        key = dice.choice(list(place))
        if isinstance(place[key], dict) and place[key] and dice.random() < 0.8:
            place = place[key]
            continue
        break
    if dice.random() < 0.35:
        del place[key]
    else:
        place[key] = _strange(dice, depth=0)
    if not document:
        document["x"] = None


def _strange(dice: random.Random, depth: int) -> Any:
    kind = dice.randrange(8)
    if kind == 0:
        return dice.choice((None, True, False))
    if kind == 1:
        return dice.choice(NUMBERS)
    if kind == 2:
        return dice.choice(TEXTS)
    if kind == 3:
        return dice.choice(([], {}, [[]], [{}], {"": {}}))
    if kind == 4:
        return _nested(60)
    if depth > 3:
        return dice.choice(TEXTS)
    if kind < 7:
        return [_strange(dice, depth + 1) for _ in range(dice.randint(0, 4))]
    return {dice.choice(TEXTS): _strange(dice, depth + 1) for _ in range(dice.randint(0, 4))}


def _nested(depth: int) -> Any:
    value: Any = "bottom"
    for level in range(depth):
        value = [value] if level % 2 else {"n": value}
    return value
