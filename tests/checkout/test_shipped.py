"""Claims about where the shipped definitions are found."""

import subprocess
import sys
import zipfile
from pathlib import Path

from broker.shipped import policies_dir, tools_dir

ROOT = Path(__file__).parents[2]


class TestCheckout:
    def test_finds_the_folders_at_the_root(self) -> None:
        """A checkout uses the sources that people edit."""
        assert (tools_dir(), policies_dir()) == (ROOT / "sandbox_images", ROOT / "policies_rego")


class TestWheel:
    def test_carries_what_it_needs(self, tmp_path: Path) -> None:
        """An unpacked wheel finds its own tools and policies, away from any checkout."""
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        subprocess.run(
            [*build, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)], check=True
        )
        unpacked = tmp_path / "site"
        with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
            wheel.extractall(unpacked)
        shown = subprocess.run(
            [
                sys.executable,
                "-c",
                "from broker.shipped import *; print(tools_dir(), policies_dir())",
            ],
            # The folder of `-c` comes first on the import path, before the editable checkout.
            cwd=unpacked,
            capture_output=True,
            text=True,
            check=True,
        )
        shipped = unpacked / "broker" / "_shipped"
        assert shown.stdout.split() == [
            str(shipped / "sandbox_images"),
            str(shipped / "policies_rego"),
        ]
        sources = {
            path.relative_to(ROOT)
            for folder in ("sandbox_images", "policies_rego")
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert Path("sandbox_images/pdf_text/packages") in sources
        assert Path("policies_rego/packs/coding_agent/rules.rego") in sources
        assert Path("policies_rego/.manifest") in sources
        assert {path for path in sources if not (shipped / path).is_file()} == set()
