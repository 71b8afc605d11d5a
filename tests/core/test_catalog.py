"""Tool definitions, and arguments against them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema_rs import Draft202012Validator

from broker.adapters.tool_files import read_catalog
from broker.core.catalog import Catalog, Tool, read_tool
from broker.core.tool_schema import TOOL_SCHEMA
from broker.errors import ConfigurationError, InvalidArgument
from broker.shipped import tools_dir

GOOD = """schema: toolwarrant.tool/v1
name: echo
version: 1.0.0
title: Echo
description: Says it again.
image: echo
command: [/bin/cat]
input_schema:
  type: object
  required: [text]
  additionalProperties: false
  properties:
    text:
      type: string
      maxLength: 5
    path:
      type: string
      pattern: '^[^/]+$'
      x-broker: path
limits:
  cpu_millicores: 100
  memory_bytes: 67108864
  pids: 8
  timeout_s: 5
  output_bytes: 1000
  tmp_bytes: 4096
effects:
  read_only: true
  destructive: false
  idempotent: true
  reversible: true
  open_world: false
"""


def tool() -> Tool:
    """Read the good definition."""
    return read_tool(GOOD, "echo/tool.yaml")


class TestReadTool:
    """Reading a definition, or saying where it is wrong."""

    def test_reads_a_good_one(self) -> None:
        """Fields are what the text says; what it leaves out has its default."""
        found = tool()
        assert (found.name, found.command, found.limits.pids) == ("echo", ("/bin/cat",), 8)
        assert (found.workspace, found.egress, found.secrets, found.runtime) == (
            "none",
            (),
            (),
            "runc",
        )

    @pytest.mark.parametrize(
        ("old", "new", "line", "word"),
        [
            ("name: echo", "name: Echo!", 2, "name"),
            ("version: 1.0.0", "version: 1.0", 3, "version"),
            ("pids: 8", "pids: 0", 23, "limits/pids"),
            ("pids: 8", "pids: many", 23, "limits/pids"),
            ("  pids: 8\n", "", 21, "pids"),
            ("title: Echo", "title: Echo\ntitle: Again", 5, "twice"),
            ("title: Echo", "titel: Echo", 4, "titel"),
            ("command: [/bin/cat]", "command: []", 7, "command"),
            ("x-broker: path", "x-broker: file", 19, "x-broker"),
            ("type: string\n      maxLength", "type: strin\n      maxLength", 9, "input_schema"),
            ("title: Echo", "title: 2026-01-01", 4, "quotes"),
            ("title: Echo", "title: *nowhere", 4, "alias"),
            ("title: Echo", "title: [", 6, ""),
            ("title: Echo", "title: Echo\negress: [a.test]", 5, "egress"),
            ("title: Echo", "title: Echo\negress: [a.test:99999]", 5, "a.test:99999"),
            ("title: Echo", "title: Echo\negress: ['a.test.:1']", 5, "a.test.:1"),
            ("title: Echo", "title: Echo\negress_protocol: udp", 5, "egress_protocol"),
            ("title: Echo", "1: Echo", 4, "quotes"),
            ("open_world: false", "open_world: maybe", 32, "open_world"),
            ("type: object", "type: object\n  $ref: https://example.com/x", 9, "input_schema"),
            (
                "title: Echo",
                "title: Echo\nruns_code: true\nsecrets: [token]",
                6,
                "agent's own code",
            ),
            ("title: Echo", "title: Echo\nsecrets: [path]", 5, "secrets"),
            ("title: Echo", "title: Echo\noptional_secrets: [token]", 5, "not among its secrets"),
            ("title: Echo", "title: Echo\nsecrets: [api-token]", 5, "secrets"),
            ("title: Echo", "title: Echo\nruns_code: yes please", 5, "runs_code"),
            (
                "title: Echo",
                "title: Echo\nstarts_ahead: true\nsecrets: [token]",
                5,
                "starts_ahead",
            ),
        ],
    )
    def test_names_the_line_of_a_fault(self, old: str, new: str, line: int, word: str) -> None:
        """A fault is reported with its line, in words that name the field."""
        with pytest.raises(ConfigurationError) as caught:
            read_tool(GOOD.replace(old, new, 1), "echo/tool.yaml")
        assert (caught.value.file, caught.value.line) == ("echo/tool.yaml", line)
        assert word in caught.value.message

    @pytest.mark.parametrize(
        ("runs_code", "secrets"), [("true", "[]"), ("false", "[token]"), ("false", "[]")]
    )
    def test_secrets_go_where_the_agents_code_does_not(self, runs_code: str, secrets: str) -> None:
        """The twin: either alone is a good definition, for us as for the published schema."""
        fields = f"title: Echo\nruns_code: {runs_code}\nsecrets: {secrets}"
        found = read_tool(GOOD.replace("title: Echo", fields), "echo/tool.yaml")
        assert (str(found.runs_code).lower(), f"[{','.join(found.secrets)}]") == (
            runs_code,
            secrets,
        )

    @pytest.mark.parametrize("field", ["runs_code", "starts_ahead"])
    def test_the_published_schema_knows_it_too(self, field: str) -> None:
        """An editor that checks by the schema refuses secrets where there can be none."""
        definition = yaml.safe_load(GOOD) | {field: True, "secrets": ["token"]}
        schema = Draft202012Validator(dict(TOOL_SCHEMA))
        assert not schema.is_valid(definition)
        assert schema.is_valid(definition | {field: False})

    @pytest.mark.parametrize("text", ["", "[]", "just words", "\x00", "a: &x [*x]", "- " * 5000])
    def test_refuses_what_is_no_definition(self, text: str) -> None:
        """Whatever the text is, the answer is a configuration error."""
        with pytest.raises(ConfigurationError):
            read_tool(text, "tool.yaml")


class TestArguments:
    """Checking a call's arguments."""

    def test_takes_what_the_schema_takes(self) -> None:
        """Good arguments raise nothing."""
        assert tool().check_arguments({"text": "hello", "path": "a"}) is None

    @pytest.mark.parametrize(
        ("arguments", "field", "word"),
        [
            ({}, "arguments_json", "required"),
            ({"text": 1}, "arguments_json/text", "string"),
            ({"text": "longer"}, "arguments_json/text", "5 characters"),
            ({"text": "x", "more": 1}, "arguments_json", "more"),
            ({"text": "x", "path": "/etc"}, "arguments_json/path", "relative to the workspace"),
        ],
    )
    def test_names_the_field_with_a_remedy(
        self, arguments: dict[str, Any], field: str, word: str
    ) -> None:
        """A wrong argument is named by its path, in words that say what would be right."""
        with pytest.raises(InvalidArgument, match=word) as caught:
            tool().check_arguments(arguments)
        assert caught.value.field == field

    def test_repeats_no_value(self) -> None:
        """The message holds nothing of what was sent: it may be a secret, or a megabyte."""
        with pytest.raises(InvalidArgument) as caught:
            tool().check_arguments({"text": "secret" * 1000})
        assert "secret" not in caught.value.message


class TestShipped:
    """The tools that the distribution carries."""

    def test_are_the_contracts(self) -> None:
        """All of them are there, each valid."""
        names = [each.name for each in read_catalog(tools_dir()).tools]
        assert names == [
            "http_fetch",
            "pdf_text",
            "python_run",
            "sql_query",
            "text_search",
            "workspace_delete",
            "workspace_list",
            "workspace_read",
            "workspace_write",
        ]

    def test_schema_is_published_as_it_is(self) -> None:
        """The published JSON Schema is the one that definitions are checked with."""
        published = (tools_dir() / "tool.schema.json").read_text(encoding="utf-8")
        assert json.loads(published) == TOOL_SCHEMA

    @pytest.mark.parametrize("path", ["..", "../a", "a/..", "/a", "a//b", "./a", "a\\b", "a\n"])
    def test_paths_lead_nowhere_else(self, path: str) -> None:
        """No shipped tool takes a path that leaves the workspace."""
        for each in read_catalog(tools_dir()).tools:
            if "path" in each.input_schema["properties"]:  # type: ignore[operator]
                required = each.input_schema.get("required", ())
                arguments = {**dict.fromkeys(required, "x"), "path": path}  # type: ignore[arg-type]
                if each.name == "workspace_write":
                    arguments["content"] = ""
                with pytest.raises(InvalidArgument, match="relative to the workspace"):
                    each.check_arguments(arguments)

    def test_write_takes_exactly_one_source(self) -> None:
        """Neither both of content with from_output, nor none."""
        tools = {each.name: each for each in read_catalog(tools_dir()).tools}
        for arguments in (
            {"path": "a"},
            {"path": "a", "content": "", "from_output": "uploads/x"},
        ):
            with pytest.raises(InvalidArgument):
                tools["workspace_write"].check_arguments(arguments)


class TestFolder:
    """Reading a folder of tools."""

    def test_refuses_two_of_one_name(self, tmp_path: Path) -> None:
        """Two folders that define one tool are a configuration error that names both."""
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "tool.yaml").write_text(GOOD)
            (tmp_path / folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
        with pytest.raises(ConfigurationError, match="taken"):
            read_catalog(tmp_path)

    def test_refuses_an_image_that_nothing_builds(self, tmp_path: Path) -> None:
        """A tool without a Dockerfile of its image is a configuration error."""
        (tmp_path / "echo").mkdir()
        (tmp_path / "echo" / "tool.yaml").write_text(GOOD)
        with pytest.raises(ConfigurationError, match="Dockerfile"):
            read_catalog(tmp_path)

    def test_refuses_an_empty_folder(self, tmp_path: Path) -> None:
        """A folder without tools does not start a broker."""
        with pytest.raises(ConfigurationError, match="holds no tool"):
            read_catalog(tmp_path)

    def test_refuses_bytes_that_are_not_text(self, tmp_path: Path) -> None:
        """A definition that is not UTF-8 is named."""
        (tmp_path / "echo").mkdir()
        (tmp_path / "echo" / "tool.yaml").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigurationError, match="UTF-8"):
            read_catalog(tmp_path)

    def test_catalog_holds_a_name_once(self) -> None:
        """Two tools of one name make no catalogue."""
        with pytest.raises(ValueError, match="one name"):
            Catalog(tools=(tool(), tool()))

    def test_good_text_is_yaml(self) -> None:
        """The sample is what an operator's editor would show."""
        assert yaml.safe_load(GOOD)["name"] == "echo"
