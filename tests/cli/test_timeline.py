"""`toolwarrant audit timeline`."""

import json
from pathlib import Path

import pytest

from tests.cli.within import toolwarrant
from tests.log.fakes import checkpoint_in
from tests.ports.samples import call_id
from tests.verify.log_vectors import checkpoint_of, new_keys
from tests.verify.mixed_log import ordinary
from tests.verify.test_audit import write_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give the folder of a log with entries of every kind."""
    keys = new_keys(tmp_path)
    entries = ordinary(keys.receipt).entries
    write_log(tmp_path / "log", entries, checkpoint_of(entries, keys.log))
    return tmp_path


def test_told_in_order(log: Path) -> None:
    """Every entry but batches is told in its order, with what a person looks for in it."""
    done = toolwarrant("audit", "timeline", "log", cwd=log)
    found = [line.split() for line in done.stdout.splitlines()]
    said = [(index, kind, " ".join(words)) for index, _, kind, _, *words in found]
    assert said == [
        ("0", "policy", f"broker.started {'b' * 64}"),
        ("1", "key", f"key.in_use log {'c' * 64}"),
        ("2", "intent", "begins python_run@1.0.0"),
        ("4", "intent", "begins python_run@1.0.0"),
        ("5", "receipt", "SUCCEEDED exited default.rule python_run@1.0.0"),
        ("6", "receipt", "DENIED default.rule python_run@1.0.0"),
        ("7", "approval", "hold.voted approve"),
        ("8", "halt", "halt.set session"),
    ]
    assert "not verified" in done.stderr


@pytest.mark.parametrize("prefix", ["", "calls/"])
def test_of_one_call(log: Path, prefix: str) -> None:
    """One call's entries are told alone, from an index on where that is wanted."""
    words = ("audit", "timeline", "log", "--call", f"{prefix}{call_id(1)}", "-o", "json")
    found = json.loads(toolwarrant(*words, cwd=log).stdout)["entries"]
    assert [(each["index"], each["kind"]) for each in found] == [("2", "intent"), ("5", "receipt")]
    assert {each["call"] for each in found} == {f"calls/{call_id(1)}"}
    found = json.loads(toolwarrant(*words, "--after", "3", cwd=log).stdout)["entries"]
    assert [each["index"] for each in found] == ["5"]


def test_no_log(log: Path) -> None:
    """What is no log, or no entry of one, is named."""
    done = toolwarrant("audit", "timeline", ".", cwd=log)
    assert (done.returncode, "name a log's folder" in done.stderr) == (2, True)
    signed = (log / "log" / "checkpoint").read_bytes()
    write_log(log / "other", [b"{}"] * checkpoint_in(signed).size, signed)
    done = toolwarrant("audit", "timeline", "other", cwd=log)
    assert (done.returncode, "entry 0 is none of a broker's" in done.stderr) == (2, True)
