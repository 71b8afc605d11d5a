"""http_fetch in its own sandbox, at servers of the test's own."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from broker.adapters.docker_engine import DockerEngine
from broker.adapters.tool_files import read_catalog
from broker.core.catalog import Tool
from broker.core.destination import read_destination
from broker.core.egress import Egress, EgressReason
from broker.core.sandbox import Report
from broker.errors import InvalidArgument
from broker.shipped import tools_dir
from tests.egress.places import IDN, Names, Places
from tests.egress.test_sandbox import networked  # noqa: F401 (fixture)
from tests.sandbox.bench import Place, profile_of, run_once
from tests.sandbox.conftest import client, images, seccomp  # noqa: F401 (fixtures)

Fetch = Callable[..., Awaitable[Report]]


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Its definition."""
    return next(tool for tool in read_catalog(tools_dir()).tools if tool.name == "http_fetch")


@pytest.fixture
def fetch(
    place: Place,
    networked: DockerEngine,  # noqa: F811
    images: Mapping[str, str],  # noqa: F811
    tool: Tool,
) -> Fetch:
    """Fetches a URL with egress to some places."""

    async def fetch(url: str, *listed: str, **more: Any) -> Report:
        arguments = {"url": url, **more}
        tool.check_arguments(arguments)
        egress = Egress(destinations=tuple(map(read_destination, listed)))
        profile = replace(profile_of(tool, images, runtime=place.runtime), egress=egress)
        return await run_once(networked, profile, tool, arguments)

    return fetch


def answer(report: Report) -> dict[str, Any]:
    """Read the answer of a fetch that succeeded."""
    assert (report.exit_code, report.stderr.data, report.limits_hit) == (0, b"", ())
    said: dict[str, Any] = json.loads(report.stdout.data)
    return said


def complaint(report: Report) -> str:
    """Read why a fetch failed."""
    assert (report.exit_code, report.stdout.data) == (1, b"")
    return report.stderr.data.decode()


class TestAnswer:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_is_the_places(self, fetch: Fetch, places: Places, scheme: str) -> None:
        """Status, headers and body come back; the place saw method, path, query and body."""
        place = f"site.test:{getattr(places, scheme)}"
        said = answer(
            await fetch(
                f"{scheme}://{place}/a?b=ä",
                place,
                method="POST",
                body="hello",
                headers={"X-More": "y"},
            )
        )
        assert (said["status"], said["truncated"]) == (200, False)
        assert said["body"] == f"POST /a?b=%C3%A4 {place} hello"
        assert said["headers"]["content-length"] == str(len(said["body"]))

    async def test_of_bytes_is_base64(self, fetch: Fetch, places: Places) -> None:
        """What is no text comes whole all the same."""
        place = f"site.test:{places.http}"
        said = answer(await fetch(f"http://{place}/bytes", place))
        assert said["body_base64"] == "/wA="

    async def test_that_is_long_is_cut(self, fetch: Fetch, places: Places) -> None:
        """The first half mebibyte comes, and says that it is not all."""
        place = f"site.test:{places.http}"
        said = answer(await fetch(f"http://{place}/big/600000", place))
        assert (len(said["body"]), said["truncated"]) == (512 * 1024, True)

    async def test_of_a_redirect_is_the_redirect(self, fetch: Fetch, places: Places) -> None:
        """None is followed: where it leads is a call of its own, with a decision of its own."""
        place, other = f"site.test:{places.http}", f"other.test:{places.http}"
        report = await fetch(f"http://{place}/to/http://{other}/", place, other)
        said = answer(report)
        assert (said["status"], said["headers"]["location"]) == (302, f"http://{other}/")
        assert report.egress is not None
        assert [visit.host for visit in report.egress.visits] == ["site.test"]

    async def test_to_head_has_no_body(self, fetch: Fetch, places: Places) -> None:
        """HEAD is answered by headers."""
        place = f"site.test:{places.https}"
        said = answer(await fetch(f"https://{place}/", place, method="HEAD"))
        assert (said["status"], said["body"]) == (200, "")

    async def test_by_a_name_in_its_own_letters(self, fetch: Fetch, places: Places) -> None:
        """A name with other letters is the listed name in A-labels."""
        place = f"{IDN}:{places.https}"
        assert answer(await fetch(f"https://BÜCHER.test.:{places.https}/", place))["status"] == 200


class TestRefusals:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_an_address_with_colons(self, fetch: Fetch, scheme: str) -> None:
        """An IPv6 address is read as one by both schemes, and refused for where it leads."""
        report = await fetch(f"{scheme}://[::1]:9/", "[::1]:9")
        assert report.egress is not None
        visits = [(visit.host, visit.reason) for visit in report.egress.visits]
        assert visits == [("[::1]", EgressReason.ADDRESS_DENIED)]

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_are_told(self, fetch: Fetch, places: Places, scheme: str) -> None:
        """A place that is not listed is told with the reason, and what to do."""
        url = f"{scheme}://other.test:{places.http}/"
        said = complaint(await fetch(url, f"site.test:{places.http}"))
        assert said.startswith("the broker did not connect: NOT_LISTED: ")

    async def test_without_any_list_are_told(self, fetch: Fetch) -> None:
        """A call that may reach nothing says so."""
        assert "lists no place" in complaint(await fetch("http://site.test/"))

    async def test_of_an_untrusted_certificate(
        self, fetch: Fetch, places: Places, names: Names
    ) -> None:
        """A server whose certificate is for somebody else gets nothing."""
        place = f"third.test:{places.https}"
        report = await fetch(f"https://{place}/", place)
        assert "the certificate of third.test is not to be trusted" in complaint(report)

    async def test_of_a_server_without_tls(self, fetch: Fetch, places: Places) -> None:
        """https where http is spoken is told as that."""
        place = f"site.test:{places.http}"
        said = complaint(await fetch(f"https://{place}/", place))
        assert said == f"{place} speaks no TLS: is it http:// there?\n"

    @pytest.mark.parametrize("name", ["Host", "Content-Length", "Proxy-Connection", "Upgrade"])
    async def test_of_the_connections_own_headers(
        self, fetch: Fetch, places: Places, name: str
    ) -> None:
        """Headers that steer the connection are the tool's own."""
        place = f"site.test:{places.http}"
        report = await fetch(f"http://{place}/", place, headers={name: "x"})
        assert "is the tool's own to set" in complaint(report)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"url": "ftp://a.test/"},
            {"url": "http://u:p@a.test/"},
            {"url": "http://a.test/ b"},
            {"url": "http://a.test\\@b.test/"},
            {"url": "http:///a"},
            {"url": "http://a.test/", "method": "CONNECT"},
            {"url": "http://a.test/", "headers": {"a b": "c"}},
            {"url": "http://a.test/", "headers": {"a": "b\r\nc: d"}},
        ],
    )
    def test_of_arguments_come_before_any_container(
        self, tool: Tool, arguments: dict[str, Any]
    ) -> None:
        """Other schemes, credentials, spaces and line breaks are no arguments."""
        with pytest.raises(InvalidArgument):
            tool.check_arguments(arguments)
