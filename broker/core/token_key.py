"""Read the name of a key on a PKCS#11 token.

Source: RFC 7512, narrowed: what this reader does not know it refuses, so that no word that would
have told two keys apart is passed over.
"""

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote_to_bytes

SCHEME: Final = "pkcs11:"
PIN_SCHEMES: Final = ("file:", "credential:")
_PATH: Final = frozenset({"token", "serial", "object", "id", "type"})
_QUERY: Final = frozenset({"module-path", "pin-source"})
_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """Where a private key is that never leaves its token.

    Args:
        module: Absolute path of the library that speaks to the token.
        token: Its label; empty: any.
        serial: Its serial number; empty: any.
        label: The key's; empty: any.
        key_id: The key's CKA_ID; empty: any.
        pin_source: `file:` with an absolute path, or `credential:` with a name; never the PIN.
    """

    module: str
    token: str
    serial: str
    label: str
    key_id: bytes
    pin_source: str

    @property
    def place(self) -> str:
        """Name the token for people."""
        return f"the token {self.token or self.serial!r} (by {self.module})"

    @classmethod
    def read(cls, uri: str) -> Self:
        """Read a URI.

        Raises:
            ValueError: Any that this reader cannot hold to; the message holds nothing of a PIN.
        """
        if not uri.startswith(SCHEME):
            raise ValueError("is no PKCS#11 URI: it begins with pkcs11:")
        path, _, query = uri.removeprefix(SCHEME).partition("?")
        if "pin-value" in uri:
            raise ValueError(
                "holds a PIN: put it into a file of mode 0600, name that by pin-source"
            )
        named = _attributes(path, ";", _PATH)
        asked = _attributes(query, "&", _QUERY)
        if named.pop("type", b"private") != b"private":
            raise ValueError("names an object of another type: take type=private, or leave it out")
        if not (named.keys() & {"token", "serial"} and named.keys() & {"object", "id"}):
            raise ValueError("must name the token (token= or serial=) and the key (object= or id=)")
        module = _text("module-path", asked.get("module-path", b""))
        if not module.startswith("/"):
            raise ValueError("must name the token's library: ?module-path=/usr/lib/...so")
        return cls(
            module=module,
            token=_text("token", named.get("token", b"")),
            serial=_text("serial", named.get("serial", b"")),
            label=_text("object", named.get("object", b"")),
            key_id=named.get("id", b""),
            pin_source=_pin_source(_text("pin-source", asked.get("pin-source", b""))),
        )


def _attributes(text: str, between: str, known: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, text.split(between)):
        name, _, value = part.partition("=")
        if name not in known:
            raise ValueError(
                f"has an attribute {name!r}: known here are {', '.join(sorted(known))}"
            )
        if name in found or not value:
            raise ValueError(f"has {name} twice, or with nothing in it")
        if not _ENCODED.fullmatch(value.replace("&", "") if between == ";" else value):
            raise ValueError(f"has a character in {name} that must be written as %XX")
        found[name] = unquote_to_bytes(value)
    return found


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"has a {name} that is not UTF-8") from error
    if "\0" in text:
        raise ValueError(f"has a NUL in {name}")
    return text


def _pin_source(text: str) -> str:
    # RFC 7512 lets a bare path stand for a file; a command (`|`) is nothing that a broker runs.
    source = f"file:{text}" if text.startswith("/") else text
    scheme, rest = next(
        ((each, source.removeprefix(each)) for each in PIN_SCHEMES if source.startswith(each)),
        ("", ""),
    )
    is_name = re.fullmatch(r"(?!\.{1,2}$)[A-Za-z0-9_.@-]{1,255}", rest) is not None
    if not (is_name if scheme == "credential:" else scheme and rest.startswith("/")):
        raise ValueError(
            "must say where the PIN is: pin-source=file:/absolute/path, or credential:NAME"
        )
    return source
