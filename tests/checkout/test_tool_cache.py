"""Claims about where development tools come from."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shell_only(tmp_path: Path) -> Path:
    """A PATH with what the script itself needs, but neither Go nor any tool."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "sed", "head", "dirname", "mkdir", "flock", "mktemp", "rm"):
        source = next(
            path for path in (Path("/usr/bin") / name, Path("/bin") / name) if path.exists()
        )
        (folder / name).symlink_to(source)
    return folder


def tool(name: str, *, path: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "tool.sh"), name],
        env={**os.environ, "PATH": str(path), "TOOLWARRANT_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


def stub(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "opa"
    program.write_text(f"#!/bin/bash\necho 'Version: {version}'\n")
    program.chmod(0o755)
    return program


class TestTool:
    def test_on_path_in_the_wanted_version_is_taken(self, shell_only: Path, tmp_path: Path) -> None:
        """A tool on PATH is used when its version is the wanted one."""
        program = stub(shell_only, "1.22.2")
        found = tool("opa", path=shell_only, cache=tmp_path / "cache")
        assert found.stdout == f"{program}\n"

    def test_on_path_in_another_version_is_not_taken(
        self, shell_only: Path, tmp_path: Path
    ) -> None:
        """A tool of another version yields to the cached one."""
        stub(shell_only, "0.1.0")
        cached = stub(tmp_path / "cache" / "tools" / "opa-1.22.2", "1.22.2")
        found = tool("opa", path=shell_only, cache=tmp_path / "cache")
        assert found.stdout == f"{cached}\n"

    def test_nowhere_to_be_had_names_the_remedy(self, shell_only: Path, tmp_path: Path) -> None:
        """Without the tool and without Go the message says what to install, from where."""
        found = tool("opa", path=shell_only, cache=tmp_path / "cache")
        assert (found.returncode, "Remedy: install Go" in found.stderr) == (1, True)

    def test_unknown_name_is_refused(self, shell_only: Path, tmp_path: Path) -> None:
        """A name that the script does not know prints the usage."""
        found = tool("nothing", path=shell_only, cache=tmp_path / "cache")
        known = "opa|grpcurl|regal|runsc|logcheck|litewitness|cosign|spicy"
        assert found.stderr == f"tool: usage: scripts/tool.sh {known}\n"
