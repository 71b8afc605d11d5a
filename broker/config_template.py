"""Write `toolwarrant.toml` with every setting explained."""

import json
import textwrap
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from broker.config import SECTIONS, IdentityEntry

Setting = str | int | float | bool
Settings = Mapping[str, Mapping[str, Setting]]
"""Table with key with value, as in the file."""

_HEAD = """\
# Configuration of a Toolwarrant broker. Every setting is here; what is in it is its default
# unless `toolwarrant init` was told otherwise. Relative paths start from this file's folder.
# A mistake stops the start with its line; `toolwarrant doctor` checks the rest.
"""

_WITNESSES = """\
# Witnesses of the receipts' log: others who sign that it only grows, so that nobody can be shown
# another log. Each needs its key in the trust root, role witness; docs/receipts.md says how.
# [witnesses."example"]
# url = "https://witness.example/"
# key = "witness.example/w1+5ddf2be5+BG..."
# ca_file = ""
[witnesses]
"""

_SECRETS = """\
# Secrets by the name that tools declare and policy grants: where each value is. Tools that run
# the agent's own code get none. At least 12 bytes; docs/secrets.md says what is kept from output.
#   file:PATH        a file of mode 0600; read at each use, so a new value needs no restart
#   credential:NAME  a credential that systemd gives the broker (LoadCredential=)
#   env:VARIABLE     taken out of the broker's environment at its start
# api_token = "file:secrets/api_token"
[secrets]
"""

_IDENTITIES_HEAD = """\
# Who may call: one table for each certificate, named by its URI SAN (SPIFFE), or by its CN where
# it has no URI SAN. A certificate that is not named here is refused.
# Rules about people compare person and owner, never certificates.
"""


def render(settings: Settings, identities: Mapping[str, IdentityEntry]) -> str:
    """Write the file.

    Args:
        settings: What differs from the defaults.
        identities: Certificate name with what it stands for.
    """
    tables = [_table(name, settings.get(name, {})) for name in SECTIONS]
    people = [_identity(name, entry) for name, entry in identities.items()]
    return "\n".join(
        [_HEAD, *tables, _WITNESSES, _SECRETS, _IDENTITIES_HEAD + _identity_keys(), *people]
    )


def _table(name: str, settings: Mapping[str, Setting]) -> str:
    section = SECTIONS[name]
    lines = [f"# {(section.__doc__ or '').strip()}", f"[{name}]"]
    for key, field in section.model_fields.items():
        lines.append(_comment(field))
        lines.append(f"{key} = {_value(settings.get(key, field.default))}")
    return "\n".join(lines) + "\n"


def _identity_keys() -> str:
    keys = IdentityEntry.model_fields.items()
    return "\n".join(_comment(field, f"{key}: ") for key, field in keys) + "\n"


def _identity(name: str, entry: IdentityEntry) -> str:
    lines = [f"[identities.{_value(name)}]"]
    for key, value in entry:
        if key == "attributes" and value:
            inner = ", ".join(f"{_value(k)} = {_value(v)}" for k, v in sorted(value.items()))
            lines.append(f"{key} = {{ {inner} }}")
        elif value not in ("", None, frozenset(), {}):
            lines.append(f"{key} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _comment(field: FieldInfo, prefix: str = "") -> str:
    text = f"{prefix}{field.description}{_range(field)}"
    return "\n".join(textwrap.wrap(text, 98, initial_indent="# ", subsequent_indent="#   "))


def _range(field: FieldInfo) -> str:
    least = next((m.ge for m in field.metadata if isinstance(m, Ge)), None)
    above = next((m.gt for m in field.metadata if isinstance(m, Gt)), None)
    most = next((m.le for m in field.metadata if isinstance(m, Le)), None)
    if most is None:
        return ""
    return f" {least} to {most}." if above is None else f" More than {above}, up to {most}."


def _value(value: object) -> str:
    # A JSON string without \u escapes is a TOML basic string.
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return _value(value.value)
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, frozenset):
        return f"[{', '.join(sorted(_value(item) for item in value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
