"""Hold the JSON Schema of `tool.yaml`; `sandbox_images/tool.schema.json` is the same, published."""

from collections.abc import Mapping

from broker.core.canonical import JsonObject
from broker.core.derived import MARK, PARSERS
from broker.core.label import LABEL_PATTERN
from broker.core.secret import NAME_PATTERN

_GIB = 1 << 30


def _text(description: str, pattern: str | None = None, *, longest: int = 200) -> JsonObject:
    text: dict[str, str | int] = {
        "description": description,
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
    }
    if pattern is not None:
        text["pattern"] = pattern
    return text


def _names(description: str, pattern: str) -> JsonObject:
    return {
        "description": description,
        "type": "array",
        "uniqueItems": True,
        "maxItems": 100,
        "items": {"type": "string", "pattern": pattern, "maxLength": 300},
        "default": [],
    }


def _limit(description: str, *, least: int = 1, most: int) -> JsonObject:
    return {"description": description, "type": "integer", "minimum": least, "maximum": most}


def _record(description: str, properties: Mapping[str, JsonObject]) -> JsonObject:
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _flag(description: str) -> JsonObject:
    return {"description": description, "type": "boolean"}


def _is_true(name: str) -> JsonObject:
    return {"required": [name], "properties": {name: {"const": True}}}


TOOL_SCHEMA: JsonObject = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:toolwarrant:tool:v1",
    "title": "A tool's definition, tool.yaml",
    "type": "object",
    "additionalProperties": False,
    "required": [
        "schema",
        "name",
        "version",
        "title",
        "description",
        "input_schema",
        "image",
        "command",
        "limits",
        "effects",
    ],
    "properties": {
        "schema": {
            "description": "The version of this format.",
            "type": "string",
            "enum": ["toolwarrant.tool/v1"],
        },
        "name": _text("Usable as a model's function name.", "^[a-z][a-z0-9_]{0,63}$"),
        "version": _text("Of the definition.", "^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$"),
        "title": _text("For people.", longest=100),
        "description": _text("For models: when to use it, what it gives.", longest=4000),
        "input_schema": {
            "description": "JSON Schema 2020-12 of the arguments. An argument may be marked "
            f"`{MARK}: {'|'.join(PARSERS)}` so that policy gets it parsed.",
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": ["object"]}},
        },
        "output_schema": {
            "description": "JSON Schema 2020-12 of what the tool prints.",
            "type": "object",
        },
        "image": _text("Name of the image, without registry or tag.", "^[a-z][a-z0-9_]{0,63}$"),
        "command": {
            "description": "The constant argv; the arguments come as one JSON text on stdin.",
            "type": "array",
            "minItems": 1,
            "maxItems": 32,
            "items": {"type": "string", "minLength": 1, "maxLength": 1024},
        },
        "workspace": {
            "description": "What of the session's files it gets, and may change.",
            "type": "string",
            "enum": ["none", "read", "write"],
            "default": "none",
        },
        "limits": _record(
            "Ceilings of one run; policy can only lower them.",
            {
                "cpu_millicores": _limit("Thousandths of a processor.", least=10, most=64_000),
                "memory_bytes": _limit("Memory, tmpfs included.", least=32 << 20, most=64 * _GIB),
                "pids": _limit("Processes and threads, the launcher's too.", least=4, most=4096),
                "timeout_s": _limit("Running time in seconds.", most=86_400),
                "output_bytes": _limit(
                    "Of stdout, of stderr, of all files that come back, each.", most=64 << 20
                ),
                "tmp_bytes": _limit(
                    "Size of each tmpfs: /tmp, /workspace, /in, /out.", least=4096, most=16 * _GIB
                ),
            },
        ),
        "egress": _names(
            "Destinations it may ask for, host:port; `*:*` is whatever policy lists.",
            r"^(\*:\*|[a-z0-9.-]{1,253}:[0-9]{1,5})$",
        ),
        "egress_protocol": {
            "description": "http: through /egress/http.sock, a proxy that checks names in requests "
            "and TLS. tcp: through /egress/tcp/HOST:PORT, whose bytes nobody looks at.",
            "type": "string",
            "enum": ["http", "tcp"],
            "default": "http",
        },
        "secrets": _names(
            "Secrets it may ask for, by name; it finds `api_token` in the variable `API_TOKEN`.",
            NAME_PATTERN,
        ),
        "optional_secrets": _names(
            "Those of `secrets` that the configuration need not have: a call that policy grants "
            "one which is not there ends without a run.",
            NAME_PATTERN,
        ),
        "runs_code": {
            "description": "It runs code that the agent wrote, so it may ask for no secret.",
            "type": "boolean",
            "default": False,
        },
        "starts_ahead": {
            "description": "Its command may be started before a call is there: until its arguments "
            "come it does nothing but read its standard input. It may ask for no secret, which "
            "would have to be in its environment by then.",
            "type": "boolean",
            "default": False,
        },
        "effects": _record(
            "What it does to the world.",
            {
                "read_only": _flag("It changes nothing."),
                "destructive": _flag("It can destroy what was there."),
                "idempotent": _flag("Twice is as good as once."),
                "reversible": _flag("What it does can be undone."),
                "open_world": _flag("It reaches beyond the sandbox."),
            },
        ),
        "labels": _names("Words for policy.", LABEL_PATTERN),
        "runtime": {
            "description": "The weakest container runtime that it may run in.",
            "type": "string",
            "pattern": "^[a-z0-9_.-]{1,64}$",
            "default": "runc",
        },
    },
    "if": {"anyOf": [_is_true("runs_code"), _is_true("starts_ahead")]},
    "then": {"properties": {"secrets": {"maxItems": 0}}},
}
