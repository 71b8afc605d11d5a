"""Claims about the lock files that `make setup` installs from."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-verify.lock"]


def pinned(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def wanted(requirements: list[str]) -> set[str]:
    return {re.split(r"[><=~]", name)[0].lower() for name in requirements}


class TestLocks:
    @pytest.mark.parametrize("lock", LOCKS)
    def test_names_no_machine(self, lock: str) -> None:
        """A lock file holds no index, no folder of wheels and no path."""
        text = (ROOT / lock).read_text(encoding="utf-8")
        assert re.findall(r"--(?:find-links|index-url|extra-index-url)|file:|://", text) == []

    @pytest.mark.parametrize("lock", LOCKS)
    def test_every_version_has_a_hash(self, lock: str) -> None:
        """Each pinned distribution is followed by at least one SHA-256."""
        text = (ROOT / lock).read_text(encoding="utf-8")
        entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []

    def test_runtime_lock_covers_the_project(self) -> None:
        """Every dependency of the project is in the runtime lock."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert wanted(project["project"]["dependencies"]) - pinned("requirements.lock").keys() == (
            set()
        )

    def test_development_lock_agrees_with_the_runtime_lock(self) -> None:
        """What is tested is what is shipped: the same versions stand in both locks."""
        runtime, development, verifier = (pinned(lock) for lock in LOCKS)
        assert {name: development.get(name) for name in runtime} == runtime
        assert {name: runtime.get(name) for name in verifier} == verifier

    def test_the_verifiers_lock_covers_its_extra(self) -> None:
        """The extra names dependencies of the project by the same ranges; its lock has them all."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extra = project["optional-dependencies"]["verify"]
        assert set(extra) <= set(project["dependencies"])
        assert wanted(extra) <= pinned("requirements-verify.lock").keys()
        assert len(pinned("requirements-verify.lock")) < 8
