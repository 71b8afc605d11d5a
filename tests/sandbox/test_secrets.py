"""Secrets in a real sandbox: the tool has them, the Engine does not, nothing brings them back."""

import asyncio
import json

import docker

from broker.core.call import Cause
from broker.core.sandbox import Collect
from broker.core.secret import Secret
from tests.sandbox.bench import Bench, job, tool_runs

VALUE = 's3cr3t+Token/42 "ü"'
SECRET = Secret(name="api_token", value=VALUE.encode())
OTHER = Secret(name="other", value=b"\xff\xfe0123456789")

# The value comes as a secret, or on stdin: then nothing knows that it is one.
TAKE = """
import base64, json, os, sys, time, urllib.parse
value = os.environ.get("API_TOKEN") or sys.stdin.read()
raw = value.encode()
"""
SAY_ALL = (
    TAKE
    + """
os.write(1, b"x" * 65530 + raw[:3])
os.write(1, raw[3:] + b"\\n")
print(base64.b64encode(raw).decode(), base64.b64encode(b"user:" + raw).decode())
print(urllib.parse.quote(value), json.dumps(value), raw.hex(), flush=True)
print(value * 2, file=sys.stderr)
open("/out/report.txt", "w").write(f"<{value}>")
open("/out/" + raw.hex(), "w").write("1")
os.symlink("/", "/out/link-" + raw.hex())
open("a/b.txt", "w").write(value)
open("c.bin", "wb").write(raw[:7])
"""
)
FORMS = (VALUE, "czNjcjN0K1Rva2VuLzQy", "s3cr3t%2BToken/42", VALUE.encode().hex(), '"\\u00fc\\"')


def everything(report: object) -> str:
    """Give all that is known of a run, bytes as text."""
    return (
        repr(report).encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")
    )


class TestDelivery:
    """What the tool finds."""

    CODE = """
import json, os, subprocess
child = subprocess.run(["/usr/bin/env"], capture_output=True).stdout
names = sorted(os.environ)
print(json.dumps([names, b"API_TOKEN=" in child, os.environ["API_TOKEN"][::-1]]))
print(os.environb[b"OTHER"][::-1])
"""

    async def test_in_its_environment(self, bench: Bench) -> None:
        """Each secret is a variable of the tool and its children, bytes as they are."""
        report = await bench.run(self.CODE, secrets=[SECRET, OTHER])
        first, second = report.stdout.data.decode().splitlines()
        names = ["API_TOKEN", "HOME", "LANG", "OTHER", "PATH", "PYTHONDONTWRITEBYTECODE"]
        assert json.loads(first) == [names, True, VALUE[::-1]]
        assert second == repr(OTHER.value[::-1])
        assert report.secrets == ("api_token", "other")

    async def test_none_unless_given(self, bench: Bench) -> None:
        """The twin: a run that is given none has none, the launcher's own variables apart."""
        report = await bench.run("import os; print(sorted(os.environ))")
        assert report.stdout.data.decode().strip() == str(
            ["HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE"]
        )
        assert report.secrets == ()

    async def test_the_launcher_cannot_be_asked(self, bench: Bench) -> None:
        """The launcher's environment has none, and its memory cannot be read by the tool."""
        code = """
for name in ("environ", "mem", "maps", "fd/0"):
    try:
        open(f"/proc/1/{name}", "rb").read(1)
        print(name, "read")
    except OSError as error:
        print(name, error.strerror)
"""
        report = await bench.run(code, secrets=[SECRET])
        assert report.stdout.data.decode().splitlines() == [
            f"{name} Permission denied" for name in ("environ", "mem", "maps", "fd/0")
        ]


class TestEngine:
    """What the Docker Engine is told."""

    async def test_nothing(self, bench: Bench, client: docker.APIClient) -> None:
        """While the tool has it, no word of it is in inspect, process list, events or changes."""
        sandbox = await bench.prepare(starts_ahead=False)
        container = sandbox.enforced.container_id
        running = asyncio.create_task(
            sandbox.run(job("import time; time.sleep(600)", timeout_s=60, secrets=[SECRET]))
        )
        await tool_runs(client, sandbox)
        seen = await asyncio.to_thread(all_of, client, container)
        await sandbox.kill(Cause.CANCELLED)
        report = await running
        await sandbox.discard()
        assert report.secrets == ("api_token",)
        assert [word for word in (VALUE[:15], "API_TOKEN", "api_token") if word in seen] == []

    async def test_the_engine_would_have_told(self, bench: Bench, client: docker.APIClient) -> None:
        """The twin: a variable of the container's configuration is in what is looked at."""
        created = client.create_container(
            bench.profile.image, ["/bin/true"], environment={"API_TOKEN": VALUE}
        )
        try:
            seen = json.dumps(client.inspect_container(created["Id"]), ensure_ascii=False)
        finally:
            client.remove_container(created["Id"])
        assert [word in seen for word in (VALUE[:15], "API_TOKEN")] == [True, True]


def all_of(client: docker.APIClient, container: str) -> str:
    """Give all that the Engine tells of a container, and its record of events."""
    attributes = client.inspect_container(container)
    since = attributes["Created"]
    events = list(client.events(since=since, until="0m", decode=True))
    seen = [attributes, client.top(container, "-ef"), client.diff(container), events]
    return json.dumps(seen, ensure_ascii=False)


class TestReturn:
    """What comes back."""

    async def test_no_form_of_it(self, bench: Bench) -> None:
        """Printed in two pieces, encoded, written to files, in names: the report has none of it."""
        report = await bench.run(
            SAY_ALL,
            secrets=[SECRET],
            workspace=[("a/b.txt", b""), ("c.bin", b"")],
            collect=Collect.CHANGES,
        )
        assert (report.cause, report.exit_code) == (Cause.EXITED, 0)
        told = everything(report)
        assert [form for form in FORMS if form in told] == []
        out = report.stdout.data.decode()
        assert out.startswith("x" * 65530 + "[secret api_token]\n[secret api_token] dXNlcj")
        assert report.stdout.size_bytes == len(report.stdout.data)
        assert report.stderr.data == SECRET.marker * 2 + b"\n"
        assert [(each.path, each.data) for each in report.outputs] == [
            ("report.txt", b"<%b>" % SECRET.marker)
        ]
        assert [(each.path, each.data) for each in report.changes] == [
            ("a/b.txt", SECRET.marker),
            ("c.bin", VALUE.encode()[:7]),
        ]
        assert "'report.txt': 1 values of secrets were replaced" in report.notes
        assert "'[secret api_token]': its name holds a secret" in report.notes
        assert "a file: a symlink" in report.notes
        assert report.redactions == 11

    async def test_all_of_it_where_nothing_is_a_secret(self, bench: Bench) -> None:
        """The twin: the same program with the value on stdin brings back every form."""
        report = await bench.run(
            SAY_ALL,
            stdin=VALUE,
            workspace=[("a/b.txt", b""), ("c.bin", b"")],
            collect=Collect.CHANGES,
        )
        told = everything(report)
        assert [form for form in FORMS if form not in told] == []
        assert report.redactions == 0

    async def test_half_of_it_at_a_timeout(self, bench: Bench) -> None:
        """A tool that is killed within a value has printed the beginning of it for nothing."""
        code = TAKE + "os.write(1, b'line\\ngo:' + raw[:12]); time.sleep(600)"
        report = await bench.run(code, secrets=[SECRET], timeout_s=3)
        assert (report.cause, report.stdout.data) == (Cause.TIMEOUT, b"line\n")
        assert report.notes == (
            "stdout: its last 15 bytes were left out: a secret could begin there",
        )

    async def test_half_of_what_is_none_at_a_timeout(self, bench: Bench) -> None:
        """The twin: the beginning of what is no secret is kept."""
        code = TAKE + "os.write(1, b'line\\ngo:' + raw[:12]); time.sleep(600)"
        report = await bench.run(code, stdin=VALUE, timeout_s=3)
        assert report.stdout.data == b"line\ngo:" + VALUE.encode()[:12]

    async def test_over_the_cap(self, bench: Bench) -> None:
        """A cap that falls within a value lets no part of it through."""
        code = TAKE + "os.write(1, b'x' * 89 + b'\\n' + raw + b'y' * 65000)"
        report = await bench.run(code, secrets=[SECRET], output_bytes=100)
        assert report.cause is Cause.OUTPUT_CAP
        assert report.stdout.data == b"x" * 89 + b"\n" + SECRET.marker[:10]
