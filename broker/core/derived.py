"""Parse the arguments that a tool's schema marks, so that policy need not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from broker.core.canonical import JsonObject, JsonValue
from broker.core.destination import normal_host
from broker.core.sql import MAX_BYTES as MAX_SQL_BYTES
from broker.core.sql import read_sql

MARK: Final = "x-broker"
"""The keyword of a schema that says what an argument is."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}


def derive(input_schema: JsonObject, arguments: JsonObject) -> JsonObject:
    """Parse every marked argument that is there.

    Returns:
        By argument (a nested one by its path, such as `targets/0/url`): an object whose `kind` is
        the mark. What cannot be parsed is `{"kind": ..., "invalid": true}`, never left out; nor
        are statements of SQL that are together longer than one may be.
    """
    derived: dict[str, JsonValue] = {}
    sql_left = MAX_SQL_BYTES
    for name, kind, value in _marked(input_schema, arguments, ""):
        if kind == "sql" and isinstance(value, str):
            sql_left -= len(value)
        derived[name] = _invalid(kind) if sql_left < 0 and kind == "sql" else _parse(kind, value)
    return derived


def _marked(schema: JsonValue, value: JsonValue, name: str) -> Iterator[tuple[str, str, JsonValue]]:
    """Walk schema with value; a mark below `$ref` or `anyOf` is not followed."""
    if not isinstance(schema, Mapping):
        return
    kind = schema.get(MARK)
    if isinstance(kind, str):
        yield name, kind, value
    prefix = f"{name}/" if name else ""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and isinstance(value, Mapping):
        for key, part in properties.items():
            if key in value:
                yield from _marked(part, value[key], prefix + key)
    if isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from _marked(schema.get("items"), item, f"{prefix}{index}")


def _parse(kind: str, value: JsonValue) -> JsonObject:
    if isinstance(value, str) and kind in PARSERS:
        return PARSERS[kind](value)
    return _invalid(kind)


def _invalid(kind: str) -> JsonObject:
    return {"kind": kind, "invalid": True}


def _path(text: str) -> JsonObject:
    """Read a POSIX path; `normalized` is where it leads, `escapes` whether that is outside."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    stack: list[str] = []
    escapes = text.startswith("/")
    for part in parts:
        if part != "..":
            stack.append(part)
        elif stack:
            stack.pop()
        else:
            escapes = True
    name = stack[-1] if stack else ""
    stem, dot, suffix = name.rpartition(".")
    return {
        "kind": "path",
        "parts": parts,
        "name": name,
        "suffix": dot + suffix if stem else "",
        "normalized": "/".join(stack),
        "absolute": text.startswith("/"),
        "escapes": escapes,
    }


def _url(text: str) -> JsonObject:
    try:
        url = urlsplit(text)
        port = url.port
        host = _host_of(url)
    except ValueError:
        return {"kind": "url", "invalid": True}
    if not url.scheme or not host or not _is_plain(text):
        return {"kind": "url", "invalid": True}
    return {
        "kind": "url",
        "scheme": url.scheme,
        "host": host,
        "port": port if port is not None else _DEFAULT_PORTS.get(url.scheme, 0),
        "path": url.path or "/",
        "has_query": bool(url.query),
        "has_fragment": bool(url.fragment),
        "has_credentials": _has_credentials(url),
    }


def _host(text: str) -> JsonObject:
    try:
        url = urlsplit(f"//{text}")
        port = url.port
        host = _host_of(url)
    except ValueError:
        return {"kind": "host", "invalid": True}
    if not host or url.netloc != text or _has_credentials(url) or not _is_plain(text):
        return {"kind": "host", "invalid": True}
    return {"kind": "host", "host": host, "port": port or 0}


def _is_plain(text: str) -> bool:
    # Python's parser drops tab and newline, browsers turn a backslash into a slash: a policy that
    # reads one host while the tool connects to another is the attack, so such text is refused.
    return not any(character <= " " or character in "\\\x7f" for character in text)


def _host_of(url: SplitResult) -> str:
    """Give the host in the form that lists of places have; empty where there is none.

    Raises:
        ValueError: It has no such form: `127.1`, which resolvers take for an address, `a..b`.
    """
    host = url.hostname or ""
    return normal_host(f"[{host}]" if ":" in host else host) if host else ""


def _has_credentials(url: SplitResult) -> bool:
    return "@" in url.netloc


PARSERS: Final[Mapping[str, Callable[[str], JsonObject]]] = {
    "url": _url,
    "host": _host,
    "path": _path,
    "sql": read_sql,
}
"""What a mark may be, with what reads an argument that has it."""
