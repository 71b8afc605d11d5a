"""How a command line becomes a tool's arguments."""

import json
from pathlib import Path

import pytest

from broker.cli.arguments import read_arguments
from broker.errors import InvalidArgument


def no_stdin() -> str:
    """Stand for a standard input that must not be read."""
    raise AssertionError("standard input was read")


class TestReadArguments:
    """`read_arguments`."""

    @pytest.mark.parametrize(
        ("words", "value"),
        [
            ([], {}),
            (["code=print(1)"], {"code": "print(1)"}),
            (["a=1", "b=true"], {"a": "1", "b": "true"}),
            (["a:=1", "b:=[true, null]"], {"a": 1, "b": [True, None]}),
            (["a=x=y:=z"], {"a": "x=y:=z"}),
            (["a="], {"a": ""}),
            (["a=\u202e\x1b[31m"], {"a": "\u202e\x1b[31m"}),
            (["a b.c=d"], {"a b.c": "d"}),
        ],
    )
    def test_pairs_become_an_object(self, words: list[str], value: object) -> None:
        """key=value is a text, key:=JSON any value."""
        assert json.loads(read_arguments(words, no_stdin)) == value

    @pytest.mark.parametrize("text", ['{"a": 0.10000000000000000001}', '  {"a": 1, "a": 2}', "{"])
    def test_an_object_is_passed_on_unread(self, text: str) -> None:
        """The broker judges what was typed, not what this program made of it."""
        assert read_arguments([text], no_stdin) == text

    def test_a_number_is_passed_on_as_it_was_typed(self) -> None:
        """A value after := is checked, never re-written."""
        words = ["n:=0.10000000000000000001"]
        assert read_arguments(words, no_stdin) == '{"n": 0.10000000000000000001}'

    def test_standard_input_is_the_object(self) -> None:
        """A dash takes everything from standard input."""
        assert read_arguments(["-"], lambda: '{"a": 1}\n') == '{"a": 1}\n'

    def test_a_file_is_the_object_or_a_text(self, tmp_path: Path) -> None:
        """@FILE is the whole document, key=@FILE one text."""
        file = tmp_path / "script.py"
        file.write_text('{"a": "ü"}\n', encoding="utf-8")
        assert read_arguments([f"@{file}"], no_stdin) == '{"a": "ü"}\n'
        assert json.loads(read_arguments([f"code=@{file}"], no_stdin)) == {"code": '{"a": "ü"}\n'}

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["print(1)"], "neither key=value nor the only JSON object"),
            (['{"a": 1}', "b=2"], "neither key=value"),
            (["=1"], "neither key=value"),
            ([":=1"], "neither key=value"),
            (["-", "a=1"], "neither key=value"),
            (["a=1", "a=2"], "a is given twice"),
            (["a=1", "a:=2"], "a is given twice"),
            (["a:=x"], "a:= needs a JSON value"),
            (["a=@/absent"], "file '/absent' cannot be read"),
            (["@/absent"], "file '/absent' cannot be read"),
        ],
    )
    def test_what_is_no_arguments_is_refused(self, words: list[str], said: str) -> None:
        """Each refusal says what was wrong with which word."""
        with pytest.raises(InvalidArgument, match="arguments: ") as caught:
            read_arguments(words, no_stdin)
        assert said in str(caught.value)

    def test_a_file_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        """Bytes that are not UTF-8 are not sent as something else."""
        file = tmp_path / "image"
        file.write_bytes(b"\xff\xd8")
        with pytest.raises(InvalidArgument, match="is not UTF-8"):
            read_arguments([f"data=@{file}"], no_stdin)
