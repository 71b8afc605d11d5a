"""Run one statement at the database whose DSN this call was given.

There is no network here, only a socket behind which the broker connects to the one place that
policy opened. libpq speaks TLS over TCP alone, so threads carry its bytes from a port of this
sandbox to that socket; TLS is libpq's own, end to end.

Statements go by the extended protocol, which takes one statement and no more.
"""

import contextlib
import ctypes.util
import json
import math
import os
import socket
import sys
import threading

PLACES = "/egress/tcp"
MORE_AUTHORITIES = "/egress/ca.pem"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
ALL_AUTHORITIES = "/tmp/authorities.pem"
CONNECT_S = 10
# Less than the tool's own limit of 30 s, so that it is PostgreSQL that says what took too long.
SETTINGS = {
    "statement_timeout": "20s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
    # A run that is killed must not leave its statement running.
    "client_connection_check_interval": "1s",
    # The grammar that a statement is judged by knows strings no other way.
    "standard_conforming_strings": "on",
}
MAX_ROWS = 10_000
# Escapes can make six bytes of one; over the tool's `output_bytes` a call is killed.
MAX_TEXT_BYTES = 1_500_000
SAFE_INTEGER = 2**53
BOOL, INTEGERS, FLOATS = 16, {20, 21, 23, 26}, {700, 701}

# It would ask other programs where libraries are; here they have Debian's names.
ctypes.util.find_library = {"c": "libc.so.6", "pq": "libpq.so.5"}.get
sys.path.append("/usr/lib/python3/dist-packages")

from psycopg import OperationalError, pq  # noqa: E402


def fail(message):
    sys.stderr.write(message.rstrip("\n") + "\n")
    sys.exit(1)


def dsn():
    """Give the DSN of this call, and whether it is the one that may only read."""
    reading, writing = os.environ.get("SQL_READING_DSN"), os.environ.get("SQL_WRITING_DSN")
    if (reading is None) == (writing is None):
        fail("policy must give this call one DSN, sql_reading_dsn or sql_writing_dsn")
    return (reading, True) if writing is None else (writing, False)


def settings_of(text):
    """Read a DSN. It is a secret: no message may repeat any of it."""
    try:
        options = pq.Conninfo.parse(text.strip().encode())
    except OperationalError:
        fail("the operator's DSN cannot be read: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    settings = {each.keyword.decode(): each.val.decode() for each in options if each.val}
    host = settings.get("host", "")
    if not host or host.startswith("/") or "," in host or "service" in settings:
        fail("the operator's DSN must name one host: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    settings.setdefault("port", "5432")
    settings.setdefault("sslmode", "verify-full")
    if settings["sslmode"].startswith("verify-") and "sslrootcert" not in settings:
        settings["sslrootcert"] = authorities()
    settings.update({"connect_timeout": str(CONNECT_S), "client_encoding": "UTF8"})
    # Without these libpq would look for files of a home folder that is not there.
    return {"application_name": "toolwarrant", "gssencmode": "disable", **settings}


def authorities():
    if not os.path.exists(MORE_AUTHORITIES):
        return AUTHORITIES
    with open(ALL_AUTHORITIES, "wb") as both:
        for part in (AUTHORITIES, MORE_AUTHORITIES):
            with open(part, "rb") as file:
                both.write(file.read() + b"\n")
    return ALL_AUTHORITIES


class Forwarder:
    """One TCP port of this sandbox that leads to the place."""

    def __init__(self, host, port):
        name = f"[{host}]" if ":" in host else host
        self.place = f"{PLACES}/{name.lower().rstrip('.')}:{port}"
        if not os.path.exists(self.place):
            fail(
                "policy does not open the database of the operator's DSN for this call; operator: "
                "HOST:PORT of the DSN goes into databases in teams/default/data.json"
            )
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.brought_anything = False
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        # libpq connects a second time where a server refuses what it offered first.
        while True:
            here, _ = self.listening.accept()
            there = socket.socket(socket.AF_UNIX)
            try:
                there.connect(self.place)
            except OSError:
                here.close()
                continue
            self.carry(here, there)

    def carry(self, here, there):
        for source, sink, is_answer in ((here, there, False), (there, here, True)):
            threading.Thread(target=self.pump, args=(source, sink, is_answer), daemon=True).start()

    def pump(self, source, sink, is_answer):
        """Carry one direction to its end."""
        try:
            while data := source.recv(65536):
                self.brought_anything |= is_answer
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # An end that is gone ends both ways, so that libpq does not wait.
            for each in (source, sink):
                each.close()


def connect(settings):
    forwarder = Forwarder(settings["host"], settings["port"])
    options = {**settings, "hostaddr": "127.0.0.1", "port": str(forwarder.port)}
    connection = pq.PGconn.connect(
        b" ".join(f"{key}={quoted(value)}".encode() for key, value in options.items())
    )
    if connection.status != pq.ConnStatus.OK:
        said = connection.error_message.decode("utf-8", "replace")
        fail(f"no connection: {connection_failure(said, forwarder)}")
    return connection


def quoted(value):
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def connection_failure(said, forwarder):
    """Choose words; libpq's own would name host, user and database."""
    if not forwarder.brought_anything:
        return (
            "the database was not reached; why not is in the result.json that "
            "`toolwarrant receipts get ID --into DIR` writes"
        )
    if "certificate" in said:
        return (
            "the database's certificate is not to be trusted; operator: [egress] ca_file, sslmode"
        )
    if "SSL" in said:
        return "the database speaks no TLS; operator: sslmode=disable in the DSN, if that is meant"
    if "timeout" in said:
        return f"the database did not answer within {CONNECT_S} s"
    return "the database refused the login of the operator's DSN; its own log says why"


def prepare(connection, is_reading):
    """Begin a reading transaction, where only that was allowed; bound what statements may take."""
    if is_reading:
        execute(connection, b"BEGIN READ ONLY")
    values = ", ".join(f"('{name}', '{value}')" for name, value in SETTINGS.items())
    # By way of pg_settings: older servers do not know all of them.
    known = f"(VALUES {values}) v (name, value) JOIN pg_catalog.pg_settings USING (name)"
    execute(connection, f"SELECT pg_catalog.set_config(name, value, false) FROM {known}".encode())


def execute(connection, text):
    result = connection.exec_(text)
    if result.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
        fail(f"the database did not take up the connection: {complaint(result)}")


def complaint(result):
    def field(code):
        return (result.error_field(code) or b"").decode("utf-8", "replace")

    codes = pq.DiagnosticField
    parts = [field(codes.MESSAGE_PRIMARY), field(codes.MESSAGE_DETAIL), field(codes.MESSAGE_HINT)]
    if place := field(codes.STATEMENT_POSITION):
        parts.append(f"at character {place}")
    said = "; ".join(" ".join(part.split()) for part in parts if part)
    return f"{field(codes.SQLSTATE) or 'no code'}: {said or 'the connection broke off'}"


class Answer:
    """What comes back, as much of it as an answer holds."""

    def __init__(self):
        self.columns = []
        self.rows = []
        self.size = 0
        self.truncated = False

    def take(self, result):
        self.columns = [
            (result.fname(column) or b"").decode("utf-8", "replace")
            for column in range(result.nfields)
        ]
        for row in range(result.ntuples):
            values = [
                json_value(result.get_value(row, column), result.ftype(column))
                for column in range(result.nfields)
            ]
            size = len(encoded(values)) + 1
            if len(self.rows) == MAX_ROWS or self.size + size > MAX_TEXT_BYTES:
                self.truncated = True
                return
            self.rows.append(values)
            self.size += size


def json_value(value, kind):
    if value is None:
        return None
    text = value.decode("utf-8", "replace")
    if kind == BOOL:
        return text == "t"
    # What is not of its type is a dishonest server's: it stays text.
    with contextlib.suppress(ValueError):
        if kind in INTEGERS and abs(int(text)) <= SAFE_INTEGER:
            return int(text)
        if kind in FLOATS and math.isfinite(float(text)):
            return float(text)
    return text


def run(connection, arguments, is_reading):
    """Run the statement; give the answer as it is printed."""
    parameters = [parameter_bytes(value) for value in arguments.get("parameters", [])]
    connection.send_query_params(arguments["statement"].encode(), parameters or None)
    connection.set_single_row_mode()
    answer, last = Answer(), None
    while result := connection.get_result():
        status = result.status
        if status in {pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_OK}:
            if not answer.truncated:
                answer.take(result)
            # What only reads may be left in the middle. A write must come to its end: it would be
            # undone, and the answer would say that it was done.
            if answer.truncated and is_reading:
                return rendered(answer, "SELECT", len(answer.rows))
        elif status != pq.ExecStatus.COMMAND_OK:
            fail(refusal(result, status))
        last = result
    if last is None:
        fail("the connection to the database broke off; whether the statement ran is not known")
    words = (last.command_status or b"").decode("utf-8", "replace")
    changed = last.command_tuples
    return rendered(answer, command_tag(words), len(answer.rows) if changed is None else changed)


def parameter_bytes(value):
    if value is None:
        return None
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def refusal(result, status):
    copies = {pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH}
    if status in copies:
        return "COPY needs a stream, which this tool has not: use SELECT, or INSERT with parameters"
    if status == pq.ExecStatus.EMPTY_QUERY:
        return "there is no statement in it"
    return f"the database refused it: {complaint(result)}"


def command_tag(words):
    return " ".join(word for word in words.split() if not word.isdigit())


def rendered(answer, name, count):
    return encoded(
        {
            "command": name,
            "columns": answer.columns,
            "rows": answer.rows,
            "row_count": count,
            "truncated": answer.truncated,
        }
    )


def encoded(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )


def main():
    # Numbers stay as they were written.
    arguments = json.loads(sys.stdin.buffer.read(), parse_float=str, parse_int=str)
    text, is_reading = dsn()
    connection = connect(settings_of(text))
    try:
        prepare(connection, is_reading)
        answer = run(connection, arguments, is_reading)
    except OperationalError:
        fail("the connection to the database broke off; whether the statement ran is not known")
    finally:
        connection.finish()
    sys.stdout.buffer.write(answer)


main()
