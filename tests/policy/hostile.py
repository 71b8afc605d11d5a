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


GROUPS = {
    "coding": ("http_fetch", "python_run", "workspace_delete", "workspace_write"),
    "analysts": ("sql_query", "python_run", "workspace_write"),
    "support": ("http_fetch", "text_search", "workspace_write"),
    "ünknown": TOOLS,
}
URLS = (
    "https://pypi.org/simple/",
    "https://docs.python.org/3/?q=1",
    "https://help.example.org/a",
    "https://de.help.example.org/a#b",
    "https://desk.example.org/",
    "http://desk.example.org:443/",
    "https://u:p@help.example.org/",
    "https://10.1.2.3/",
    "https://[fd00::1]/",
    "https://[::ffff:10.1.2.3]/",
    "https://172.31.255.255:65535/",
    "ftp://help.example.org/",
    "-",
)
HOSTS = (
    *("10.0.0.256", "10.0.0.01", "1.2.3", "[::1", "[1::2::3]", "[:::]", "[::1%eth0]", "[12345::]"),
    *("255.255.255.255", "[::]", "fc00::1", "[FD00::1]", "a.help.example.org", "", "\u0661.2.3.4"),
)
STATEMENTS = (
    "SELECT 1",
    "SELECT * FROM orders JOIN items USING (id)",
    "SELECT * FROM customers",
    "SELECT * FROM shop.customers",
    "DELETE FROM orders",
    "DROP TABLE orders",
    "SELECT 1; SELECT 2",
    "SELEC",
    "SELECT '" + "x" * 5000 + "'",
)
PACK_LABELS = ("private", "personal", "customer_text", "ünknown")
COUNTS = (0, 9, 10, 99, 100, 119, 120, 199, 200, 499, 500, 599, 600, 2**53 - 1)


def pack_inputs(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Make inputs as `inputs` does, of the kind that the packs decide by."""
    dice = random.Random(seed)
    for number in range(count):
        built = _built_for_packs(dice)
        for _ in range(number % 4):
            _spoil(built, dice)
        yield built


def _built_for_packs(dice: random.Random) -> dict[str, Any]:
    arguments = {
        "path": dice.choice((*PATHS, "src/a.py", "ci/x", "drafts/new.txt", "private/a")),
        "url": dice.choice(URLS),
        "statement": dice.choice(STATEMENTS),
        "method": dice.choice(("GET", "HEAD", "POST")),
        "body": dice.choice(TEXTS),
        "headers": dice.choice(({}, {"a": "b"})),
    }
    group = dice.choice(tuple(GROUPS))
    tool = dice.choice((*GROUPS[group], *GROUPS[group], *TOOLS, "rocket_launch"))
    usual = {"http_fetch": "url", "sql_query": "statement"}.get(tool, "path")
    wanted = {usual, *dice.sample(sorted(arguments), dice.choice((0, 0, 1, 3)))}
    request = ask(
        tool,
        {name: arguments[name] for name in sorted(wanted)},
        destructive=dice.random() < 0.1,
        identity=replace(
            AGENT,
            roles=frozenset(dice.choice(ROLES)),
            groups=frozenset({group, *dice.sample(tuple(GROUPS), dice.choice((0, 0, 0, 1)))}),
        ),
        history=replace(
            HISTORY,
            calls=_few(dice),
            denied=_few(dice),
            by_tool={dice.choice(TOOLS): dice.choice(COUNTS)},
            budget_spent=dice.choice((0, 0, 0, 2**53 - 2, 2**53 - 1)),
        ),
        paths=tuple(dice.sample((*PATHS[:4], "src/a.py", "private/a"), dice.randint(0, 3))),
    )
    built: dict[str, Any] = copy.deepcopy(dict(request))
    built["session"]["labels"] = dice.sample(PACK_LABELS, dice.choice((0, 0, 1)))
    built["time"]["hour"] = dice.choice((5, 6, 9, 9, 12, 12, 19, 20))
    built["tool"]["egress"] = dice.choice(([], ["*:*"], ["desk.example.org:443"]))
    if "url" in built["derived"] and dice.random() < 0.3:
        built["derived"]["url"]["host"] = dice.choice(HOSTS)
    return built


def _few(dice: random.Random) -> tuple[int, int, int]:
    """Draw counters, most of them small: one that is too high hides what else differs."""
    return tuple(dice.choice(COUNTS) if dice.random() < 0.05 else 0 for _ in range(3))  # type: ignore[return-value]


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
