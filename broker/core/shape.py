"""Say in Rego which arguments were observed, as narrowly as they allow.

Few values are listed one by one. Only where there are many, or where they are too long to read, is
a rule as wide as what they have in common, and a comment says how wide: a prefix of their paths,
the tables of their statements, their length. Places are never widened: each scheme, host and port
has a rule of its own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from broker.core.canonical import JsonObject, JsonValue, canonical_json
from broker.core.observed import Observed
from broker.core.visible import visible

MOST_LISTED: Final = 8
_LONGEST_LISTED: Final = 72
_LONGEST_LINE: Final = 100
# So few words are kinds of a call, such as the method of a request: each has a rule of its own.
_MOST_WORDS: Final = 3
_LONGEST_WORD: Final = 16
_PLACE: Final = ("scheme", "host", "port", "has_query", "has_fragment")
_STATEMENT: Final = ("statements", "commands", "is_read")
_CREDENTIALS: Final = "has_credentials"


def is_clear(observed: Observed) -> bool:
    """Tell whether a rule can be drafted of a call: each marked argument is clear, at top level.

    A path that leads out of the workspace is not, nor a URL with credentials, which no policy's
    text should have.
    """
    return all(
        name in observed.arguments
        and not part.get("invalid")
        and not part.get("escapes")
        and not part.get("absolute")
        and not part.get(_CREDENTIALS)
        for name, part in observed.derived.items()
    )


def kinds(calls: Sequence[Observed]) -> list[list[Observed]]:
    """Group calls of one agent and tool by what no rule may mix: names, types, places, words."""
    words = _words(calls)
    groups: dict[bytes, list[Observed]] = {}
    for call in calls:
        groups.setdefault(canonical_json(_kind(call, words)), []).append(call)
    return [groups[key] for key in sorted(groups)]


def _words(calls: Sequence[Observed]) -> set[str]:
    values: dict[str, set[JsonValue]] = {}
    for call in calls:
        for name, value in call.arguments.items():
            is_word = isinstance(value, str) and value.isalpha() and len(value) <= _LONGEST_WORD
            values.setdefault(name, set()).add(value if is_word else None)
    return {name for name, seen in values.items() if len(seen) <= _MOST_WORDS and None not in seen}


def _kind(call: Observed, words: set[str]) -> JsonObject:
    return {
        "types": {name: type(value).__name__ for name, value in call.arguments.items()},
        "words": {name: call.arguments[name] for name in words & call.arguments.keys()},
        "derived": {
            name: [part.get(field) for field in ("kind", *_PLACE, *_STATEMENT)]
            for name, part in call.derived.items()
        },
    }


def conditions(calls: Sequence[Observed]) -> Iterator[str]:
    """Write the conditions on the arguments of calls of one kind, comments before what is wide."""
    names = sorted(calls[0].arguments)
    listed = ", ".join(map(_text, names))
    yield (
        f"object.keys(input.tool.arguments) == {{{listed}}}"
        if names
        else ("input.tool.arguments == {}")
    )
    for name in names:
        values = [call.arguments[name] for call in calls]
        parts = [call.derived[name] for call in calls if name in call.derived]
        kind = parts[0]["kind"] if parts else ""
        match kind:
            case "url" | "host":
                yield from _place(name, values, parts)
            case "path":
                yield from _path(name, values, parts)
            case "sql":
                yield from _statement(name, values, parts)
            case _:
                yield from _values(name, values)


def _values(name: str, values: Sequence[JsonValue]) -> Iterator[str]:
    argument = _argument(name)
    if listed := _listed(values):
        yield from _one_of(argument, listed)
        return
    yield _wide(values, "any of that size passes")
    match values[0]:
        case str():
            yield f"is_string({argument})"
            yield f"count({argument}) <= {_most(values)}"
        case bool() | None:
            raise AssertionError("there are no more than a few of them")
        case int() | float():
            numbers = [value for value in values if isinstance(value, int | float)]
            yield f"is_number({argument})"
            yield f"{argument} >= {_text(min(numbers))}"
            yield f"{argument} <= {_text(max(numbers))}"
        case list():
            yield f"is_array({argument})"
            yield f"count({argument}) <= {_most(values)}"
        case _:
            yield f"is_object({argument})"
            yield f"count({argument}) <= {_most(values)}"


def _place(name: str, values: Sequence[JsonValue], parts: Sequence[JsonObject]) -> Iterator[str]:
    derived = _derived(name)
    for field in (*_PLACE, _CREDENTIALS):
        if field in parts[0]:
            yield f"{derived}.{field} == {_text(parts[0][field])}"
    if parts[0]["kind"] == "host":
        return
    if parts[0]["has_query"] or parts[0]["has_fragment"]:
        # The broker does not parse these: only the text as a whole can be compared.
        yield from _values(name, values)
    yield from _below(f"{derived}.path", [str(part["path"]) for part in parts])


def _path(name: str, values: Sequence[JsonValue], parts: Sequence[JsonObject]) -> Iterator[str]:
    derived = _derived(name)
    yield f"{derived}.escapes == false"
    yield f"{derived}.absolute == false"
    yield from _below(f"{derived}.normalized", [str(part["normalized"]) for part in parts])


def _below(reference: str, paths: Sequence[str]) -> Iterator[str]:
    if listed := _listed(paths):
        yield from _one_of(reference, listed)
        return
    prefix = _common_folder(paths)
    yield _wide(paths, f"whatever is below {_text(prefix)} passes" if prefix else "any path passes")
    yield f"startswith({reference}, {_text(prefix)})"
    yield f'not contains({reference}, "..")'
    yield f'not contains({reference}, "%")'
    yield f"count({reference}) <= {_most(paths)}"


def _common_folder(paths: Sequence[str]) -> str:
    first, last = min(paths), max(paths)
    same = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    folder = first[: first.rfind("/", 0, same) + 1]
    return folder if visible(folder) == folder else ""


def _statement(
    name: str, values: Sequence[JsonValue], parts: Sequence[JsonObject]
) -> Iterator[str]:
    if listed := _listed(values):
        yield from _one_of(_argument(name), listed)
        return
    derived = _derived(name)
    yield _wide(values, "what does no more passes")
    for field in _STATEMENT:
        yield f"{derived}.{field} == {_text(parts[0][field])}"
    yield f"count({_argument(name)}) <= {_most(values)}"
    loops = []
    for field, entry in (("tables", "table"), ("functions", "function")):
        reference = f"{derived}.{field}"
        seen = sorted({_text(one) for part in parts for one in _list(part.get(field))})
        yield f"is_array({reference})" if seen else f"{reference} == []"
        if seen:
            one_of = "".join(_one_of(entry, seen))
            loops.append(f"every {entry} in {reference} {{\n\t\t{one_of}\n\t}}")
    yield from loops


def _list(value: JsonValue) -> Sequence[JsonValue]:
    return value if isinstance(value, list) else ()


def _listed(values: Sequence[JsonValue]) -> list[str]:
    """Write the values, where they are few and can be read; else none."""
    texts = sorted({_text(value) for value in values})
    if len(texts) > MOST_LISTED or any(len(text) > _LONGEST_LISTED for text in texts):
        return []
    return texts if all(visible(str(value)) == str(value) for value in values) else []


def _one_of(reference: str, listed: Sequence[str]) -> Iterator[str]:
    if len(listed) == 1:
        yield f"{reference} == {listed[0]}"
        return
    line = f"{reference} in {{{', '.join(listed)}}}"
    if len(line) <= _LONGEST_LINE:
        yield line
        return
    yield f"{reference} in {{\n" + "".join(f"\t\t{text},\n" for text in listed) + "\t}"


def _wide(values: Sequence[JsonValue], passes: str) -> str:
    count = len({canonical_json(value) for value in values})
    many = f"{count} different ones were seen" if count > 1 else "One was seen"
    why = "" if count > MOST_LISTED else ", too long to list"
    return f"# WIDE: {many}{why}; {passes}."


def _most(values: Sequence[JsonValue]) -> int:
    return max(len(value) for value in values if isinstance(value, str | list | Mapping))


def _argument(name: str) -> str:
    return f"input.tool.arguments[{_text(name)}]"


def _derived(name: str) -> str:
    return f"input.derived[{_text(name)}]"


def _text(value: JsonValue) -> str:
    # JSON is Rego; escaped to ASCII, no character of an agent's acts on who reads it.
    return json.dumps(value, ensure_ascii=True)
