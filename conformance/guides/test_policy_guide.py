"""docs/policy.md, followed from top to bottom by somebody who types what it says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from broker.adapters.policy_files import load_bundle
from broker.core.unread_rules import SETS
from tests.docs.fences import Ran, Reader, blocks_of, clean_environment, free_address

# The page, followed whole, is one fixture.
pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "policy.md"
INIT = "toolwarrant init dev\n"
ANNOTATED = re.compile(r"^# METADATA\n(?:#.*\n)+(?!package)(\w+)(?:\(([^)]*)\))?", re.MULTILINE)
LISTED = re.compile(r"`(\w+)(?:\(([^)]*)\))?`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's commands use of a checkout."""
    folder = tmp_path_factory.mktemp("policy-guide")
    shutil.copytree(ROOT / "policies_rego", folder / "policies_rego")
    return folder


@pytest.fixture(scope="module")
def followed(folder: Path) -> list[Ran]:
    """Each block of commands with what it came to; ends with the first that fails."""
    opa = subprocess.check_output([ROOT / "scripts" / "tool.sh", "opa"], text=True).strip()
    environment = clean_environment()
    programs = [str(Path(sys.executable).parent), str(Path(opa).parent), environment["PATH"]]
    # Only where the broker listens differs: other brokers run on this machine.
    typed = {INIT: f'toolwarrant init dev --listen {free_address()} --metrics ""\n'}
    reader = Reader(folder, typed, {**environment, "PATH": ":".join(programs)})
    ran: list[Ran] = []
    try:
        for block in blocks_of(PAGE):
            if block.language == "bash":
                ran.append(reader.follow(block))
                if ran[-1].code != 0:
                    break
    finally:
        reader.leave()
    return ran


class TestPolicyGuide:
    def test_every_block_works(self, followed):
        """Each block ends with exit code 0, in the order of the page."""
        failed = [(ran.block.text, ran.out, ran.err) for ran in followed if ran.code]
        assert failed == []

    def test_its_example_uses_every_set(self, followed):
        """One short package contributes to each set that there is."""
        (package,) = (ran.block.text for ran in followed if "shop.rego" in ran.block.text)
        assert [name for name in SETS if f"\n{name} contains " not in package] == []

    def test_its_tests_reach_the_package(self, followed):
        """What the page tests is tested whole."""
        (tested,) = (ran for ran in followed if "policy test policy" in ran.block.text)
        assert "100.0 %  teams/shop" in tested.out

    def test_the_past_is_replayed(self, followed):
        """The new bundle would have denied what the shipped one allowed; the code says so."""
        asked = "replay --bundle policy.tar.gz"
        (replayed,) = (ran.out for ran in followed if asked in ran.block.text)
        assert "2 decisions replayed: 2 would change, 1 of them in their effect" in replayed
        assert replayed.endswith("exit code 1\n")

    def test_a_package_on_trial_changes_nothing(self, followed):
        """Replayed beside the package that decided; what it would have said is told apart."""
        (tried,) = (ran for ran in followed if "trial.tar.gz --since" in ran.block.text)
        assert "2 decisions replayed: 0 would change, 0 of them in their effect" in tried.out
        assert "teams.shop is on trial: its mode is warn" in tried.err
        assert "2 more differ only in what packages in mode warn or shadow would" in tried.err

    def test_rules_are_suggested(self, followed):
        """Of the calls that the package does not allow: one while it was enforced, one on trial."""
        (suggested,) = (ran for ran in followed if "policy suggest" in ran.block.text)
        assert "2 calls want an allow" in suggested.err
        assert '"rule": "shop.suggested_1"' in suggested.out
        assert 'input.tool.arguments.code == "print(6 * 7)"' in suggested.out

    def test_a_call_is_explained(self, followed):
        """By the rule's file and line in the policy that decided."""
        (explained,) = (ran.out for ran in followed if "policy explain" in ran.block.text)
        assert "default.fetch_closed [low]: no destination is listed" in explained
        assert "teams/default/fetch.rego:" in explained

    def test_the_signed_bundle_decides(self, followed):
        """Activated beside a broker that goes on, it denies what the shipped one allowed."""
        (activated,) = (ran for ran in followed if "activate policy.tar.gz\ntool" in ran.block.text)
        assert "in the place of toolwarrant-default-" in activated.err
        assert activated.out.endswith("exit code 3\n")

    def test_the_copied_pack_is_what_decides(self, followed, folder):
        """The last bundle has the pack as a team, with what it imports of the library alone."""
        assert followed[-1].code == 0
        rego = load_bundle(folder / "policy.tar.gz").rego
        assert [name for name in rego if name.startswith("teams/")] == [
            "teams/coding_agent/rules.rego",
            "teams/coding_agent/settings.rego",
        ]
        assert "library/url/url.rego" in rego
        assert "library/sql/sql.rego" not in rego

    def test_the_folder_is_watched(self, followed):
        """The broker that was started anew looks where the page puts bundles."""
        (looked,) = (ran.out for ran in followed if "doctor" in ran.block.text)
        assert "dev/drop/bundle.tar.gz" in looked

    def test_the_library_is_listed(self):
        """The page's table names everything that the library's annotations describe."""
        section = PAGE.read_text().split("\n## The library\n")[1].split("\n## ")[0]
        rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE))
        library = ROOT / "policies_rego" / "library"
        described = {
            folder.name: set(ANNOTATED.findall((folder / f"{folder.name}.rego").read_text()))
            for folder in library.iterdir()
        }
        assert {topic: set(LISTED.findall(row)) for topic, row in rows.items()} == described
