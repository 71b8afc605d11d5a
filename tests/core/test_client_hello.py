"""What a ClientHello says of its server is read whole, or refused."""

import ssl

import pytest

from broker.core.client_hello import ClientHello, read_client_hello


def hello_of(name: str | None) -> bytes:
    """The first flight of OpenSSL's own client."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def made(*extensions: bytes) -> bytes:
    """A hello by hand, with these extensions."""
    block = b"".join(extensions)
    body = b"\x03\x03" + b"r" * 32 + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(block).to_bytes(2) + block
    return b"\x01" + len(body).to_bytes(3) + body


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2) + len(content).to_bytes(2) + content


def names(*hosts: bytes, kind: int = 0) -> bytes:
    entries = b"".join(bytes([kind]) + len(host).to_bytes(2) + host for host in hosts)
    return extension(0, len(entries).to_bytes(2) + entries)


def records(message: bytes, size: int = 1 << 14) -> bytes:
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in pieces)


ECH = extension(0xFE0D, b"\x00")


class TestHello:
    def test_of_openssl_is_read(self):
        """The name that a real client sends is the name that is read."""
        assert read_client_hello(hello_of("a.example")) == ClientHello(
            server_name="a.example", is_encrypted=False
        )

    def test_without_a_name_says_so(self):
        """A client that connects to an address sends no name."""
        assert read_client_hello(hello_of(None)) == ClientHello(
            server_name=None, is_encrypted=False
        )

    def test_with_a_second_one_inside_says_so(self):
        """An encrypted hello is seen, its name is not."""
        found = read_client_hello(records(made(names(b"a.example"), ECH)))
        assert found == ClientHello(server_name="a.example", is_encrypted=True)

    @pytest.mark.parametrize("cut", range(0, 200, 7))
    def test_that_is_not_whole_is_waited_for(self, cut):
        """Whatever was sent so far of a hello decides nothing."""
        assert read_client_hello(hello_of("a.example")[:cut]) is None

    @pytest.mark.parametrize("size", [4, 5, 20, 47])
    def test_split_over_records_is_put_together(self, size):
        """A name that is spread over records is the same name."""
        text = records(made(names(b"a.example")), size)
        assert read_client_hello(text) == ClientHello(server_name="a.example", is_encrypted=False)

    @pytest.mark.parametrize(
        "text",
        [
            b"GET / HTTP/1.1\r\n",
            b"\x80\x2e\x01\x03\x01",
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
            records(b"\x02" + made(names(b"a.example"))[1:]),
            records(b"\x01\xff\xff\xff" + b"x" * 50),
            records(made(names(b"a.example")) + b"\x01"),
            records(made(names(b"a.example"), names(b"b.example"))),
            records(made(names(b"a.example", b"b.example"))),
            records(made(names(b"a.example", kind=1))),
            records(made(names(b"\xff.example"))),
            records(made(extension(0, b""))),
            records(made(extension(0, b"\x00\x20\x00\x00\x01a"))),
            records(made(names(b"a.example")), 1),
        ],
    )
    def test_that_could_be_read_in_two_ways_is_none(self, text):
        """No TLS, another message, two names, a tail, a flood of records: refused."""
        with pytest.raises(ValueError, match=r".*"):
            read_client_hello(text)
