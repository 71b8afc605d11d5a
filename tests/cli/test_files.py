"""`toolwarrant files`, at a real broker."""

import json
import subprocess
from pathlib import Path

import pytest

from broker.cli.local_file import check_free, part_of
from broker.core.visible import visible
from broker.errors import ConfigurationError
from tests.api.files import MIB, noise, sha256
from tests.api.rpc import fresh
from tests.broker_process import Served
from tests.cli.test_program import PROGRAM, environment

Done = subprocess.CompletedProcess[bytes]


class Cli:
    """Runs `toolwarrant files` for one session."""

    def __init__(self, served: Served, cwd: Path) -> None:
        self._served = served
        self._cwd = cwd
        self.session = fresh("s")

    def __call__(self, *words: str, stdin: bytes = b"") -> Done:
        """Run one command of it, in the test's folder."""
        where = ("--config", str(self._served.folder.config), "--address", self._served.target)
        return subprocess.run(
            [*PROGRAM, "files", *words, "--session", self.session, *where],
            cwd=self._cwd,
            env=environment(),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def cli(served: Served, tmp_path: Path) -> Cli:
    """The command in a folder and a session of the test's own."""
    return Cli(served, tmp_path)


class TestRoundTrip:
    def test_there_and_back(self, cli: Cli, tmp_path: Path) -> None:
        """A file is put, listed, got back as it was, for people and for programs."""
        data = noise(2 * MIB)
        (tmp_path / "in.bin").write_bytes(data)
        put = cli("put", "in.bin", "a/out.bin")
        assert (put.returncode, put.stdout) == (0, b"")
        assert b"changed a/out.bin" in put.stderr
        table = cli("list")
        assert (table.returncode, sha256(data).encode() in table.stdout) == (0, True)
        listed = json.loads(cli("list", "a", "-o", "json").stdout)
        assert [file["path"] for file in listed["files"]] == ["a/out.bin"]
        assert listed["call"]["tool"] == "workspace_list"
        got = cli("get", "a/out.bin")
        assert (got.returncode, (tmp_path / "out.bin").read_bytes()) == (0, data)
        told = json.loads(cli("get", "a/out.bin", "other", "-o", "json").stdout)
        assert (told["wrote"], told["sha256"]) == ("other", sha256(data))

    def test_streams(self, cli: Cli) -> None:
        """A dash is standard input, or output with the file's bytes alone."""
        assert cli("put", "-", "f", stdin=b"\x00piped\xff").returncode == 0
        assert cli("get", "f", "-").stdout == b"\x00piped\xff"
        assert cli("put", "-", stdin=b"x").returncode == 2
        assert cli("get", "f", "-", "-o", "json").returncode == 2

    def test_codes(self, cli: Cli, tmp_path: Path) -> None:
        """The exit code says denied, held, failed, wrong usage; nothing is written then."""
        (tmp_path / "x").write_bytes(b"x")
        assert cli("put", "x").returncode == 0
        assert cli("put", "x").returncode == 4
        assert cli("put", "x", ".env").returncode == 3
        assert cli("put", "none").returncode == 2
        assert cli("get", ".env").returncode == 3
        missing = cli("get", "missing")
        assert (missing.returncode, b"No such file" in missing.stderr) == (1, True)
        assert cli("list", "missing").returncode == 1
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["x"]


class TestLocalFiles:
    def test_never_overwritten_unless_told(self, cli: Cli, tmp_path: Path) -> None:
        """A local file stays as it is without --force, and no call is made for it."""
        cli("put", "-", "f", stdin=b"theirs")
        (tmp_path / "f").write_bytes(b"mine")
        refused = cli("get", "f")
        assert (refused.returncode, (tmp_path / "f").read_bytes()) == (2, b"mine")
        assert b"--force" in refused.stderr
        assert cli("get", "f", "--force").returncode == 0
        assert (tmp_path / "f").read_bytes() == b"theirs"

    def test_a_link_is_in_the_way_too(self, tmp_path: Path) -> None:
        """A link that leads nowhere is not written through; by force it is replaced itself."""
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigurationError, match="exists"):
            check_free(tmp_path / "link", force=False)
        with part_of(tmp_path / "link") as part:
            part.file.write(b"x")
            part.keep(force=True)
        assert not (tmp_path / "elsewhere").exists()
        assert (tmp_path / "link").read_bytes() == b"x"

    def test_what_came_meanwhile_stays(self, tmp_path: Path) -> None:
        """A file that appears between asking and writing is not replaced."""

        def write() -> None:
            with part_of(tmp_path / "f") as part:
                (tmp_path / "f").write_bytes(b"mine")
                part.keep(force=False)

        with pytest.raises(ConfigurationError, match="File exists"):
            write()
        assert [(e.name, e.read_bytes()) for e in tmp_path.iterdir()] == [("f", b"mine")]

    @pytest.mark.parametrize("name", [".", "", ".."])
    def test_a_folder_is_no_file(self, tmp_path: Path, name: str) -> None:
        """A folder is never written to, not even by force."""
        with pytest.raises(ConfigurationError, match="is a folder"):
            check_free(tmp_path / name, force=True)

    def test_names_do_not_act(self, cli: Cli) -> None:
        """A name with terminal escapes, or bidi characters, is shown escaped."""
        hostile = "a\u202eb\u009b31m"
        cli("put", "-", hostile, stdin=b"x")
        shown = cli("list").stdout.decode()
        assert (hostile in shown, visible(hostile) in shown) == (False, True)
