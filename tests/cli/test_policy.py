"""`toolwarrant policy`: compile policy."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from broker.adapters.policy_files import load_bundle
from broker.cli.exits import Exit

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("toolwarrant")
RULE = """\
package teams.more

deny contains {"rule": "more.nothing", "message": "nothing runs"}
"""


def build(folder: Path, bundle: Path, opa: str) -> subprocess.CompletedProcess[str]:
    """Run `toolwarrant policy build`."""
    argv = [PROGRAM, "policy", "build", folder, bundle, "--opa", opa, "-o", "json"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy folder with a team's package of its own."""
    folder = tmp_path / "policy"
    shutil.copytree(ROOT / "policies_rego", folder)
    (folder / "teams" / "more").mkdir()
    (folder / "teams" / "more" / "more.rego").write_text(RULE)
    return folder


class TestPolicyBuild:
    def test_it_writes_a_bundle_that_a_broker_loads(self, folder, tmp_path, opa):
        """The bundle is another than the shipped one, and is named by revision and digest."""
        done = build(folder, tmp_path / "policy.tar.gz", opa)
        assert (done.returncode, done.stderr) == (Exit.OK, "")
        loaded = load_bundle(tmp_path / "policy.tar.gz")
        assert json.loads(done.stdout) == {
            "bundle": str(tmp_path / "policy.tar.gz"),
            "revision": loaded.revision,
            "sha256": loaded.sha256,
        }
        assert loaded.sha256 != load_bundle(ROOT / "policies_rego" / "bundle.tar.gz").sha256

    def test_a_broken_rule_leaves_the_old_bundle(self, folder, tmp_path, opa):
        """What opa refuses is shown in its words; the file that was there stays, alone."""
        bundle = tmp_path / "out" / "policy.tar.gz"
        bundle.parent.mkdir()
        bundle.write_bytes(b"old")
        (folder / "teams" / "more" / "more.rego").write_text("package teams.more\n\ndeny contains")
        done = build(folder, bundle, opa)
        assert done.returncode == Exit.USAGE
        assert "more.rego:3" in done.stderr
        assert [(file.name, file.read_bytes()) for file in bundle.parent.iterdir()] == [
            ("policy.tar.gz", b"old")
        ]

    def test_a_misspelt_field_is_refused(self, folder, tmp_path, opa):
        """A rule that says which schema it reads, and reads what is not in it, never gets live."""
        rule = "# METADATA\n# schemas:\n#   - input: schema.policy_input\n" + RULE
        rule = rule.replace('"nothing runs"}', '"nothing runs"} if input.arguments.code')
        (folder / "teams" / "more" / "more.rego").write_text(rule)
        done = build(folder, tmp_path / "policy.tar.gz", opa)
        assert done.returncode == Exit.USAGE
        assert "teams/more/more.rego:6: rego_type_error: undefined ref" in done.stderr
        assert not (tmp_path / "policy.tar.gz").exists()

    def test_a_place_that_cannot_be_written_is_named(self, folder, tmp_path, opa):
        """A missing folder is an error that names the file, not a traceback."""
        done = build(folder, tmp_path / "nowhere" / "policy.tar.gz", opa)
        assert done.returncode == Exit.USAGE
        assert "nowhere/policy.tar.gz: cannot be written" in done.stderr
