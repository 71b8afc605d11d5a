"""A PostgreSQL server of a test's own: TLS, a role that can only read, one that can write."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.docs.fences import blocks_of
from tests.egress.places import certificates

START_S = 60
_STARTS = 3
_DEBIANS = Path("/usr/lib/postgresql")
_USER = "postgres"

_GUIDE = Path(__file__).resolve().parents[2] / "docs" / "sql.md"
_ROLES = {"reader": "agent_reader", "writer": "agent_writer"}
# What the guide finds there, and what it says nothing of.
_SHOP = """
CREATE TABLE orders (id integer PRIMARY KEY, customer text NOT NULL, total numeric(10, 2));
INSERT INTO orders VALUES (1, 'Ada', 12.50), (2, 'Grace', 99.99), (3, 'Edsger', NULL);
CREATE TABLE cards (number text);
CREATE SEQUENCE visits;
CREATE FUNCTION forget(id integer) RETURNS bigint LANGUAGE sql SECURITY INVOKER AS
    'WITH gone AS (DELETE FROM orders WHERE orders.id = $1 RETURNING 1) SELECT count(*) FROM gone';
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Database:
    """A server; use it in `with`. Its port is of the loopback alone.

    Args:
        folder: Where certificate and key are made.
    """

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._home = Path(tempfile.mkdtemp(prefix="twdb"))
        self._stack.callback(shutil.rmtree, self._home)
        self._passwords = {name: secrets.token_hex(12) for name in (_USER, "reader", "writer")}
        self.ca, chain = certificates(folder)
        self.port = _free_port()
        self._make(chain)

    def _make(self, chain: Path) -> None:
        password, server = self._home / "password", self._home / "server.pem"
        password.write_text(self._passwords[_USER])
        server.write_bytes(chain.read_bytes())
        server.chmod(0o600)
        self._give_away()
        self._run("initdb", "-D", f"{self._home}/data", "-U", _USER, "-A", "scram-sha-256",
                  "--pwfile", str(password), "-E", "UTF8", "--locale", "C")  # fmt: skip
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._home),
            "ssl": "on",
            "ssl_cert_file": str(server),
            "ssl_key_file": str(server),
            "fsync": "off",
        }
        with (self._home / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def __enter__(self) -> Self:
        for _ in range(_STARTS):
            if self._answers(self._start()):
                break
            # It has ended: what was a free port was taken before it could listen there.
            self.port = _free_port()
        else:
            raise AssertionError((self._home / "log").read_text())
        self.ask("CREATE DATABASE shop", database="postgres")
        self.ask(_SHOP)
        self.ask(self._as_guided())
        self.ask("GRANT USAGE ON SEQUENCE visits TO agent_writer")
        return self

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._home / "log").open("ab") as log:
            server = subprocess.Popen(
                [_program("postgres"), "-D", self._home / "data", "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **_as_its_user(),
            )
        self._stack.callback(server.wait)
        # Fast: who is connected still is cut off.
        self._stack.callback(server.send_signal, signal.SIGINT)
        return server

    def _answers(self, server: subprocess.Popen[bytes]) -> bool:
        """Wait until it answers; tell whether it does, for it may have ended."""
        for attempt in Retrying(
            retry=retry_if_exception_type(subprocess.CalledProcessError),
            stop=stop_after_delay(START_S),
            wait=wait_fixed(0.1),
            reraise=True,
        ):
            with attempt:
                if server.poll() is not None:
                    return False
                self.ask("SELECT 1", database="postgres")
        return True

    def _as_guided(self) -> str:
        """Give what docs/sql.md tells an operator to run."""
        (block,) = (block for block in blocks_of(_GUIDE) if block.language == "sql")
        reading = block.text.replace("READING PASSWORD", self._passwords["reader"])
        return reading.replace("WRITING PASSWORD", self._passwords["writer"])

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def dsn(self, role: str, host: str, **options: str) -> str:
        """Give the DSN of a role, for a host that leads to this machine."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return (
            f"postgresql://{_ROLES[role]}:{self._passwords[role]}@{host}:{self.port}/shop?{query}"
        )

    def password(self, role: str) -> str:
        """Give a role's password."""
        return self._passwords[role]

    def ask(self, sql: str, *, database: str = "shop") -> str:
        """Run SQL as the superuser; give the rows, a line each.

        Raises:
            subprocess.CalledProcessError: psql failed.
        """
        done = self._run(
            "psql", "-h", str(self._home), "-p", str(self.port), "-U", _USER, "-d", database,
            "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", text=sql
        )  # fmt: skip
        return done.stdout.strip()

    def orders(self) -> str:
        """Give what is in the table, to see whether anything changed."""
        return self.ask("SELECT string_agg(orders::text, ' ' ORDER BY id) FROM orders")

    def _run(self, name: str, *args: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [_program(name), *args],
            input=text,
            env={"PATH": os.defpath, "PGPASSWORD": self._passwords[_USER], "LC_ALL": "C"},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
            timeout=START_S,
            **_as_its_user(),
        )

    def _give_away(self) -> None:
        if os.geteuid() == 0:
            for path in (self._home, *self._home.iterdir()):
                shutil.chown(path, _USER, _USER)


def _program(name: str) -> Path:
    """Find a program of PostgreSQL; Debian keeps the server's out of PATH."""
    newest = max(_DEBIANS.glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
    found = shutil.which(name, path=os.pathsep.join(map(str, filter(None, [newest, os.defpath]))))
    assert found, f"there is no {name}: scripts/setup-postgres.sh"
    return Path(found)


def _as_its_user() -> dict[str, str | int | list[str]]:
    """Give what a process of PostgreSQL is started with, which refuses to be root."""
    if os.geteuid() != 0:
        return {}
    return {"user": _USER, "group": _USER, "extra_groups": []}
