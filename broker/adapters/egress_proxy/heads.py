"""Read where a proxied request wants to go; write what goes on."""

import re
from collections.abc import Iterable

from broker.adapters.egress_proxy.tally import refused
from broker.core.destination import Destination, read_destination
from broker.core.egress import EgressReason

Headers = list[tuple[bytes, bytes]]

_ABSOLUTE = re.compile(r"([a-z]+)://([^/?#]*)([^#]*)", re.IGNORECASE)
_HTTP_PORT = 80
# What speaks of one connection only (RFC 9110 §7.6.1), and what this proxy answers for itself.
_HOP_BY_HOP = {
    b"connection",
    b"expect",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"proxy-status",
    b"te",
    b"trailer",
    b"upgrade",
}
_LENGTH, _CODING = b"content-length", b"transfer-encoding"


def connect_target(target: str, headers: Headers) -> Destination:
    """Read the place that a CONNECT asks for.

    Raises:
        EgressRefused: It is no `host:port`, or the request brings a body.
    """
    if {_LENGTH, _CODING} & {name for name, _ in headers}:
        raise refused(
            EgressReason.REQUEST_INVALID, "CONNECT has no body: send it inside the tunnel"
        )
    return _same_host(_destination(target, default_port=None), headers, default_port=None)


def plain_target(target: str, headers: Headers) -> tuple[Destination, str]:
    """Read the place, with path and query, that an `http://` request asks for.

    Raises:
        EgressRefused: The target is no such URL, or the Host header is another.
    """
    parts = _ABSOLUTE.fullmatch(target)
    if parts is None or parts[1].lower() != "http":
        raise refused(
            EgressReason.REQUEST_INVALID,
            "send GET http://host/path (absolute-form) for http, CONNECT host:port for https",
        )
    names = [name for name, _ in headers]
    if _LENGTH in names and _CODING in names:
        raise refused(EgressReason.REQUEST_INVALID, "send a length or a coding, not both")
    destination = _destination(parts[2], default_port=_HTTP_PORT)
    rest = parts[3] if parts[3].startswith("/") else f"/{parts[3]}"
    return _same_host(destination, headers, default_port=_HTTP_PORT), rest


def passed_on(headers: Iterable[tuple[bytes, bytes]], *more: tuple[bytes, bytes]) -> Headers:
    """Give the headers that go on to the next hop, on a connection that ends with the message."""
    kept = list(headers)
    named = b",".join(value for name, value in kept if name == b"connection").lower()
    dropped = _HOP_BY_HOP | {option.strip() for option in named.split(b",")}
    if any(name == _CODING for name, _ in kept):
        dropped.add(_LENGTH)
    else:
        dropped.discard(_LENGTH)
    dropped -= {b"host", _CODING}
    return [
        *((name, value) for name, value in kept if name not in dropped),
        *more,
        (b"connection", b"close"),
    ]


def body_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Give the announced length of a body; None where it has another framing or none.

    Args:
        headers: As h11 gives them: names in lower case, a length valid and only once.
    """
    found = dict(headers)
    return int(found[_LENGTH]) if _LENGTH in found and _CODING not in found else None


def _destination(text: str, *, default_port: int | None) -> Destination:
    try:
        return read_destination(text, default_port=default_port)
    except ValueError as error:
        raise refused(EgressReason.NAME_INVALID, f"the place to connect to {error}") from error


def _same_host(
    destination: Destination, headers: Headers, *, default_port: int | None
) -> Destination:
    """Compare with the Host header: a server that believes it would serve somebody else."""
    for name, value in headers:
        if name != b"host":
            continue
        try:
            host = read_destination(value.decode("ascii"), default_port=default_port)
        except ValueError:
            host = None
        if host != destination:
            raise refused(
                EgressReason.HOST_MISMATCH,
                "the Host header is not the URL's host: send that, or none",
            )
    return destination
