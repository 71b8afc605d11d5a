"""Name a place on the network in one normal form.

A list that says one host while the proxy dials another is the attack, so text that could be read in
two ways is no name: `127.1` and `0x7f000001`, which resolvers take for addresses, `a..b`, spaces.
"""

import ipaddress
import re
from dataclasses import dataclass

ANY_DESTINATION = "*:*"
"""In a tool's definition only: the tool may ask for whatever policy lists."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A host in normal form with a port; equal destinations are the same place."""

    host: str
    port: int

    @property
    def is_literal(self) -> bool:
        """Tell whether the host is an address instead of a name."""
        return is_literal(self.host)

    def __str__(self) -> str:
        """Write it as lists have it."""
        return f"{self.host}:{self.port}"


def read_destination(text: str, *, default_port: int | None = None) -> Destination:
    """Read `host:port`, as lists and requests have it.

    Args:
        default_port: Stands where the text names no port; None refuses such text.

    Raises:
        ValueError: It names no place, or could be read as two.
    """
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        if default_port is None:
            raise ValueError("names no port")
        return Destination(host=normal_host(text), port=default_port)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise ValueError("has no port from 1 to 65535")
    return Destination(host=normal_host(host), port=int(port))


def normal_host(text: str) -> str:
    """Give a host its one form: lower case, no final dot, A-labels; an IPv6 literal in brackets.

    Raises:
        ValueError: It is neither a name nor an address in its usual form.
    """
    if text.startswith("[") and text.endswith("]"):
        return f"[{ipaddress.IPv6Address(text[1:-1]).compressed}]"
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError("has no form in IDNA") from error
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(ipaddress.IPv4Address(name))
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is no host name")
    return name


def is_literal(host: str) -> bool:
    """Tell whether a host in normal form is an address."""
    return host.startswith("[") or host.rpartition(".")[2].isdigit()
