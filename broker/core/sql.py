"""Read a SQL statement with PostgreSQL's own grammar: what it names, and whether it only reads.

What is no certain reading is none; a person judges then. The classification spares people the plain
questions, it protects nothing: that a reading call cannot write is the work of the database's role.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError
from postgast import PgQueryError, parse

from broker.core.canonical import JsonObject
from broker.core.sql_words import ARITHMETIC, FUNCTIONS, NODES, OPERATORS, TYPES, VALUE_FUNCTIONS

MAX_BYTES: Final = 8192
"""Of a statement that is parsed, in UTF-8: parsing takes some 30 ms at the most then."""

_Node = Any
"""A message of the grammar's tree; which fields it has is known by its DESCRIPTOR's name."""

_MAX_NODES: Final = 10_000
_MAX_NAMES: Final = 64
_CATALOG: Final = "pg_catalog"
_PLAIN_CALL: Final = 1
"""The grammar's COERCE_EXPLICIT_CALL: not `extract(... FROM ...)` and the like."""
_INVALID: Final[JsonObject] = {"kind": "sql", "invalid": True}
# PostgreSQL's lexer takes time by the square of such a run: 8 KiB of them are 140 ms. No operator
# is longer than a name, which has at most 63 bytes.
_LONG_RUN: Final = re.compile(r"[-+*/<>=~!@#%^&|`?]{64}")
_MOST_ARITHMETIC: Final = 16
_WORD_START: Final = re.compile("(?<=[a-z])(?=[A-Z])")


def read_sql(text: str) -> JsonObject:
    """Read one or more statements.

    Returns:
        `statements`, how many there are; `commands`, those within others too, by the grammar's
        names for them: `select`, `delete`, but `create` for CREATE TABLE and `alter_table` for
        many an ALTER; `functions`, and `tables` as SELECT, INSERT, UPDATE, DELETE and MERGE name
        them, folded as PostgreSQL folds them, names that WITH defines among the tables. Other
        commands may name their tables in other ways, which are not there. Each list is sorted and
        has a name once. `is_read`: whether it is one statement that reads and calls
        nothing but harmless built-ins. Or only `invalid`, where the grammar refuses it, or it is
        too long, too deep or names too much.
    """
    try:
        data = text.encode()
        # The parser takes C strings: it would not see what follows a NUL.
        if len(data) > MAX_BYTES or "\0" in text or _LONG_RUN.search(text):
            return _INVALID
        tree = parse(text)
        nodes = list(_walk(tree))
    except (PgQueryError, UnicodeEncodeError, DecodeError, _TooMuchError):
        return _INVALID
    commands = sorted({_command(node) for node in nodes if node.DESCRIPTOR.name.endswith("Stmt")})
    tables = sorted({_table(node) for node in nodes if node.DESCRIPTOR.name == "RangeVar"})
    functions = sorted({_function(node) for node in nodes if node.DESCRIPTOR.name == "FuncCall"})
    if not commands or max(map(len, (commands, tables, functions))) > _MAX_NAMES:
        return _INVALID
    return {
        "kind": "sql",
        "statements": len(tree.stmts),
        "commands": commands,
        "tables": tables,
        "functions": functions,
        "is_read": len(tree.stmts) == 1
        and all(map(_is_harmless, nodes))
        and not _has_hidden_call(nodes)
        and sum(map(_is_arithmetic, nodes)) <= _MOST_ARITHMETIC,
    }


class _TooMuchError(Exception):
    """The statement has more parts than anybody reads."""


def _walk(tree: _Node) -> Iterator[_Node]:
    """Give every node of a tree, but the wrappers around them.

    Raises:
        _TooMuchError: There are more than a judgement is worth.
    """
    waiting = [tree]
    for _ in range(_MAX_NODES):
        if not waiting:
            return
        message = waiting.pop()
        if message.DESCRIPTOR.name not in {"ParseResult", "RawStmt", "Node"}:
            yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += value if field.is_repeated else [value]
    raise _TooMuchError


def _command(node: _Node) -> str:
    """Name a statement: `select` for SelectStmt, `alter_table` for AlterTableStmt."""
    name = node.DESCRIPTOR.name.removesuffix("Stmt")
    return _WORD_START.sub("_", name).lower()


def _table(node: _Node) -> str:
    return ".".join(filter(None, (node.catalogname, node.schemaname, node.relname)))


def _function(node: _Node) -> str:
    return ".".join(_names(node, "funcname"))


def _names(node: _Node, field: str) -> list[str]:
    """Read a qualified name; a part that is no text is one that no list has."""
    return [part.string.sval or "?" for part in getattr(node, field)]


def _is_harmless(node: _Node) -> bool:
    kind = node.DESCRIPTOR.name
    return kind in NODES or (kind in CHECKS and CHECKS[kind](node))


def _has_listed_operator(field: str) -> Callable[[_Node], bool]:
    return lambda node: _is_listed(_names(node, field), OPERATORS, empty=True)


def _is_plain_type(node: _Node) -> bool:
    # `%TYPE`, a set, or a type by its number: none that a query names.
    plain = not (node.pct_type or node.setof or node.type_oid)
    return plain and _is_listed(_names(node, "names"), TYPES)


def _are_plain_calls(node: _Node) -> bool:
    # Of what is no plain call PostgreSQL makes up a name, by which it could be called on.
    calls = [each.list.items[0] for each in node.functions]
    return all(
        each.WhichOneof("node") == "func_call" and each.func_call.funcformat == _PLAIN_CALL
        for each in calls
    )


def _is_plain_table(node: _Node) -> bool:
    # Statistics show what others ask, and samples of what is in tables.
    is_statistics = node.relname.startswith("pg_stat") and node.schemaname in ("", _CATALOG)
    return not (node.catalogname or is_statistics)


CHECKS: Final[Mapping[str, Callable[[_Node], bool]]] = {
    "A_Expr": _has_listed_operator("name"),
    "SubLink": _has_listed_operator("oper_name"),
    "SortBy": _has_listed_operator("use_op"),
    "FuncCall": lambda node: _is_listed(_names(node, "funcname"), FUNCTIONS),
    "TypeName": _is_plain_type,
    # PostgreSQL reads `(a).b` as `b(a)` as well: a call.
    "A_Indirection": lambda node: all(
        step.WhichOneof("node") != "string" for step in node.indirection
    ),
    "RangeFunction": _are_plain_calls,
    "RangeVar": _is_plain_table,
}
"""Parts of a tree that are harmless only in some forms, with what tells these; NODES always are."""


def _has_hidden_call(nodes: list[_Node]) -> bool:
    """Find `s.f` where `s` is a function in FROM: unless it has a column `f`, that calls `f(s)`."""
    columns: dict[str, set[str]] = {}
    for node in nodes:
        if node.DESCRIPTOR.name == "RangeFunction":
            given = {name.string.sval for name in node.alias.colnames}
            for name in _known_as(node):
                # Without a list the one column has the name of the whole, or the result's own.
                own = given or ({"value"} if _gives_value(node) else {name})
                columns[name] = columns.get(name, own) & own
    for node in nodes:
        if node.DESCRIPTOR.name == "ColumnRef" and len(node.fields) > 1:
            table, column = (field.string.sval for field in node.fields[-2:])
            # `s.*` has a star in the place of a name.
            if table in columns and column and column not in columns[table]:
                return True
    return False


def _known_as(node: _Node) -> set[str]:
    """Give the names by which a function in FROM may be known, maybe too many."""
    return {node.alias.aliasname} if node.alias.aliasname else _called(node)


def _gives_value(node: _Node) -> bool:
    return not VALUE_FUNCTIONS.isdisjoint(_called(node))


def _called(node: _Node) -> set[str]:
    return {
        _names(call, "funcname")[-1] for call in _walk(node) if call.DESCRIPTOR.name == "FuncCall"
    }


def _is_arithmetic(node: _Node) -> bool:
    """Find what takes long on long numbers: the server ends a statement between such steps only."""
    match node.DESCRIPTOR.name:
        case "A_Expr":
            return _names(node, "name")[-1] in ARITHMETIC
        case "FuncCall":
            return _names(node, "funcname")[-1] in ARITHMETIC
        case _:
            return False


def _is_listed(names: list[str], listed: frozenset[str], *, empty: bool = False) -> bool:
    """Find a name in a list of built-ins; one of another schema is in none."""
    if not names:
        return empty
    return names[-1] in listed and names[:-1] in ([], [_CATALOG])
