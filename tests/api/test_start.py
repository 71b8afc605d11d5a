"""With what a broker does not start, and that in doubt it denies."""

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.shipped import policies_dir, tools_dir
from tests.api.rpc import Rpc, rules, state
from tests.broker_process import AS_SHIPPED, Folder, NotServed, Served
from tests.core import rfc6962
from tests.e2e.policies import compile_policy
from tests.log.fakes import checkpoint_in, entries_in

Edit = Callable[[Folder], object]

NOTHING = """package broker.decision

# METADATA
# entrypoint: true
result := {} if input.nothing == "nothing"
"""
# It denies nobody's call, so it starts; of any other call it says nothing.
SILENT = """package broker.decision

# METADATA
# entrypoint: true
result := {
	"effect": "deny",
	"reasons": [{"rule": "x", "message": "m", "agent_message": "a", "severity": "low"}],
	"risk": 0,
	"obligations": {"runtime": "runc", "limits": {}, "egress": [], "secrets": [], "redact": []},
	"labels": [],
} if {
	not input.tool
}
"""
# The same, but of any other call it says something that is no decision.
NONSENSE = (
    SILENT
    + """
result := {"effect": "permit"} if input.tool
"""
)
ALLOWS_ALL = SILENT.replace('"effect": "deny"', '"effect": "allow"').replace(
    "not input.tool", "true"
)


@pytest.fixture
def folder(development_folder: Folder, tmp_path: Path) -> Folder:
    """A folder of the test's own."""
    return development_folder.copy(tmp_path / "dev", AS_SHIPPED)


def refused(folder: Folder) -> str:
    """Start a broker that must not start; give its words."""
    with pytest.raises(NotServed) as error, Served(folder):
        pass
    assert error.value.code != 0
    # What went wrong in the broker's words, not in Python's.
    assert "TOOLWARRANT_DEBUG" not in error.value.words
    return error.value.words


def own_bundle(folder: Folder, data: bytes) -> Path:
    """Put a bundle into the folder, name it in the configuration."""
    bundle = folder.path / "bundle.tar.gz"
    bundle.write_bytes(data)
    folder.set({"policy": {"bundle": "bundle.tar.gz"}})
    return bundle


def shipped_bundle() -> bytes:
    """Read the shipped bundle."""
    return (policies_dir() / "bundle.tar.gz").read_bytes()


class TestPolicy:
    def test_shipped(self, folder):
        """The twin: a copy of the shipped bundle serves, and allows."""
        own_bundle(folder, shipped_bundle())
        with Served(folder) as served:
            assert state(Rpc.of(served).execute("python_run", {"code": "1"})) == "SUCCEEDED"

    @pytest.mark.parametrize("what", ["missing", "empty", "garbage", "cut", "tampered", "no wasm"])
    def test_broken_bundle(self, folder, what):
        """A bundle that is missing, empty, garbage, cut or changed stops the start, by name."""
        good = shipped_bundle()
        bundle = own_bundle(folder, good)
        match what:
            case "missing":
                bundle.unlink()
            case "empty":
                bundle.write_bytes(b"")
            case "garbage":
                bundle.write_bytes(b"\0" * 1000)
            case "cut":
                bundle.write_bytes(good[: len(good) // 2])
            case "tampered":
                plain = bytearray(gzip.decompress(good))
                plain[plain.index(b"\0asm") + 200] ^= 0xFF
                bundle.write_bytes(gzip.compress(bytes(plain)))
            case "no wasm":
                plain = gzip.decompress(good).replace(b"policy.wasm", b"policy.mosw")
                bundle.write_bytes(gzip.compress(plain))
        words = refused(folder)
        assert "bundle" in words or "policy" in words

    @pytest.mark.parametrize("main", [NOTHING, ALLOWS_ALL], ids=["defines nothing", "allows all"])
    def test_policy_that_does_not_deny_nobody(self, folder, opa, tmp_path, main):
        """A policy that says nothing of nobody's call, or allows it, stops the start."""
        folder.set({"policy": {"bundle": str(compile_policy("", tmp_path, opa, main=main))}})
        assert "policy" in refused(folder)

    def test_no_team(self, folder, opa, tmp_path):
        """A policy without any team's rules denies every call: nothing is allowed by default."""
        source = tmp_path / "bare"
        bundle = compile_policy("", source, opa, without=("teams",))
        folder.set({"policy": {"bundle": str(bundle)}})
        with Served(folder) as served:
            call = Rpc.of(served).execute("python_run", {"code": "1"})
        assert (state(call), rules(call)) == ("DENIED", ["broker.not_allowed"])

    @pytest.mark.parametrize(
        ("main", "rule"),
        [(SILENT, "broker.policy_undefined"), (NONSENSE, "broker.policy_invalid")],
        ids=["silent", "nonsense"],
    )
    def test_no_decision(self, folder, opa, tmp_path, main, rule):
        """A policy that says nothing of a call, or nonsense, denies it by a rule of its own."""
        folder.set({"policy": {"bundle": str(compile_policy("", tmp_path, opa, main=main))}})
        with Served(folder) as served:
            call = Rpc.of(served).execute("python_run", {"code": "1"})
        assert (state(call), rules(call), bool(call.receipt)) == ("DENIED", [rule], True)


class TestEgress:
    """What the operator opens for tools."""

    @pytest.mark.parametrize(
        ("setting", "word"),
        [
            ({"ca_file": "nowhere.pem"}, "cannot be read"),
            ({"ca_file": "toolwarrant.toml"}, "holds no certificate"),
            ({"allow_cidrs": ["10.0.0.1/8"]}, "must be a network"),
        ],
    )
    def test_that_is_wrong_stops_the_start(self, folder, setting, word):
        """Authorities that are none, and networks that are none, are named."""
        folder.set({"egress": setting})
        assert word in refused(folder)


def replaced(old: str, new: str) -> Edit:
    """Change the text of python_run's definition."""

    def edit(tool: Path) -> None:
        text = tool.read_text()
        assert old in text
        tool.write_text(text.replace(old, new, 1))

    return edit


CATALOGUES = {
    "schema": replaced("toolwarrant.tool/v1", "toolwarrant.tool/v9"),
    "name": replaced("name: python_run", "name: Python Run"),
    "unknown field": replaced("workspace: read", "workspace: read\nprivileged: true"),
    "negative limit": replaced("memory_bytes: 268435456", "memory_bytes: -1"),
    "limit that is text": replaced("pids: 64", "pids: many"),
    "command of a shell": replaced("command: [", "command: sh -c # ["),
    "workspace": replaced("workspace: read", "workspace: everything"),
    "input schema": replaced("type: object", "type: objekt"),
    "duplicate key": replaced("workspace: read", "workspace: read\nworkspace: write"),
    "another tool's name": replaced("name: python_run", "name: workspace_list"),
    "no YAML": replaced("schema:", "{schema:"),
    "nothing": lambda tool: tool.write_text(""),
    "secrets for code": replaced("runs_code: true", "runs_code: true\nsecrets: [api_token]"),
}


class TestCatalogue:
    def test_copy(self, folder):
        """The twin: an unchanged copy of the shipped tools serves."""
        shutil.copytree(tools_dir(), folder.path / "tools")
        folder.set({"sandbox": {"tools_dir": "tools"}})
        with Served(folder) as served:
            assert state(Rpc.of(served).execute("python_run", {"code": "1"})) == "SUCCEEDED"

    def test_unranked_runtime(self, folder):
        """A tool whose runtime has no place in the order stops the start; with one it does not."""
        shutil.copytree(tools_dir(), folder.path / "tools")
        definition = folder.path / "tools" / "workspace_list" / "tool.yaml"
        definition.write_text(definition.read_text() + "\nruntime: crun\n")
        folder.set({"sandbox": {"tools_dir": "tools"}})
        assert "sandbox.runtimes has no place for 'crun'" in refused(folder)
        folder.replace('runtimes = ["runc",', 'runtimes = ["crun", "runc",')
        with Served(folder) as served:
            called = Rpc.of(served).execute("workspace_list")
        assert (state(called), called.cause) == ("SANDBOX_ERROR", "runtime_missing")

    @pytest.mark.parametrize("what", CATALOGUES)
    def test_invalid(self, folder, what):
        """An invalid definition stops the start; the words name its file."""
        shutil.copytree(tools_dir(), folder.path / "tools")
        CATALOGUES[what](folder.path / "tools" / "python_run" / "tool.yaml")
        folder.set({"sandbox": {"tools_dir": "tools"}})
        words = refused(folder)
        assert "tool.yaml" in words

    def test_none(self, folder):
        """A folder without tools, or no folder, stops the start."""
        folder.set({"sandbox": {"tools_dir": "tools"}})
        assert "tools" in refused(folder)
        (folder.path / "tools").mkdir()
        assert "tools" in refused(folder)


class TestImages:
    @pytest.mark.parametrize("what", ["unknown id", "tag", "none", "garbage", "missing"])
    def test_lock(self, folder, what):
        """A lock without the image, of another, or none at all, stops the start by name."""
        lock = folder.path / "images.lock.json"
        images = json.loads(lock.read_text())
        pinned = {
            "unknown id": {**images, "python_run": f"sha256:{'0' * 64}"},
            "tag": {**images, "python_run": "toolwarrant/python_run:1.0.0"},
            "none": {name: image for name, image in images.items() if name != "python_run"},
            "garbage": [1],
            "missing": None,
        }[what]
        lock.unlink() if pinned is None else lock.write_text(json.dumps(pinned))
        words = refused(folder)
        assert "images.lock.json" in words
        assert "toolwarrant tools build" in words


class TestOthers:
    @pytest.mark.parametrize("file", ["server.crt", "server.key", "clients.crt"])
    def test_pki(self, folder, file):
        """A missing certificate, key or CA stops the start by name."""
        (folder.path / "pki" / file).unlink()
        assert file in refused(folder)

    def test_receipt_key(self, folder):
        """A missing key of the receipts stops the start: nothing runs without a receipt."""
        (folder.path / "keys" / "receipt.key").unlink()
        assert "receipt.key" in refused(folder)

    def test_log_key(self, folder):
        """A missing key of the log stops the start, and says what makes one."""
        (folder.path / "keys" / "log.key").unlink()
        words = refused(folder)
        assert "log.key" in words
        assert "toolwarrant receipts log-key" in words

    def test_another_stores_log(self, folder):
        """A broker whose store lacks what readers were shown of its log does not start."""
        with Served(folder) as served:
            rpc = Rpc.of(served)
            call = rpc.execute("no_such_tool")
            rpc.inclusion_proof(call)
            served.stop()
        for file in folder.path.glob(f"{folder.store.name}*"):
            if file.is_file():
                file.unlink()
        words = refused(folder)
        assert "that this store does not have" in words
        shown = folder.store.with_name(f"{folder.store.name}.tlog")
        shown.rename(folder.path / "moved away")
        with Served(folder) as served:
            assert state(Rpc.of(served).execute("no_such_tool")) == "DENIED"

    def test_log_folder_gone(self, folder):
        """A broker whose log's folder is gone does not start, until it has an empty one, where it
        shows the log anew, with what its start added to it.
        """
        with Served(folder) as served:
            rpc = Rpc.of(served)
            rpc.inclusion_proof(rpc.execute("no_such_tool"))
            served.stop()
        shown = folder.store.with_name(f"{folder.store.name}.tlog")
        before = (shown / "checkpoint").read_bytes()
        shown.rename(folder.path / "moved away")
        assert "in a folder that is gone" in refused(folder)
        assert not shown.exists()
        shown.mkdir(mode=0o700)
        with Served(folder) as served:
            served.stop()
        files = {path.relative_to(shown).as_posix(): path for path in shown.rglob("*")}
        files = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
        was, now = checkpoint_in(before), checkpoint_in(files["checkpoint"])
        entries = entries_in(files, now.size)
        assert now.size > was.size
        assert (rfc6962.mth(entries[: was.size]), rfc6962.mth(entries)) == (was.root, now.root)

    def test_second_broker(self, folder):
        """A second broker on one store refuses to start; the first serves on."""
        with Served(folder) as served:
            assert "toolwarrant.db" in refused(folder)
            assert state(Rpc.of(served).execute("no_such_tool")) == "DENIED"

    def test_broken_store(self, folder):
        """A store that is none, or of a later schema, stops the start by name."""
        with Served(folder) as served:
            served.stop()
        store = sqlite3.connect(folder.store)
        store.execute("UPDATE schema_migrations SET version = version + 1000")
        store.commit()
        store.close()
        assert "toolwarrant.db" in refused(folder)
        folder.store.write_bytes(b"no database" * 1000)
        assert "toolwarrant.db" in refused(folder)

    def test_settings(self, folder):
        """A setting that is unknown, or of no sense, stops the start with file and line."""
        text = folder.config.read_text()
        line = text[: text.index("max_running = ")].count("\n") + 1
        folder.replace("max_running = 4", "max_running = 0")
        assert f"toolwarrant.toml:{line}" in refused(folder)
