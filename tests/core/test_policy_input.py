"""Tests of the document that policy is asked about."""

from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from broker.core.canonical import JsonObject, canonical_json
from broker.core.derived import derive
from broker.core.policy_input import policy_input
from broker.core.sprintf import sprintf
from broker.shipped import policies_dir
from tests.policy.samples import AGENT, CALL, HISTORY, NOW, PATHS, SESSION, TREE, ask, tool


def marked(kind: str) -> JsonObject:
    """Make a schema whose argument `x` is marked."""
    return {"type": "object", "properties": {"x": {"type": "string", "x-broker": kind}}}


class TestPolicyInput:
    """The whole document."""

    def test_schema(self) -> None:
        """The document is valid against the published schema."""
        text = (policies_dir() / "schemas" / "policy_input.json").read_text()
        request = ask("workspace_read", {"path": "notes.txt"})
        assert Draft202012Validator(text).is_valid(request)

    def test_runtimes_are_in_order(self) -> None:
        """Policy is told which runtimes there are, the weakest first."""
        assert ask("python_run")["runtimes"] == ["runc", "runsc", "kata"]

    def test_time_is_utc(self) -> None:
        """Rules about hours see UTC, whatever zone the value carries."""
        request = policy_input(
            call=CALL,
            now=NOW.astimezone(timezone(timedelta(hours=9))),
            identity=AGENT,
            session=SESSION,
            tool=tool("python_run"),
            arguments={},
            arguments_sha256=TREE,
            tree_sha256=TREE,
            paths=PATHS,
            history=HISTORY,
        )
        assert request["time"] == {
            "rfc3339": "2026-11-23T11:09:33.250000Z",
            "unix_s": 1_795_432_173,
            "weekday": "Monday",
            "hour": 11,
            "minute": 9,
        }

    def test_canonical(self) -> None:
        """The document has a canonical form, the same for the same call."""
        one, other = ask("python_run", {"code": "é"}), ask("python_run", {"code": "é"})
        assert canonical_json(one) == canonical_json(other)


class TestDerived:
    """Parts of marked arguments."""

    @pytest.mark.parametrize(
        ("text", "normalized", "absolute", "escapes", "suffix"),
        [
            ("a/b.txt", "a/b.txt", False, False, ".txt"),
            ("./a//b", "a/b", False, False, ""),
            ("a/../b", "b", False, False, ""),
            ("../a", "a", False, True, ""),
            ("/etc/passwd", "etc/passwd", True, True, ""),
            (".env", ".env", False, False, ""),
            ("", "", False, False, ""),
        ],
    )
    def test_path(
        self, text: str, normalized: str, absolute: bool, escapes: bool, suffix: str
    ) -> None:
        """A path is read as where it leads."""
        path = derive(marked("path"), {"x": text})["x"]
        assert isinstance(path, dict)
        keys = ("normalized", "absolute", "escapes", "suffix")
        assert [path[key] for key in keys] == [normalized, absolute, escapes, suffix]

    def test_url(self) -> None:
        """A URL comes in parts, its host in small letters, its port always there."""
        assert derive(marked("url"), {"x": "HTTPS://u@Example.ORG./p?q=1"})["x"] == {
            "kind": "url",
            "scheme": "https",
            "host": "example.org",
            "port": 443,
            "path": "/p",
            "has_query": True,
            "has_fragment": False,
            "has_credentials": True,
        }

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "example.org",
            "http://",
            "http://a:99999",
            "http://[::1",
            "http://a\\@b",
            "h\tttp://a",
        ],
    )
    def test_url_that_is_none(self, text: str) -> None:
        """What two parsers might read differently is invalid, not left out."""
        assert derive(marked("url"), {"x": text})["x"] == {"kind": "url", "invalid": True}

    def test_nested(self) -> None:
        """Marks inside objects and lists are found, named by their path."""
        inner = {"type": "array", "items": marked("host")}
        schema: JsonObject = {"type": "object", "properties": {"to": inner}}
        found = derive(schema, {"to": [{"x": "A.example:8443"}, {}]})
        assert found == {"to/0/x": {"kind": "host", "host": "a.example", "port": 8443}}

    @pytest.mark.parametrize("kind", ["path", "url", "host", "sql"])
    @given(text=st.text())
    def test_any_text(self, kind: str, text: str) -> None:
        """No text makes the parser raise, and a marked argument is always there."""
        assert list(derive(marked(kind), {"x": text})) == ["x"]


class TestSprintf:
    """Rego's `sprintf`, in the words of OPA 1.22."""

    @pytest.mark.parametrize(
        ("template", "values", "expected"),
        [
            ("%s|%d|%v|%%", ["a", 5, 1.5], "a|5|1.5|%"),
            ("%d", ["x"], "%!d(string=x)"),
            ("%s", [5], "%!s(int64=5)"),
            ("%s %d", [1.5, 1.5], "%!s(float64=1.5) %!d(float64=1.5)"),
            ("%v %s %d", [True, None, True], "true null %!d(string=true)"),
            ("%s", [], "%!s(MISSING)"),
            ("a", [1, "x"], "a%!(EXTRA int64=1, string=x)"),
            ("%v %v %v", [1234567.5, 123456.5, -0.00001234], "1.2345675e+06 123456.5 -1.234e-05"),
            ("%v", [2**53 - 1], "9007199254740991"),
        ],
    )
    def test_as_opa(self, template: str, values: list[str | int | float], expected: str) -> None:
        """Each verb prints what OPA prints."""
        assert sprintf(template, values) == expected

    @pytest.mark.parametrize(("template", "values"), [("%q", ["x"]), ("%5d", [1]), ("%v", [[1]])])
    def test_refused(self, template: str, values: list[str | int]) -> None:
        """A verb or a value that this host cannot print alike is refused."""
        with pytest.raises(ValueError, match="sprintf takes"):
            sprintf(template, values)
