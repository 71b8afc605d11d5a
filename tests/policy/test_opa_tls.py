"""An OPA server of the operator's own: who it is, who asks, and what is between."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from broker.adapters.opa_server import Credentials, OpaServerEngine
from broker.adapters.opa_server.client import MOST_ANSWER_BYTES
from broker.config_policy import PolicySection
from broker.core.bundle import Bundle
from broker.core.canonical import canonical_json
from broker.core.secret import Secret
from broker.errors import PolicyError, PolicyInvalid, PolicyUnavailable, SecretUnavailable
from broker.finding import Level
from broker.policy_engine import engine_findings
from tests.policy.real_opa import Authority, Files, RealOpa
from tests.policy.samples import ask

ANY = canonical_json(ask("python_run", {"code": "1"}))
TOKEN = "a-token-of-some-length"
# OPA's own way: what data.system.authz.allow does not allow is 401.
AUTHZ = f'package system.authz\n\ndefault allow := false\n\nallow if input.identity == "{TOKEN}"\n'
DEADLINE_S = 10.0


def secret(value: bytes) -> Callable[[], Secret]:
    """Give a token that is always the same."""
    return lambda: Secret(name="opa_token", value=value)


def missing() -> Secret:
    """Give a token that nobody has."""
    raise SecretUnavailable("opa_token", "/run/token cannot be read")


class World:
    """Servers with what they and their clients prove themselves by.

    `plain` shows a certificate of `ours`; `careful` demands one of it besides; `expired` shows one
    that was valid once; `guarded` wants the token.
    """

    def __init__(self, folder: Path, opa: str, bundle: Bundle, stack: ExitStack) -> None:
        self.ours, self.theirs = Authority(folder / "ours"), Authority(folder / "theirs")
        server = self.ours.server("server")
        demands = [
            *server.tls,
            "--authentication",
            "tls",
            "--tls-ca-cert-file",
            str(self.ours.file),
        ]
        authz = folder / "authz"
        authz.mkdir()
        (authz / "authz.rego").write_text(AUTHZ)
        (authz / ".manifest").write_text('{"roots": ["system"]}')
        guard = ["--authentication", "token", "--authorization", "basic", "--bundle", str(authz)]

        def run(name: str, options: list[str]) -> RealOpa:
            return stack.enter_context(
                RealOpa(opa, bundle, folder / name, options, plain_too=name == "plain")
            )

        self.plain = run("plain", server.tls)
        self.careful = run("careful", [*server.tls, *demands])
        self.expired = run("expired", self.ours.server("old", expired=True).tls)
        self.guarded = run("guarded", [*server.tls, *guard])

    def trusting(self, pair: Files | None = None) -> Credentials:
        """Trust our authority; show a pair where there is one."""
        return Credentials(
            ca_file=self.ours.file,
            certificate=pair.certificate if pair else None,
            private_key=pair.private_key if pair else None,
        )


@pytest.fixture(scope="module")
def world(opa: str, shipped: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The servers, started once."""
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("opa-tls"), opa, shipped, stack)


@pytest.fixture(autouse=True)
def through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of proxies and authorities would lead nowhere."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")


async def decide(url: str, bundle: Bundle, credentials: Credentials | None) -> str:
    """Connect, which tries the canary, then ask; give the effect, or how it was refused."""
    try:
        engine = await OpaServerEngine.connect(
            url, bundle, timeout_s=DEADLINE_S, credentials=credentials
        )
    except PolicyUnavailable as error:
        return str(error)
    try:
        return str((await engine.evaluate(ANY)).output["effect"])
    finally:
        await engine.close()


class TestServer:
    """Who answers."""

    async def test_of_our_authority(self, world: World, shipped: Bundle) -> None:
        """A server with a certificate of the private CA decides; proxies are passed by."""
        url = f"https://127.0.0.1:{world.plain.port}"
        assert await decide(url, shipped, world.trusting()) == "allow"

    async def test_of_another_authority(self, world: World, shipped: Bundle) -> None:
        """One that another CA vouches for is refused, as is ours without our CA."""
        url = f"https://127.0.0.1:{world.plain.port}"
        for credentials in (Credentials(ca_file=world.theirs.file), Credentials(), None):
            said = await decide(url, shipped, credentials)
            assert "unable to get local issuer certificate" in said
            assert "signed by policy.opa_ca_file" in said

    async def test_of_another_name(self, world: World, shipped: Bundle) -> None:
        """A certificate for another host is refused, though our CA signed it."""
        url = f"https://localhost:{world.plain.port}"
        assert "Hostname mismatch" in await decide(url, shipped, world.trusting())

    async def test_expired(self, world: World, shipped: Bundle) -> None:
        """A certificate that has expired is refused."""
        url = f"https://127.0.0.1:{world.expired.port}"
        assert "certificate has expired" in await decide(url, shipped, world.trusting())

    async def test_without_tls(self, world: World, shipped: Bundle) -> None:
        """Where TLS is expected, a port that speaks none is refused."""
        url = f"https://127.0.0.1:{world.plain.plain_port}"
        assert "is not trusted" in await decide(url, shipped, world.trusting())

    async def test_without_tls_at_a_port_with_it(self, world: World, shipped: Bundle) -> None:
        """An http URL at a TLS port gets no decision."""
        with pytest.raises(PolicyInvalid, match="400"):
            await decide(f"http://127.0.0.1:{world.plain.port}", shipped, None)

    @pytest.mark.parametrize(("scheme", "attempts"), [("https", 1), ("http", 3)])
    async def test_how_often(
        self, world: World, shipped: Bundle, scheme: str, attempts: int
    ) -> None:
        """Who is not trusted now will not be in a moment; what broke may hold the next time."""
        connected = 0

        def connect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connected
            connected += 1
            if scheme == "https":
                writer.write(b"no TLS\r\n")
            writer.close()

        async with await asyncio.start_server(connect, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            credentials = world.trusting() if scheme == "https" else None
            await decide(f"{scheme}://127.0.0.1:{port}", shipped, credentials)
        assert connected == attempts

    async def test_comes_back(
        self, world: World, opa: str, shipped: Bundle, tmp_path: Path
    ) -> None:
        """A server that is killed is unavailable; started again, it is asked again."""
        with RealOpa(opa, shipped, tmp_path / "o", world.ours.server("s").tls) as server:
            engine = await OpaServerEngine.connect(
                f"https://127.0.0.1:{server.port}",
                shipped,
                timeout_s=DEADLINE_S,
                credentials=world.trusting(),
            )
            server.kill()
            with pytest.raises(PolicyUnavailable, match="cannot be reached"):
                await engine.evaluate(ANY)
            server.start()
            assert (await engine.evaluate(ANY)).output["effect"] == "allow"
            await engine.close()


class TestAsker:
    """Who asks."""

    async def test_with_a_certificate(self, world: World, shipped: Bundle) -> None:
        """A server that demands a certificate decides for one of its CA, and for no other."""
        url = f"https://127.0.0.1:{world.careful.port}"
        ours, theirs = world.ours.client("broker"), world.theirs.client("broker")
        assert await decide(url, shipped, world.trusting(ours)) == "allow"
        for pair in (None, theirs):
            said = await decide(url, shipped, world.trusting(pair))
            assert re.search("certificate required|unknown ca|bad certificate", said, re.IGNORECASE)

    async def test_with_a_token(self, world: World, shipped: Bundle) -> None:
        """A server that wants a token decides for the right one, and says nothing of others."""
        url = f"https://127.0.0.1:{world.guarded.port}"
        given = {
            "allow": secret(TOKEN.encode()),
            "refuses: 401": secret(b"another-token-of-some-length"),
            "cannot be read": missing,
            "not ASCII": secret("ein-Geheimnis-mit-ü".encode()),
            "control characters": secret(b"two-lines\r\nof-a-token"),
        }
        for expected, token in given.items():
            credentials = Credentials(ca_file=world.ours.file, token=token)
            said = await decide(url, shipped, credentials)
            assert expected in said
            assert "token-of-some-length" not in said
        assert "refuses: 401" in await decide(url, shipped, world.trusting())

    @pytest.mark.parametrize("kind", ["authority", "pair", "mixed"])
    async def test_with_files_that_are_none(
        self, world: World, shipped: Bundle, tmp_path: Path, kind: str
    ) -> None:
        """A file that is no PEM, or two that do not fit, stop the start with their names."""
        (broken := tmp_path / "broken.pem").write_text("none")
        one, other = world.ours.client("one"), world.ours.client("other")
        credentials = {
            "authority": Credentials(ca_file=broken),
            "pair": Credentials(certificate=broken, private_key=broken),
            "mixed": Credentials(certificate=one.certificate, private_key=other.private_key),
        }[kind]
        said = await decide(f"https://127.0.0.1:{world.plain.port}", shipped, credentials)
        assert "policy.opa_" in said
        assert str(other.private_key if kind == "mixed" else broken) in said


async def served(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], folder: Path
) -> web.AppRunner:
    """Run a server that is no OPA on a unix socket."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "s")).start()
    return runner


class TestDoctor:
    """What `toolwarrant doctor` finds out about such a server."""

    def found(self, bundle: Bundle, **settings: object) -> list[tuple[Level, str]]:
        """Judge a configuration that uses it."""
        policy = PolicySection(engine="opa", timeout_s=DEADLINE_S, **settings)  # type: ignore[arg-type]
        return [(finding.level, finding.said) for finding in engine_findings(policy, bundle)]

    def test_sound(self, world: World, shipped: Bundle, tmp_path: Path) -> None:
        """It asks as the start would: certificate, token, bundle, canary."""
        (token := tmp_path / "token").write_text(f"{TOKEN}\n")
        token.chmod(0o600)
        url = f"https://127.0.0.1:{world.guarded.port}"
        ((level, said),) = self.found(
            shipped, opa_url=url, opa_ca_file=world.ours.file, opa_token=f"file:{token}"
        )
        assert (level, said) == (Level.OK, f"opa at {url}, answers with {shipped.revision}")

    def test_not_sound(self, world: World, shipped: Bundle) -> None:
        """It says what kept the canary from being answered."""
        url = f"https://127.0.0.1:{world.plain.port}"
        other = replace(shipped, revision="another")
        ((level, said),) = self.found(other, opa_url=url, opa_ca_file=world.ours.file)
        assert (level, "POLICY_STALE" in said) == (Level.FAIL, True)
        ((level, said),) = self.found(shipped, opa_url=url)
        assert (level, "POLICY_UNAVAILABLE" in said) == (Level.FAIL, True)

    def test_a_token_of_the_services_own(self, world: World, shipped: Bundle) -> None:
        """What only the service can read is no fault of the server."""
        url = f"https://127.0.0.1:{world.guarded.port}"
        ((level, said),) = self.found(shipped, opa_url=url, opa_token="env:NOT_SET_HERE")
        assert (level, "not asked" in said) == (Level.WARN, True)

    def test_the_brokers_pair(self, world: World, shipped: Bundle) -> None:
        """Its key is the certificate's, and nobody else reads it."""
        url = f"https://127.0.0.1:{world.careful.port}"
        pair, other = world.ours.client("checked"), world.ours.client("unchecked")
        settings = {"opa_url": url, "opa_ca_file": world.ours.file}
        settings |= {"opa_certificate": pair.certificate, "opa_private_key": pair.private_key}
        assert [level for level, _ in self.found(shipped, **settings)] == [Level.OK]
        pair.private_key.chmod(0o644)
        (level, said), _ = self.found(shipped, **settings)
        assert (level, "others can read it" in said) == (Level.FAIL, True)
        settings["opa_private_key"] = other.private_key
        (level, said), (refused, _) = self.found(shipped, **settings)
        assert (level, "belongs to another certificate" in said) == (Level.FAIL, True)
        assert refused is Level.FAIL


class TestElsewhere:
    """A server that sends away, or sends too much."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirect_is_not_followed(
        self, opa: str, world: World, shipped: Bundle, tmp_path: Path, status: int
    ) -> None:
        """An answer from where nobody has to show who it is decides nothing."""
        asked = []
        place = f"http://127.0.0.1:{world.plain.plain_port}"

        async def answer(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.Response(status=status, headers={"Location": place + str(request.rel_url)})

        runner = await served(answer, tmp_path)
        said = await decide(f"unix://{tmp_path / 's'}", shipped, None)
        await runner.cleanup()
        assert f"sends elsewhere ({status})" in said
        assert asked == ["/v1/data/broker/decision/result"]

    async def test_without_end(self, shipped: Bundle, tmp_path: Path) -> None:
        """An answer is read up to a bound, whatever comes behind."""
        sent = 0

        async def answer(request: web.Request) -> web.StreamResponse:
            nonlocal sent
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            while True:
                await response.write(b" " * 65_536)
                sent += 65_536

        runner = await served(answer, tmp_path)
        with pytest.raises(PolicyError, match="has more than") as caught:
            await decide(f"unix://{tmp_path / 's'}", shipped, None)
        await runner.cleanup()
        assert caught.type is PolicyInvalid
        assert sent < 2 * MOST_ANSWER_BYTES
