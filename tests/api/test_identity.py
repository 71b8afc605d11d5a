"""Who may speak at all."""

import subprocess
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from broker.adapters.pki import DevelopmentAuthority, KeyPair
from broker.init import SPIFFE_PREFIX
from broker.v1 import admin_pb2, execution_pb2
from tests.api.rpc import Rpc, failure, state, wish
from tests.broker_process import Served

AGENT = f"{SPIFFE_PREFIX}agent"
AGENT2 = f"{SPIFFE_PREFIX}agent2"


def ask(served: Served, pair: KeyPair | str) -> object:
    """Ask something that every identity may ask."""
    return Rpc.of(served, pair).admin.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=20)


class TestHandshake:
    def test_no_certificate(self, served):
        """Who shows no certificate gets no connection."""
        authority = (served.folder.path / "pki" / "ca.crt").read_bytes()
        credentials = grpc.ssl_channel_credentials(authority)
        with grpc.secure_channel(served.target, credentials) as channel:
            attempt = Rpc(channel).admin.GetServerInfo
            found = failure(lambda: attempt(admin_pb2.GetServerInfoRequest(), timeout=20))
        assert found.code is grpc.StatusCode.UNAVAILABLE

    def test_no_tls(self, served):
        """Who speaks plain text gets no connection."""
        with grpc.insecure_channel(served.target) as channel:
            attempt = Rpc(channel).admin.GetServerInfo
            found = failure(lambda: attempt(admin_pb2.GetServerInfoRequest(), timeout=20))
        assert found.code is grpc.StatusCode.UNAVAILABLE

    def test_anothers_certificate(self, served):
        """A certificate without its own key gets no connection."""
        agent, other = served.folder.pair("agent"), served.folder.pair("agent2")
        stolen = KeyPair(
            certificate_pem=agent.certificate_pem, private_key_pem=other.private_key_pem
        )
        assert failure(lambda: ask(served, stolen)).code is grpc.StatusCode.UNAVAILABLE

    def test_expired_certificate(self, served):
        """An expired certificate gets no connection; its twin in time does."""
        issue = served.folder.authority.issue_client
        expired = issue("agent", AGENT, valid_for=timedelta(minutes=-10))
        assert failure(lambda: ask(served, expired)).code is grpc.StatusCode.UNAVAILABLE
        assert ask(served, issue("agent", AGENT))

    def test_certificate_of_another_authority(self, served):
        """A certificate of the same names from another CA gets no connection; its twin does."""
        foreign = DevelopmentAuthority(datetime.now(UTC)).issue_client("agent", AGENT)
        assert failure(lambda: ask(served, foreign)).code is grpc.StatusCode.UNAVAILABLE
        assert ask(served, served.folder.authority.issue_client("agent", AGENT))

    def test_server_certificate_as_a_client(self, served):
        """The broker's own certificate is no client's."""
        found = failure(lambda: ask(served, "server"))
        assert found.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}

    def test_certificate_that_expires_while_connected(self, served):
        """A connection outlives its certificate, the right to use it does not."""
        folder = served.folder
        age = datetime.now(UTC) - folder.made_at
        pair = folder.authority.issue_client("agent", AGENT, valid_for=age + timedelta(seconds=3))
        rpc = Rpc.of(served, pair)
        attempt = rpc.admin.GetServerInfo
        assert attempt(admin_pb2.GetServerInfoRequest(), timeout=20)
        until = datetime.now(UTC) + timedelta(seconds=30)
        found = None
        while found is None and datetime.now(UTC) < until:
            try:
                attempt(admin_pb2.GetServerInfoRequest(), timeout=20)
            except grpc.RpcError as error:
                found = error.code()
        assert found is grpc.StatusCode.UNAUTHENTICATED


class TestNames:
    def test_two_uris(self, served):
        """A certificate with two URI SANs names nobody."""
        pair = served.folder.authority.issue_client("agent", AGENT, AGENT2)
        found = failure(lambda: ask(served, pair))
        assert found.code is grpc.StatusCode.UNAUTHENTICATED
        assert (found.reason, found.domain) == ("CERTIFICATE_NAMES", "toolwarrant")

    def test_unknown_name(self, served):
        """A certificate of the right CA for a name that is not configured is refused."""
        pair = served.folder.authority.issue_client("x", f"{SPIFFE_PREFIX}stranger")
        found = failure(lambda: ask(served, pair))
        assert found.code is grpc.StatusCode.UNAUTHENTICATED
        assert (found.reason, found.domain) == ("IDENTITY_UNKNOWN", "toolwarrant")

    def test_uri_beside_a_cn(self, served):
        """The CN says nothing where there is a URI SAN: the caller is whom the URI names."""
        pair = served.folder.authority.issue_client(AGENT, AGENT2)
        assert Rpc.of(served, pair).execute("no_such_tool").agent == AGENT2

    def test_unknown_uri_beside_a_known_cn(self, served):
        """A known CN does not help a certificate whose URI is unknown."""
        pair = served.folder.authority.issue_client(AGENT, f"{SPIFFE_PREFIX}stranger")
        assert failure(lambda: ask(served, pair)).reason == "IDENTITY_UNKNOWN"

    def test_cn_alone(self, served):
        """Where there is no URI SAN the CN names the caller."""
        pair = served.folder.authority.issue_client(AGENT)
        assert Rpc.of(served, pair).execute("no_such_tool").agent == AGENT

    def test_expired_identity(self, serve):
        """An identity that the configuration lets expire is refused; its twin is not."""
        past, future = "2020-01-01T00:00:00Z", "2990-01-01T00:00:00Z"
        text = "\n".join(
            f'[identities."{SPIFFE_PREFIX}{name}"]\nroles = ["agent"]\nexpires_at = {at}'
            for name, at in (("late", past), ("early", future))
        )
        served = serve(identities=text)
        issue = served.folder.authority.issue_client
        late = issue("late", f"{SPIFFE_PREFIX}late")
        assert failure(lambda: ask(served, late)).reason == "IDENTITY_UNKNOWN"
        assert ask(served, issue("early", f"{SPIFFE_PREFIX}early"))


class TestSmuggling:
    @pytest.mark.parametrize(
        "key",
        ["authorization", "x-agent", "x-forwarded-client-cert", "x-spiffe-id", "user-agent-id"],
    )
    def test_metadata(self, agent, key):
        """No header changes who the caller is."""
        execute = agent.execution.ExecuteTool
        answer = execute(wish("no_such_tool"), metadata=[(key, AGENT2)], timeout=20)
        assert answer.call.agent == AGENT

    def test_body(self, agent):
        """No field of the request changes who the caller is, known or unknown ones."""
        # Field 100, a string: no field of ours; field 8 of Call is `agent`.
        unknown = b"\xa2\x06" + bytes([len(AGENT2)]) + AGENT2.encode()
        request = wish("no_such_tool", {"agent": AGENT2}, purpose=f"agent={AGENT2}")
        answer = agent.raw(
            "/broker.v1.ExecutionService/ExecuteTool", request.SerializeToString() + unknown
        )
        call = execution_pb2.ExecuteToolResponse.FromString(answer).call
        assert (call.agent, state(call)) == (AGENT, "DENIED")


class TestOpenssl:
    def test_plain_probe(self, served):
        """The TLS of the port is 1.2 or later, asks for a certificate, ends without one."""
        host = ["openssl", "s_client", "-connect", served.target, "-alpn", "h2"]
        old = subprocess.run(
            [*host, "-tls1_1"], input=b"", capture_output=True, check=False, timeout=30
        )
        assert old.returncode != 0
