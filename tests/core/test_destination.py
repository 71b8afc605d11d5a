"""Names of places have one form, addresses have a table."""

import ipaddress

import pytest

from broker.core.address import kind_denied
from broker.core.destination import Destination, normal_host, read_destination

NAMES = {
    "example.org": "example.org",
    "EXAMPLE.org.": "example.org",
    "bücher.example": "xn--bcher-kva.example",
    "XN--BCHER-KVA.example": "xn--bcher-kva.example",
    "93.184.216.34": "93.184.216.34",
    "[2001:DB8:0::1]": "[2001:db8::1]",
    "a_b.example": "a_b.example",
}
NO_NAMES = [
    "",
    ".",
    "a..b",
    "-a.example",
    "a b.example",
    "a.example..",
    "user@example.org",
    "exa%6dple.org",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "1.2.3.4.5",
    "[::1%eth0]extra",
    "[127.0.0.1]",
    "::1",
    "a" * 64 + ".example",
    ".".join(["a" * 60] * 5),
    "a\x00.example",
]
DENIED = {
    "0.0.0.0": "this host",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "169.254.169.254": "link-local, the cloud's metadata",
    "168.63.129.16": "link-local, the cloud's metadata",
    "192.0.0.170": "protocol assignments",
    "192.0.2.1": "documentation",
    "198.18.0.1": "benchmarks",
    "224.0.0.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "192.88.99.1": "6to4",
    "::": "this host",
    "::1": "loopback",
    "::ffff:127.0.0.1": "IPv4-mapped",
    "::ffff:93.184.216.34": "IPv4-mapped",
    "::127.0.0.1": "IPv4-compatible",
    "::ffff:0:127.0.0.1": "IPv4-translated",
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b:1::a00:1": "NAT64",
    "2001::1": "Teredo",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "6to4",
    "fc00::1": "unique local",
    "fd00:ec2::254": "unique local",
    "fe80::1": "link-local, the cloud's metadata",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "100::1": "discarded",
    "4000::1": "not global",
}
ALLOWED = ["93.184.216.34", "172.32.0.1", "100.128.0.1", "11.0.0.1", "2606:4700::1111", "2a00::1"]


class TestNames:
    @pytest.mark.parametrize(("text", "normal"), NAMES.items())
    def test_have_one_form(self, text, normal):
        """Case, final dot, alphabet and zeros make no other name."""
        assert normal_host(text) == normal

    @pytest.mark.parametrize("text", NO_NAMES)
    def test_that_could_be_read_in_two_ways_are_none(self, text):
        """What a resolver would take for an address, or a parser for something else, is refused."""
        with pytest.raises(ValueError, match=r".*"):
            normal_host(text)


class TestDestinations:
    def test_are_read_with_their_port(self):
        """A place is a host with a port; the default port stands where none is named."""
        place = Destination(host="a.example", port=443)
        assert read_destination("A.example.:443") == place
        assert read_destination("a.example", default_port=443) == place
        assert str(place) == "a.example:443"
        assert read_destination("[::1]:80") == Destination(host="[::1]", port=80)
        assert read_destination("[::1]", default_port=80) == Destination(host="[::1]", port=80)

    @pytest.mark.parametrize(
        "text",
        ["a.example", "a.example:", "a.example:0", "a.example:65536", "a:b:1", "a:+80", ":1"],
    )
    def test_without_a_plain_port_are_none(self, text):
        """A port is a number from 1 to 65535 in plain digits."""
        with pytest.raises(ValueError, match=r".*"):
            read_destination(text)


class TestAddresses:
    @pytest.mark.parametrize(("text", "kind"), DENIED.items())
    def test_that_are_not_public_are_denied(self, text, kind):
        """Each special range stands on the table, in every form that leads there."""
        assert kind_denied(ipaddress.ip_address(text), ()) == kind

    @pytest.mark.parametrize("text", ALLOWED)
    def test_that_are_public_are_not(self, text):
        """The neighbours of the special ranges may be dialled."""
        assert kind_denied(ipaddress.ip_address(text), ()) is None

    def test_opened_by_the_operator_are_not_denied(self):
        """An opened network is open in the form that was written, in no other."""
        opened = [ipaddress.ip_network("10.0.0.0/24")]
        assert kind_denied(ipaddress.ip_address("10.0.0.7"), opened) is None
        assert kind_denied(ipaddress.ip_address("10.0.1.7"), opened) == "private"
        assert kind_denied(ipaddress.ip_address("::ffff:10.0.0.7"), opened) == "IPv4-mapped"
