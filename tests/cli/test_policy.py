"""`toolwarrant policy`: check, test, compile policy."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from broker.adapters.file_signer import FileSigner, generate_key
from broker.adapters.policy_files import build_bundle, load_bundle
from broker.cli.exits import Exit
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.errors import ConfigurationError
from broker.verify.bundle import verify_bundle

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("toolwarrant")
RULE = """\
package teams.more

deny contains {"rule": "more.nothing", "message": "nothing runs"} if input.tool.name == "x"
"""
CONDITION = 'if input.tool.name == "x"'
UNUSED = 'if {\n\tinput.tool.name == "x"\n\tunused := 1\n}'
ON_TRIAL = RULE.replace("deny", 'mode := "shadow"\n\ndeny')
DECISION_TEST = """\
package teams.more_test

import data.broker.decision

test_nothing_runs if {
	answer := decision.result with input.tool.name as "x"
	some reason in answer.reasons
	reason.rule == "more.nothing"
}
"""
# What a security team may add: all that a package can say, for every call.
STRICTER = """\
package teams.stricter

allow contains {"rule": "stricter.allow", "message": "m"}

hold contains {"rule": "stricter.hold", "message": "m"}

deny contains {"rule": "stricter.deny", "message": "m", "severity": "critical"}

limit contains {"name": name, "value": 1} if some name in ["memory_bytes", "pids", "timeout_s"]

egress contains "vault.example.org:443"

secret contains "vault"

redact contains "/result"

runtime contains "kata"

label contains "seen"

approval contains {"group": "security", "count": 9}

approval contains {"decide_within_s": 1}

approval contains {"run_within_s": 1}
"""
STRICTER_TEST = """\
package teams.stricter_test

import data.broker.decision

test_it_denies if decision.result.effect == "deny"
"""
RULE_TEST = """\
package teams.more_test

import data.teams.more

test_nothing_runs if count(more.deny) == 1 with input.tool.name as "x"
"""


def policy(*words: Path | str) -> subprocess.CompletedProcess[str]:
    """Run `toolwarrant policy` with these words."""
    argv = [PROGRAM, "policy", *words, "-o", "json"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


def build(folder: Path, bundle: Path, opa: str) -> subprocess.CompletedProcess[str]:
    """Run `toolwarrant policy build`."""
    return policy("build", folder, bundle, "--opa", opa)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy folder with a team's package of its own."""
    folder = tmp_path / "policy"
    # Without library, packs and shipped team, which no rule here uses: each run of opa would parse
    # them, and run their tests.
    ignored = shutil.ignore_patterns("library", "packs", "default", "bundle.tar.gz")
    shutil.copytree(ROOT / "policies_rego", folder, ignore=ignored)
    (folder / "teams" / "more").mkdir()
    (folder / "teams" / "more" / "more.rego").write_text(RULE)
    (folder / "teams" / "more" / "more_test.rego").write_text(RULE_TEST)
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
            "number": loaded.number,
            "sha256": loaded.sha256,
            "signed": False,
        }
        assert loaded.sha256 != load_bundle(ROOT / "policies_rego" / "bundle.tar.gz").sha256

    def test_it_is_signed_and_follows_the_one_before(self, folder, tmp_path, opa):
        """Its number is the one that was asked for, and then one more, whatever the clock says."""
        key, bundle = tmp_path / "policy.key", tmp_path / "policy.tar.gz"
        generate_key(key, algorithm="ecdsa-p256")
        trusted = TrustedKey.from_pem(KeyRole.POLICY, FileSigner(f"file:{key}").public_key_pem)
        ahead = str(2**40)
        argv = ("build", folder, bundle, "--opa", opa, "--sign", str(key))
        assert policy(*argv, "--number", ahead).returncode == Exit.OK
        done = policy(*argv)
        assert (json.loads(done.stdout)["number"], json.loads(done.stdout)["signed"]) == (
            2**40 + 1,
            True,
        )
        root = TrustRoot(version=1, keys=(trusted,))
        assert verify_bundle(bundle.read_bytes(), root) == trusted.key_id

    def test_a_key_that_cannot_be_used_stops_it_first(self, folder, tmp_path):
        """One that others may read signs nothing."""
        key = tmp_path / "policy.key"
        generate_key(key)
        key.chmod(0o644)
        done = policy("build", folder, tmp_path / "b", "--opa", "none", "--sign", str(key))
        assert (done.returncode, "others may use the key" in done.stderr) == (Exit.USAGE, True)

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
        rule = rule.replace('input.tool.name == "x"', "input.arguments.code")
        (folder / "teams" / "more" / "more.rego").write_text(rule)
        done = build(folder, tmp_path / "policy.tar.gz", opa)
        assert done.returncode == Exit.USAGE
        assert "teams/more/more.rego:6: rego_type_error: undefined ref" in done.stderr
        assert not (tmp_path / "policy.tar.gz").exists()

    def test_a_package_that_no_decision_reads_is_not_built(self, folder, tmp_path, opa):
        """A deny below a team's package would deny nothing: it is refused, checked or not."""
        below = folder / "teams" / "more" / "sub" / "sub.rego"
        below.parent.mkdir()
        below.write_text(RULE.replace("teams.more", "teams.more.sub"))
        with pytest.raises(ConfigurationError, match=r"more/sub/sub\.rego:1: team-package: "):
            build_bundle(folder, opa)
        done = build(folder, tmp_path / "policy.tar.gz", opa)
        assert done.returncode == Exit.USAGE
        assert "teams/more/sub/sub.rego:1: team-package: " in done.stderr
        assert "write `package teams.more`" in done.stderr
        assert not (tmp_path / "policy.tar.gz").exists()

    def test_a_rule_that_no_decision_reads_is_not_built(self, folder, tmp_path, opa):
        """A deny one level too deep would deny nothing, whatever its own test says of it."""
        rules = folder / "teams" / "more" / "more.rego"
        rules.write_text(RULE.replace("deny contains", "sub.deny contains"))
        test = folder / "teams" / "more" / "more_test.rego"
        test.write_text(RULE_TEST.replace("more.deny", "more.sub.deny"))
        with pytest.raises(ConfigurationError, match=r"more/more\.rego:3: team-unread: "):
            build_bundle(folder, opa)
        done = build(folder, tmp_path / "policy.tar.gz", opa)
        assert done.returncode == Exit.USAGE
        assert "teams/more/more.rego:3: team-unread: no decision reads sub.deny" in done.stderr
        assert not (tmp_path / "policy.tar.gz").exists()

    def test_a_place_that_cannot_be_written_is_named(self, folder, tmp_path, opa):
        """A missing folder is an error that names the file, not a traceback."""
        done = build(folder, tmp_path / "nowhere" / "policy.tar.gz", opa)
        assert done.returncode == Exit.USAGE
        assert "nowhere/policy.tar.gz: cannot be written" in done.stderr

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("more.rego", RULE.replace("contains", "contains  "), "more.rego:3: "),
            ("more_test.rego", RULE_TEST.replace("== 1", "== 2"), "more_test.rego:5: test_nothing"),
            ("more_test.rego", "package teams.more_test\n", "more.rego:3: coverage: no test reach"),
        ],
        ids=["check", "test", "coverage"],
    )
    def test_nothing_is_built_before_it_passes(self, folder, tmp_path, opa, name, text, said):
        """What `policy check` or `policy test` finds is said instead, by file and line."""
        (folder / "teams" / "more" / name).write_text(text)
        done = build(folder, tmp_path / "policy.tar.gz", opa)
        assert done.returncode == Exit.USAGE
        assert said in done.stderr
        assert not (tmp_path / "policy.tar.gz").exists()

    def test_without_opa_it_says_how_to_get_it(self, folder, tmp_path):
        """A missing program is named, with where it comes from."""
        done = build(folder, tmp_path / "policy.tar.gz", "no-such-opa")
        assert done.returncode == Exit.USAGE
        assert "install OPA 1.22 or newer" in done.stderr
        assert "scripts/tool.sh opa" in done.stderr


class TestPolicyCheck:
    def test_the_shipped_folder_is_clean(self, opa, regal):
        """Library, packs and default team pass what every team's package has to pass."""
        done = policy("check", ROOT / "policies_rego", "--opa", opa, "--regal", regal)
        assert (done.returncode, json.loads(done.stdout)) == (
            Exit.OK,
            {"findings": [], "linted": True, "modes": {}},
        )

    @pytest.mark.parametrize(
        ("old", "new", "line", "rule", "said"),
        [
            ("contains {", "contains {{", 3, "rego_parse_error", "unexpected"),
            ("contains {", "contains  {", 3, "opa-fmt", "opa fmt --write"),
            (CONDITION, UNUSED, 5, "rego_compile_error", "assigned var unused"),
            ("input.tool.name ==", "http.send({}) ==", 3, "rego_type_error", "http.send"),
            (
                "input.tool.name ==",
                "input.tool.nam ==",
                6,
                "rego_type_error",
                "there are: arguments",
            ),
            ('"rule": "more', '"rule": lower("MORE") + "more', 3, "rego_type_error", "plus"),
            ("deny contains", "DENY contains", 3, "prefer-snake-case", "snake_case"),
            ("teams.more", "teams.more.sub", 1, "team-package", "write `package teams.more`"),
            ("teams.more", "library.more", 1, "team-package", "write `package teams.more`"),
            ("\ndeny", '\nmode := "shadwo"\n\ndeny', 3, "team-mode", "'shadwo' is no mode"),
            ("deny contains", "sub.deny contains", 3, "team-unread", "write `deny contains"),
        ],
        ids=[
            "parse",
            "format",
            "strict",
            "capability",
            "schema",
            "type",
            "lint",
            "below",
            "root",
            "mode",
            "deep",
        ],
    )
    def test_each_fault_has_file_and_line(self, folder, opa, regal, old, new, line, rule, said):
        """One message for each, whoever found it."""
        schema = "# METADATA\n# schemas:\n#   - input: schema.policy_input\n" if line == 6 else ""
        rules = folder / "teams" / "more" / "more.rego"
        rules.write_text(schema + RULE.replace(old, new))
        (folder / "teams" / "more" / "more_test.rego").unlink()
        done = policy("check", folder, "--opa", opa, "--regal", regal)
        assert done.returncode == Exit.TOOL_FAILED
        found = json.loads(done.stdout)["findings"]
        assert ("teams/more/more.rego", line, rule) in [
            (finding["file"], finding["line"], finding["rule"]) for finding in found
        ]
        assert said in " ".join(finding["message"] for finding in found)

    def test_a_package_on_trial_is_named(self, folder, opa):
        """It is no fault, but nobody should take it for enforced."""
        (folder / "teams" / "more" / "more.rego").write_text(ON_TRIAL)
        done = policy("check", folder, "--opa", opa, "--regal", "no-such-regal")
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["findings"]) == (Exit.OK, [])
        assert answer["modes"] == {"teams.more": "shadow"}

    def test_a_mode_that_is_none_is_no_trial(self, folder, opa):
        """It denies every call, so that nobody may read that the package decides nothing."""
        (folder / "teams" / "more" / "data.json").write_text('{"mode": "wran"}')
        argv = [PROGRAM, "policy", "check", folder, "--opa", opa, "--regal", "no-such-regal"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
        assert (done.returncode, "'wran' is no mode" in done.stdout) == (Exit.TOOL_FAILED, True)
        assert "on trial" not in done.stderr

    def test_without_regal_it_says_so(self, folder, opa):
        """What was not looked at is not passed over in silence."""
        argv = [PROGRAM, "policy", "check", folder, "--opa", opa, "--regal", "no-such-regal"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
        assert (done.returncode, done.stdout) == (Exit.OK, "")
        assert "Regal is not on PATH" in done.stderr

    def test_another_folder_is_no_policy_folder(self, tmp_path, opa):
        """Exit code 2 tells a wrong folder from a wrong rule."""
        done = policy("check", tmp_path, "--opa", opa)
        assert done.returncode == Exit.USAGE
        assert "is no policy folder: it needs .manifest" in done.stderr


class TestPolicyTest:
    def test_every_folder_of_rules_is_counted(self, opa):
        """The coverage of each is told, library and packs included."""
        done = policy("test", ROOT / "policies_rego", "--opa", opa)
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["findings"]) == (Exit.OK, [])
        assert answer["coverage"]["teams/default"] == 100.0
        assert {"broker/decision", "library/url", "packs/coding_agent"} <= answer["coverage"].keys()

    def test_the_shipped_tests_pass_beside_every_other_package(self, tmp_path, opa):
        """A team that binds all calls makes no test fail but its own: the others need no change."""
        folder = tmp_path / "policy"
        shutil.copytree(ROOT / "policies_rego", folder)
        stricter = folder / "teams" / "stricter"
        stricter.mkdir()
        (stricter / "stricter.rego").write_text(STRICTER)
        (stricter / "stricter_test.rego").write_text(STRICTER_TEST)
        done = policy("test", folder, "--opa", opa)
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["findings"]) == (Exit.OK, [])
        assert answer["coverage"]["teams/stricter"] == 100.0

    def test_an_untested_package_does_not_hide_behind_the_others(self, folder, opa):
        """One rule without a test fails, though nearly all lines of the folder are reached."""
        (folder / "teams" / "more" / "more_test.rego").unlink()
        done = policy("test", folder, "--opa", opa)
        assert done.returncode == Exit.TOOL_FAILED
        (finding,) = json.loads(done.stdout)["findings"]
        assert (finding["file"], finding["line"], finding["rule"]) == (
            "teams/more/more.rego",
            3,
            "coverage",
        )

    def test_a_failed_test_is_named(self, folder, opa):
        """By file, line and name."""
        text = RULE_TEST.replace("== 1", "== 2")
        (folder / "teams" / "more" / "more_test.rego").write_text(text)
        done = policy("test", folder, "--opa", opa)
        assert (done.returncode, json.loads(done.stdout)) == (
            Exit.TOOL_FAILED,
            {
                "coverage": {},
                "findings": [
                    {
                        "file": "teams/more/more_test.rego",
                        "line": 5,
                        "rule": "test_nothing_runs",
                        "message": "the test failed",
                    }
                ],
            },
        )

    def test_a_test_that_fails_for_the_mode_says_so(self, folder, opa):
        """A package on trial decides nothing; its test has to ask as if it were enforced."""
        (folder / "teams" / "more" / "more.rego").write_text(ON_TRIAL)
        tests = folder / "teams" / "more" / "more_test.rego"
        tests.write_text(DECISION_TEST)
        done = policy("test", folder, "--opa", opa)
        (finding,) = json.loads(done.stdout)["findings"]
        assert finding["message"] == (
            "the test failed (in mode shadow it decides nothing: ask "
            '`decision.as_enforced("more")`)'
        )
        tests.write_text(DECISION_TEST.replace("decision.result", 'decision.as_enforced("more")'))
        done = policy("test", folder, "--opa", opa)
        assert done.returncode == Exit.OK
