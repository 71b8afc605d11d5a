"""Check the shape of an entry of the log against its published JSON Schema."""

import json
from collections.abc import Mapping
from importlib.resources import files

import jsonschema_rs

from broker.core.canonical import JsonObject
from broker.core.log_leaf import LeafKind

SCHEMA = json.loads((files("broker.verify") / "receipt.schema.json").read_text("utf-8"))
LEAF_SCHEMAS = json.loads((files("broker.verify") / "log_entry.schema.json").read_text("utf-8"))
_validator = jsonschema_rs.Draft202012Validator(SCHEMA)
_leaf_validators: Mapping[LeafKind, jsonschema_rs.Draft202012Validator] = {
    kind: jsonschema_rs.Draft202012Validator({**LEAF_SCHEMAS, "$ref": f"#/$defs/{kind.value}"})
    for kind in LeafKind
    if kind is not LeafKind.RECEIPT
}


def shape_fault(statement: JsonObject) -> str | None:
    """Name the first place where a Statement is not a receipt's, or None."""
    return _fault(_validator, statement, "the statement")


def leaf_fault(kind: LeafKind, said: JsonObject) -> str | None:
    """Name the first place where a payload is not one of a leaf of this kind, or None."""
    return _fault(_leaf_validators[kind], said, "the payload")


def _fault(
    validator: jsonschema_rs.Draft202012Validator, value: JsonObject, whole: str
) -> str | None:
    # Most have none, and to say so takes a third of the time that an error's path does.
    if validator.is_valid(value):
        return None
    error = next(iter(validator.iter_errors(value)))
    path = "/".join(str(step) for step in error.instance_path)
    return f"{path or whole}: {error.message}"
