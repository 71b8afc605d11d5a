"""Make one HTTP request through the broker's proxy.

There is no network here, only a socket behind which the broker connects to the one place that
policy opened. TLS is this program's own, end to end: the broker sees no more than the name.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import sys
from urllib.parse import quote, urlsplit

PROXY = "/egress/http.sock"
MORE_AUTHORITIES = "/egress/ca.pem"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
TIMEOUT_S = 50
MAX_BODY_BYTES = 512 * 1024
# Escapes can make six bytes of one; over the tool's `output_bytes` a call is killed.
MAX_TEXT_BYTES = 1_500_000
PLAIN = "!$%&'()*+,/:;=?@[]~"
PORTS = {"http": 80, "https": 443}
OWN_HEADERS = {
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


def fail(message):
    sys.stderr.write(message.rstrip("\n") + "\n")
    sys.exit(1)


class Through(http.client.HTTPConnection):
    """A connection to the proxy; for https a tunnel through it."""

    def __init__(self, scheme, host, port):
        super().__init__(host, port, timeout=TIMEOUT_S)
        self.scheme = scheme

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        try:
            self.sock.connect(PROXY)
        except FileNotFoundError:
            fail("this call may reach nothing: policy lists no place for it")
        if self.scheme == "https":
            self.tunnel()

    def tunnel(self):
        place = f"{bracketed(self.host)}:{self.port}"
        self.sock.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(self.sock, method="CONNECT")
        answer.begin()
        if answer.status != 200:
            refused(answer)
        context = ssl.create_default_context(cafile=AUTHORITIES)
        if os.path.exists(MORE_AUTHORITIES):
            context.load_verify_locations(MORE_AUTHORITIES)
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host)


def refused(answer):
    fail(f"the broker did not connect: {answer.fp.read(4096).decode('utf-8', 'replace')}")


def bracketed(host):
    return f"[{host}]" if ":" in host else host


def place_of(url):
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError) as error:
        fail(f"url: {error}")
    scheme = parts.scheme.lower()
    if scheme not in PORTS or "@" in parts.netloc:
        fail("url: send http:// or https://, without credentials")
    target = quote(parts.path or "/", PLAIN) + (
        "?" + quote(parts.query, PLAIN) if parts.query else ""
    )
    return scheme, host.rstrip("."), port or PORTS[scheme], target


def answer_of(connection, scheme, host, port, target, arguments):
    at_port = "" if port == PORTS[scheme] else f":{port}"
    name = bracketed(host)
    if scheme == "http":
        target = f"http://{name}{at_port}{target}"
    method = arguments.get("method", "GET")
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", name + at_port)
    # http.client undoes no encoding, so none is asked for.
    defaults = {"user-agent": "toolwarrant-http-fetch", "accept-encoding": "identity"}
    headers = {key.lower(): value for key, value in arguments.get("headers", {}).items()}
    for key, value in (defaults | headers).items():
        if key in OWN_HEADERS or key.startswith("proxy-"):
            fail(f"headers: {key} is the tool's own to set; leave it out")
        connection.putheader(key, value)
    body = arguments["body"].encode() if "body" in arguments else None
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.putheader("Connection", "close")
    connection.endheaders(body)
    answer = connection.getresponse()
    if scheme == "http" and (answer.getheader("proxy-status") or "").startswith("toolwarrant;"):
        refused(answer)
    return answer


def told(answer):
    headers = {}
    for key, value in answer.getheaders():
        key = key.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    body = answer.read(MAX_BODY_BYTES + 1)
    truncated = len(body) > MAX_BODY_BYTES
    body = body[:MAX_BODY_BYTES]
    said = {"status": answer.status, "headers": headers, "truncated": truncated}
    try:
        # Where it is cut, the last character may be cut too.
        said["body"] = decoded(body, truncated)
        text = encoded(said)
        if len(text) <= MAX_TEXT_BYTES:
            return text
        del said["body"]
    except UnicodeDecodeError:
        pass
    said["body_base64"] = base64.b64encode(body).decode()
    return encoded(said)


def decoded(body, truncated):
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        if not truncated or error.end < len(body) or len(body) - error.start > 3:
            raise
        return body[: error.start].decode()


def encoded(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )


def main():
    arguments = json.load(sys.stdin.buffer)
    scheme, host, port, target = place_of(arguments["url"])
    connection = Through(scheme, host, port)
    try:
        answer = answer_of(connection, scheme, host, port, target, arguments)
        text = told(answer)
    except ssl.SSLCertVerificationError as error:
        fail(f"the certificate of {host} is not to be trusted: {error.verify_message}")
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            fail(f"{host}:{port} speaks no TLS: is it http:// there?")
        fail(f"the TLS connection to {host} broke off: {error.reason or error}")
    except (OSError, http.client.HTTPException) as error:
        fail(f"the request to {host} broke off: {error or type(error).__name__}")
    sys.stdout.buffer.write(text)


main()
