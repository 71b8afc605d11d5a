"""http_fetch through a broker: decided, run, written down; nothing left after a crash."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.core.trust_root import read_trust_root
from broker.v1 import call_pb2, receipt_pb2
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.api.rpc import TIMEOUT_S, Rpc, rules, state, wish
from tests.broker_process import UNHURRIED, Folder, Served
from tests.e2e.policies import compile_policy
from tests.egress.places import Places

LOOPBACKS = ["127.0.0.0/8", "::1/128"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """A broker whose policy lists both servers of `localhost`."""

    served: Served
    agent: Rpc
    places: Places

    @property
    def plain(self) -> str:
        """The listed HTTP server."""
        return f"http://localhost:{self.places.http}"

    def fetch(self, url: str, **arguments: Any) -> call_pb2.Call:
        """Call http_fetch as an agent does."""
        return self.agent.execute("http_fetch", {"url": url, **arguments})

    def receipt(self, call: call_pb2.Call) -> receipt_pb2.GetReceiptResponse:
        """Read the receipt with its documents."""
        request = receipt_pb2.GetReceiptRequest(call=call.name)
        return self.agent.receipts.GetReceipt(request, timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Servers on the loopback."""
    with Places(tmp_path_factory.mktemp("places")) as places:
        yield places


@pytest.fixture(scope="module")
def folder(
    development_folder: Folder,
    places: Places,
    opa: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Folder:
    """A folder as the operator sets it up. Copy it, never serve from it."""
    path = tmp_path_factory.mktemp("fetching")
    listed = (f"localhost:{places.http}", f"localhost:{places.https}")
    bundle = compile_policy("", path / "policy", opa, destinations=listed)
    (path / "ca.pem").write_bytes(places.ca)
    made = development_folder.copy(path / "dev", UNHURRIED)
    settings: Any = {
        "policy": {"bundle": str(bundle)},
        "egress": {"allow_cidrs": LOOPBACKS, "ca_file": str(path / "ca.pem")},
    }
    made.set(settings)
    return made


@pytest.fixture(scope="module")
def fetching(
    folder: Folder, places: Places, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fetching]:
    """A broker that this module's tests share."""
    with Served(folder.copy(tmp_path_factory.mktemp("shared") / "dev")) as served:
        yield Fetching(served=served, agent=Rpc.of(served), places=places)


def predicate(call: call_pb2.Call) -> dict[str, Any]:
    """Read the predicate of a call's receipt."""
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(call.receipt)["payload"]))
    body: dict[str, Any] = found["predicate"]
    return body


def obligation(call: call_pb2.Call) -> dict[str, Any]:
    """Read what the receipt says of egress."""
    (found,) = (each for each in predicate(call)["obligations"] if each["name"] == "egress")
    body: dict[str, Any] = found
    return body


class TestListed:
    """What the operator listed is fetched without asking anybody."""

    def test_is_fetched(self, fetching: Fetching) -> None:
        """http and https answer; the one document on standard output says what came."""
        secure = f"https://localhost:{fetching.places.https}/"
        for url in (f"{fetching.plain}/", secure):
            call = fetching.fetch(url)
            assert (state(call), rules(call)) == ("SUCCEEDED", ["default.http_fetch"])
            assert json.loads(call.result.stdout_text)["status"] == 200

    def test_is_written_down(self, fetching: Fetching) -> None:
        """Receipt and events have counts and bytes, the result document has the host."""
        call = fetching.fetch(f"{fetching.plain}/marked")
        found = predicate(call)
        assert obligation(call) == {"name": "egress", "count": 1, "enforced": True}
        assert found["sandbox"]["facts"]["network"] == "none"
        assert "bind /egress ro" in found["sandbox"]["facts"]["mounts"]
        went = found["result"]["egress"]
        assert (went["connected"], went["refused"], went["failed"]) == ("1", "0", "0")
        assert int(went["sent_bytes"]) > 0
        assert "localhost" not in json.dumps(found)
        assert fetching.served.events(call.name)[-2:] == ["egress.connected", "call.succeeded"]
        result = json.loads(fetching.receipt(call).result_document)["body"]
        (visit,) = result["egress"]["connections"]
        assert (visit["host"], visit["port"]) == ("localhost", fetching.places.http)
        assert (visit["verdict"], visit["reason"]) == ("connected", "")
        assert str(visit["sent_bytes"]) == went["sent_bytes"]

    def test_leaves_no_host_in_events(self, fetching: Fetching) -> None:
        """An event has numbers and reasons; where a call went can be erased."""
        fetching.fetch(f"{fetching.plain}/")
        store = f"file:{fetching.served.folder.store}?mode=ro"
        with closing(sqlite3.connect(store, uri=True)) as reading:
            texts = [str(row) for row in reading.execute("SELECT * FROM events")]
        assert any("egress.connected" in text for text in texts)
        assert not any("localhost" in text for text in texts)

    def test_has_a_receipt_that_verifies(self, fetching: Fetching) -> None:
        """A verifier that knows nothing of egress but the schema takes it."""
        call = fetching.fetch(f"{fetching.plain}/")
        found = fetching.receipt(call)
        text = (fetching.served.folder.path / "trust-root.json").read_bytes().strip()
        verdict = verify_receipt(
            found.receipt.encode(),
            read_trust_root(text),
            request=found.request_document.encode(),
            result=found.result_document.encode(),
        )
        assert (verdict.validity, verdict.step) == (Validity.VALID, None)

    def test_to_a_closed_network_is_told(
        self, folder: Folder, places: Places, tmp_path: Path
    ) -> None:
        """Listed by policy alone, a loopback address stays closed; the call fails, and says so."""
        closed = folder.copy(tmp_path / "dev")
        closed.set({"egress": {"allow_cidrs": []}})  # type: ignore[dict-item]
        with Served(closed) as served:
            agent = Rpc.of(served)
            call = agent.execute("http_fetch", {"url": f"http://localhost:{places.http}/"})
            assert state(call) == "FAILED"
            assert "ADDRESS_DENIED" in call.result.stderr_text
            assert predicate(call)["result"]["egress"]["refused"] == "1"
            assert served.events(call.name)[-2:] == ["egress.refused", "call.failed"]

    def test_is_nothing_to_other_tools(self, fetching: Fetching) -> None:
        """A call without egress has no mount, and its receipt says that none was needed."""
        call = fetching.agent.execute("python_run", {"code": "print(1)"})
        assert obligation(call) == {"name": "egress", "count": 0, "enforced": True}
        assert "egress" not in predicate(call)["result"]
        assert "bind" not in json.dumps(predicate(call)["sandbox"])


class TestHeld:
    """What is more than reading a listed host waits for a person."""

    @pytest.mark.parametrize(
        ("path", "arguments", "rule"),
        [
            ("/?token=5f2a", {}, "default.fetch_sends"),
            ("/", {"method": "POST"}, "default.fetch_sends"),
            ("/", {"body": "x"}, "default.fetch_sends"),
            ("/", {"headers": {"x": "5f2a"}}, "default.fetch_sends"),
        ],
    )
    def test_data_on_its_way_out(
        self, fetching: Fetching, path: str, arguments: dict[str, Any], rule: str
    ) -> None:
        """Data in query, body, header or method is policy's business: it is held."""
        call = fetching.fetch(fetching.plain + path, **arguments)
        assert (state(call), rules(call)) == ("HELD", [rule])

    def test_an_unlisted_host_gets_its_own_list_when_approved(self, fetching: Fetching) -> None:
        """A person opens exactly the URL's host and port, for this one call."""
        url = f"http://127.0.0.1:{fetching.places.http}/"
        held = fetching.fetch(url)
        assert (state(held), rules(held)) == ("HELD", ["default.fetch_unlisted"])
        approver = fetching.served.client("approver")
        view = approver.hold(held.short_id).view_sha256
        approver.approve(held.short_id, view, "seen")
        call = fetching.agent.wait(held.name)
        assert state(call) == "SUCCEEDED"
        result = json.loads(fetching.receipt(call).result_document)["body"]
        assert [each["host"] for each in result["egress"]["connections"]] == ["127.0.0.1"]


class TestClosed:
    def test_as_shipped_nothing_is_open(self, served: Served) -> None:
        """A broker whose operator listed nothing fetches nothing."""
        call = Rpc.of(served).execute("http_fetch", {"url": "https://example.org/"})
        assert (state(call), rules(call)) == ("DENIED", ["default.fetch_closed"])


class TestStop:
    def test_leaves_nothing(self, folder: Folder, places: Places, tmp_path: Path) -> None:
        """Stopped in the middle of a fetch, with no time for it to end: no folder stays."""
        with Served(folder.copy(tmp_path / "dev", {"server": {"drain_timeout_s": 0}})) as served:
            places.heard.clear()
            url = f"http://localhost:{places.http}/slow"
            cut_off = Rpc.of(served).execution.ExecuteTool.future(wish("http_fetch", {"url": url}))
            assert places.heard.wait(60)
            sockets = served.folder.path / "egress"
            assert len(list(sockets.iterdir())) == 1
            served.stop()
            assert cut_off.exception() is not None
            assert list(sockets.iterdir()) == []


class TestCrash:
    def test_leaves_nothing_when_it_starts_again(
        self, folder: Folder, places: Places, tmp_path: Path
    ) -> None:
        """Killed in the middle of a fetch: folder and container are gone after the sweep."""
        with Served(folder.copy(tmp_path / "dev")) as served:
            places.heard.clear()
            url = f"http://localhost:{places.http}/slow"
            agent = Rpc.of(served)
            request = wish("http_fetch", {"url": url}, request_id="crash")
            cut_off = agent.execution.ExecuteTool.future(request)
            assert places.heard.wait(60)
            sockets = served.folder.path / "egress"
            assert len(list(sockets.iterdir())) == 1
            served.kill()
            assert len(list(sockets.iterdir())) == 1
            assert cut_off.exception() is not None
            served.start()
            assert list(sockets.iterdir()) == []
            assert served.containers() == []
            call = Rpc.of(served).execute("http_fetch", {"url": url}, request_id="crash")
            assert state(Rpc.of(served).wait(call.name)) == "INTERRUPTED"
