"""What arguments may be."""

import json

import grpc
import pytest

from tests.api.rpc import Rpc, failure, state, wish

CODE = "arguments_json"
ROWS = {
    "duplicate key": ('{"code": "1", "code": "2"}', "arguments_json/code"),
    "duplicate key below": ('{"code": "1", "x": {"a": 1, "a": 1}}', "arguments_json/x/a"),
    "NaN": ('{"code": "1", "x": NaN}', "arguments_json/x"),
    "infinity": ('{"code": "1", "x": [-Infinity]}', "arguments_json/x/0"),
    "2^53": ('{"code": "1", "x": 9007199254740992}', "arguments_json/x"),
    "2^53+1": ('{"code": "1", "x": 9007199254740993}', "arguments_json/x"),
    "2^53+1 as a float": ('{"code": "1", "x": 9007199254740993.0}', "arguments_json/x"),
    "1e400": ('{"code": "1", "x": 1e400}', "arguments_json/x"),
    "inexact": ('{"code": "1", "x": 0.10000000000000000001}', "arguments_json/x"),
    "lone surrogate": (r'{"code": "\ud800"}', "arguments_json/code"),
    "lone surrogate in a key": (r'{"code": "1", "\udc00": 1}', "arguments_json/\\u{DC00}"),
    "noncharacter": (r'{"code": "\ufffe"}', "arguments_json/code"),
    "depth 10,000": ('{"code": ' + "[" * 10_000 + "]" * 10_000 + "}", CODE),
    "depth 10,000 unclosed": ("[" * 10_000, CODE),
    "1 MiB and one": ('{"code": "' + "x" * (1 << 20) + '"}', CODE),
    "no JSON": ("{code: 1}", CODE),
    "nothing": ("", CODE),
    "no object": ("[1]", CODE),
    "two values": ("{} {}", CODE),
    "raw control character": ('{"code": "a\nb"}', CODE),
    "raw NUL": ('{"code": "a\0b"}', CODE),
    "byte order mark": ('\ufeff{"code": "1"}', CODE),
    "wrong type": ('{"code": 1}', "arguments_json/code"),
    "missing": ("{}", "arguments_json"),
    "unknown field": ('{"code": "1", "extra": 1}', "arguments_json"),
}


class TestRefused:
    @pytest.mark.parametrize("row", ROWS)
    def test_names_the_path(self, agent, served, row):
        """What is no I-JSON that the tool takes is refused with its path; nothing is stored."""
        text, path = ROWS[row]
        before = served.rows()
        found = failure(lambda: agent.execute("python_run", text))
        assert (found.code, found.domain) == (grpc.StatusCode.INVALID_ARGUMENT, "toolwarrant")
        assert found.reason == "INVALID_ARGUMENT"
        assert found.fields == (path,)
        assert served.rows() == before

    @pytest.mark.parametrize("items", [5_000, 260_000])
    def test_values(self, agent, served, items):
        """More than five thousand values are refused, up to a mebibyte of them; none is stored."""
        before = served.rows()
        found = failure(
            lambda: agent.execute("no_such_tool", '{"a":[0.1' + ",0.1" * (items - 1) + "]}")
        )
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (CODE,))
        assert "more than 5000 members and items: send fewer" in found.message
        assert served.rows() == before

    def test_ten_megabytes(self, agent, served):
        """10 MB are refused before they are read; nothing is stored, the connection serves on."""
        before = served.rows()
        text = json.dumps({"code": "x" * 10_000_000})
        found = failure(lambda: agent.execute("python_run", text))
        assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert served.rows() == before
        assert state(agent.execute("no_such_tool")) == "DENIED"

    def test_not_utf8(self, agent):
        """A message whose text is not UTF-8 is malformed."""
        request = b"\x0a\x0apython_run" + b"\x12\x0d" + b'{"code":"\xff"}'[:13]
        found = failure(lambda: agent.raw("/broker.v1.ExecutionService/ExecuteTool", request))
        assert (found.code, found.domain) == (grpc.StatusCode.INVALID_ARGUMENT, "toolwarrant")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("tool", ""),
            ("tool", "Python Run"),
            ("tool", "a" * 65),
            ("tool", "python_run\n"),
            ("request_id", "x" * 129),
            ("request_id", "a b"),
            ("request_id", "\u202e"),
            ("session_id", "../x\0"),
            ("parent_call", "calls/nonsense"),
            ("purpose", "x" * 2001),
            ("timeout", -1),
            ("hold_wait", -1),
        ],
    )
    def test_other_fields(self, agent, served, field, value):
        """Every other field is checked as strictly, under its own name; nothing is stored."""
        fields = {"tool": "python_run", "arguments": {"code": "1"}, field: value}
        request = wish(**fields)
        before = served.rows()
        found = failure(lambda: agent.execution.ExecuteTool(request, timeout=20))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
        assert served.rows() == before


class TestTaken:
    @pytest.mark.parametrize(
        "number", ["9007199254740991", "0.1", "1.0", "-0", "1e2", "123456789.5"]
    )
    def test_exact_numbers(self, agent, number):
        """The twins of the refused numbers pass the parser: the schema refuses the field alone."""
        found = failure(lambda: agent.execute("python_run", f'{{"code": "1", "x": {number}}}'))
        assert found.fields == ("arguments_json",)

    def test_as_many_values_as_may_be(self, agent):
        """Five thousand values are a call."""
        assert state(agent.execute("no_such_tool", {"a": [0.1] * 4_999})) == "DENIED"

    def test_depth(self, agent):
        """Sixty-four levels pass the parser; sixty-five do not."""
        deep = '{"code": "1", "x": ' + "[" * 63 + "]" * 63 + "}"
        deeper = '{"code": "1", "x": ' + "[" * 64 + "]" * 64 + "}"
        assert "deeper" not in failure(lambda: agent.execute("python_run", deep)).message
        assert "deeper" in failure(lambda: agent.execute("python_run", deeper)).message

    def test_what_the_program_gets(self, agent):
        """NUL, controls, bidi and astral characters reach the program as they were sent."""
        text = "\0\x01\x1b[31m\u202e\u200b\u2066\U0001d518\\u{41}"
        call = agent.execute("python_run", {"code": "print(ascii(input()))", "stdin": text + "\n"})
        assert call.result.stdout_text.strip() == ascii(text)

    def test_one_canonical_text(self, agent):
        """Two spellings of one value have one digest."""
        spellings = ('{"code":"1","stdin":"é"}', '{ "stdin" : "\\u00e9", "code" : "1" }')
        digests = {agent.execute("python_run", text).arguments_sha256 for text in spellings}
        assert len(digests) == 1


class TestView:
    def test_is_escaped(self, agent, served):
        """What a terminal would act on stands escaped in the view, in full, on marked lines."""
        approver = served.client("approver")
        hostile = "a\x07\x1b[2Jb\u202ec\u2066d\u200be\r\x9bf<b>&"
        call = agent.execute(
            "workspace_delete", {"path": "x"}, purpose=f"{hostile}\nEND OF THE VIEW\0"
        )
        text = approver.hold(call.name).view_text
        shown = "a\\u{7}\\u{1B}[2Jb\\u{202E}c\\u{2066}d\\u{200B}e\\u{D}\\u{9B}f<b>&"
        assert shown in text
        assert all(char == "\n" or char.isprintable() for char in text)
        assert text.count("\nEND OF THE VIEW\n") == 1
        assert "| > END OF THE VIEW\\u{0}" in text

    def test_is_whole(self, serve):
        """Arguments of nearly a megabyte stand in the view to the last character."""
        served = serve()
        agent, approver = Rpc.of(served, "agent"), served.client("approver")
        agent.execute("workspace_write", {"path": "big", "content": "first"})
        content = "".join(f"line {number}\n" for number in range(60_000)) + "the very end"
        call = agent.execute("workspace_write", {"path": "big", "content": content})
        text = approver.hold(call.name).view_text
        assert state(call) == "HELD"
        shown = {line.lstrip("| ") for line in text.split("\n")}
        missing = [line for line in content.split("\n") if f"> {line}" not in shown]
        assert missing == []
