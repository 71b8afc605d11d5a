"""Files by the client, at a real broker."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from broker.client import Client, ClientError, state_of
from broker.core.lifecycle import CallState
from broker.v1 import workspace_pb2, workspace_pb2_grpc
from tests.api.files import MIB, noise, sha256
from tests.api.rpc import fresh
from tests.broker_process import Served


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    """The client of `agent`."""
    return served.client("agent")


class TestPut:
    @pytest.mark.parametrize("data", [b"", b"x", noise(3 * MIB + 7)], ids=["empty", "one", "3MiB"])
    @pytest.mark.parametrize("kind", ["bytes", "path", "open", "pipe"])
    def test_every_source(self, client: Client, tmp_path: Path, data: bytes, kind: str) -> None:
        """Bytes, a file's path, an open file, one that cannot be rewound all arrive as they are."""
        session, file = fresh("s"), tmp_path / "file"
        file.write_bytes(data)
        source = {
            "bytes": data,
            "path": file,
            "open": io.BytesIO(data),
            "pipe": _Pipe(data),
        }[kind]
        call = client.put("f", source, session=session)  # type: ignore[arg-type]
        assert state_of(call) is CallState.SUCCEEDED
        found = client.fetch("f", session=session)
        assert (found.data, found.sha256) == (data, sha256(data))

    def test_no_such_file(self, client: Client, tmp_path: Path) -> None:
        """A local file that is not there is an error of its own; nothing is asked."""
        with pytest.raises(FileNotFoundError):
            client.put("f", tmp_path / "none")

    def test_same_request_id(self, client: Client) -> None:
        """Another try with the same request_id is the same call."""
        session, request_id = fresh("s"), fresh("r")
        first = client.put("f", b"x", session=session, request_id=request_id)
        assert client.put("f", b"x", session=session, request_id=request_id).name == first.name

    def test_refusal(self, client: Client) -> None:
        """What the broker refuses is an error with its reason."""
        with pytest.raises(ClientError) as error:
            client.put("../f", b"x")
        assert error.value.reason == "INVALID_ARGUMENT"


class TestFetch:
    def test_into_a_file(self, client: Client, tmp_path: Path) -> None:
        """The bytes go where they are wanted, behind what is there."""
        session, data = fresh("s"), noise(2 * MIB)
        client.put("f", data, session=session)
        with (tmp_path / "out").open("w+b") as file:
            file.write(b"head")
            found = client.fetch("f", file, session=session)
        assert (tmp_path / "out").read_bytes() == b"head" + data
        assert (found.data, found.has_content, found.size_bytes) == (None, True, 2 * MIB)

    def test_what_is_not_there(self, client: Client) -> None:
        """A file that is not there is a failed call, not an empty file."""
        found = client.fetch("none", session=fresh("s"))
        assert (state_of(found.call), found.has_content, found.data) == (
            CallState.FAILED,
            False,
            None,
        )


class TestFiles:
    def test_of_a_session(self, client: Client) -> None:
        """A session's files are listed with the call, all of them or those below a path."""
        session = fresh("s")
        client.put("a", b"", session=session)
        client.put("b/c", b"x", session=session)
        found = client.files(session=session)
        assert [(file.path, file.size_bytes) for file in found.files] == [("a", 0), ("b/c", 1)]
        assert found.call.session_id == session
        assert [file.path for file in client.files("b", session=session).files] == ["b/c"]


class _Pipe(io.RawIOBase):
    """A source that can be read once, from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self._left = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._left.read(size)


class _Liar(workspace_pb2_grpc.WorkspaceServiceServicer):
    """A far end that sends other bytes than its head says."""

    def GetFile(  # noqa: N802
        self, request: workspace_pb2.GetFileRequest, context: grpc.ServicerContext
    ) -> Iterator[workspace_pb2.GetFileResponse]:
        if request.path != "no-head":
            head = workspace_pb2.GetFileHead(has_content=True, size_bytes=3, sha256=sha256(b"abc"))
            yield workspace_pb2.GetFileResponse(head=head)
        yield workspace_pb2.GetFileResponse(chunk=request.path.encode())


class TestDamaged:
    @pytest.fixture
    def lied_to(self) -> Iterator[Client]:
        """A client of such a far end."""
        server = grpc.server(ThreadPoolExecutor(1))
        workspace_pb2_grpc.add_WorkspaceServiceServicer_to_server(_Liar(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with Client(grpc.insecure_channel(f"127.0.0.1:{port}")) as client:
            yield client
        server.stop(None)

    @pytest.mark.parametrize("sent", ["ab", "abd", "abcd", "no-head"])
    def test_other_bytes_are_no_file(self, lied_to: Client, sent: str) -> None:
        """Bytes that are not those of the head are an error, never data."""
        with pytest.raises(ClientError) as error:
            lied_to.fetch(sent)
        assert error.value.reason == "FILE_DAMAGED"

    def test_the_heads_bytes_are(self, lied_to: Client) -> None:
        """The twin: the bytes that the head names are the file."""
        assert lied_to.fetch("abc").data == b"abc"
