"""Check the shape of a receipt's Statement against its published JSON Schema."""

import json
from importlib.resources import files

import jsonschema_rs

from broker.core.canonical import JsonObject

SCHEMA = json.loads((files("broker.verify") / "receipt.schema.json").read_text("utf-8"))
_validator = jsonschema_rs.Draft202012Validator(SCHEMA)


def shape_fault(statement: JsonObject) -> str | None:
    """Name the first place where a Statement is not a receipt's, or None."""
    error = next(_validator.iter_errors(statement), None)
    if error is None:
        return None
    path = "/".join(str(step) for step in error.instance_path)
    return f"{path or 'the statement'}: {error.message}"
