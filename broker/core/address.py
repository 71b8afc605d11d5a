"""Say which addresses no name may lead to, which are this machine's own.

The table is written out: what a library calls private changes with its version.
"""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DENIED: tuple[tuple[str, Network], ...] = tuple(
    (kind, ipaddress.ip_network(text))
    for kind, texts in {
        "this host": "0.0.0.0/8 ::/128",
        "loopback": "127.0.0.0/8 ::1/128",
        "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16",
        "carrier-grade NAT": "100.64.0.0/10",
        "link-local, the cloud's metadata": "169.254.0.0/16 168.63.129.16/32 fe80::/10",
        "protocol assignments": "192.0.0.0/24 2001::/23",
        "documentation": "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
        "benchmarks": "198.18.0.0/15",
        "multicast": "224.0.0.0/4 ff00::/8",
        "reserved": "240.0.0.0/4",
        "IPv4-mapped": "::ffff:0:0/96",
        "IPv4-translated": "::ffff:0:0:0/96",
        "IPv4-compatible": "::/96",
        "NAT64": "64:ff9b::/96 64:ff9b:1::/48",
        "discarded": "100::/64",
        "Teredo": "2001::/32",
        "6to4": "2002::/16 192.88.99.0/24",
        "unique local": "fc00::/7",
        "site-local": "fec0::/10",
    }.items()
    for text in texts.split()
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")


def kind_denied(address: Address, allow: Iterable[Network]) -> str | None:
    """Name the kind of address that stands on the deny table; None where it may be dialled.

    Args:
        allow: Networks that the operator opened. They are compared with the address as it is: a
            mapped or translated form of an opened address stays denied.
    """
    if any(address in network for network in allow):
        return None
    matches = [(network.prefixlen, kind) for kind, network in _DENIED if address in network]
    if matches:
        return max(matches)[1]
    if address.version == 6 and address not in _GLOBAL_V6:
        return "not global"
    return None


def is_this_machine(host: str | None) -> bool:
    """Tell whether nobody can stand between the broker and a host: it is the broker's own.

    Args:
        host: As a URL names it; no name but `localhost` is looked up.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_closed_way(scheme: str, host: str | None) -> bool:
    """Tell whether nobody on the way to a web address can read or change what goes there.

    Args:
        scheme: `https`, where a certificate shows who answers; `http` on this machine alone.
        host: As the URL names it.
    """
    return scheme == "https" or (scheme == "http" and is_this_machine(host))
