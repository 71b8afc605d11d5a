"""What the doctor says of where bundles come from."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.bundle_supply import confirmation_file
from broker.config import Config, parse
from broker.finding import Level
from broker.ports import Confirmation
from broker.supply_findings import supply
from tests.ports import samples

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FOLDER = "folder = 'bundles'\nrefuse_after_s = 3600"


def config(tmp_path: Path, bundles: str, policy: str = "") -> Config:
    """Read a configuration with these settings."""
    text = f"[policy]\n{policy}\n[bundles]\n{bundles}\n"
    (tmp_path / "t.toml").write_text(text)
    return parse(text, file=str(tmp_path / "t.toml"), folder=tmp_path)


def found(read: Config, environment: dict[str, str] | None = None) -> list[tuple[Level, str]]:
    """Give level with text of each finding."""
    return [(each.level, each.said) for each in supply(read, environment or {}, NOW)]


class TestSource:
    def test_none(self, tmp_path: Path) -> None:
        """Without a source that is all that there is to say."""
        ((level, said),) = found(config(tmp_path, ""))
        assert (level, said[:5]) == (Level.OK, "none:")

    def test_there(self, tmp_path: Path) -> None:
        """A source that has a bundle is named with its size."""
        (tmp_path / "bundles").mkdir()
        (tmp_path / "bundles" / "bundle.tar.gz").write_bytes(b"12345")
        level, said = found(config(tmp_path, FOLDER))[0]
        assert (level, said) == (Level.OK, f"{tmp_path}/bundles/bundle.tar.gz, 5 bytes")

    def test_not_there(self, tmp_path: Path) -> None:
        """One that gives nothing is a warning: the broker starts without it."""
        level, said = found(config(tmp_path, FOLDER))[0]
        assert level is Level.WARN
        assert "cannot be read" in said

    @pytest.mark.parametrize(
        ("bundles", "policy", "said"),
        [
            ("url = 'https://127.0.0.1:1/b'\nca_file = 'no.crt'", "", "no.crt: holds no cert"),
            ("url = 'https://127.0.0.1:1/b'\ntoken = 'file:no'", "", "bundles.token: "),
            (
                FOLDER,
                "engine = 'opa'\nopa_url = 'http://127.0.0.1:1'",
                "bundles.folder: policy.opa_url names an OPA server that gets its bundles itself",
            ),
        ],
    )
    def test_no_start(self, tmp_path: Path, bundles: str, policy: str, said: str) -> None:
        """What would stop the start is a failure."""
        level, text = found(config(tmp_path, bundles, policy))[0]
        assert level is Level.FAIL
        assert said in text

    def test_authority_besides(self, tmp_path: Path) -> None:
        """What the service has in its environment excuses no other fault."""
        bundles = "url = 'https://127.0.0.1:1/b'\nca_file = 'no.crt'\ntoken = 'env:BUNDLE_TOKEN'"
        environment = {"BUNDLE_TOKEN": "t0ken-of-the-broker"}
        assert found(config(tmp_path, bundles), environment)[0][0] is Level.FAIL

    def test_of_the_service(self, tmp_path: Path) -> None:
        """A token that the service has in its environment cannot be judged here."""
        read = config(tmp_path, "url = 'https://127.0.0.1:1/b'\ntoken = 'env:BUNDLE_TOKEN'")
        assert found(read)[0][0] is Level.WARN

    def test_variable_stays(self, tmp_path: Path) -> None:
        """Looking takes nothing out of the environment that the broker will read."""
        environment = {"BUNDLE_TOKEN": "t0ken-of-the-broker"}
        read = config(tmp_path, "url = 'http://127.0.0.1:1/b'\ntoken = 'env:BUNDLE_TOKEN'")
        assert "cannot be reached" in found(read, environment)[0][1]
        assert environment == {"BUNDLE_TOKEN": "t0ken-of-the-broker"}


class TestFreshness:
    def test_unknown(self, tmp_path: Path) -> None:
        """Before the first start nothing is known, and nothing wrong."""
        assert found(config(tmp_path, FOLDER))[1][0] is Level.OK

    @pytest.mark.parametrize(
        ("ago_s", "level", "said"),
        [
            (899, Level.OK, "2026-01-02T02:49:06.000000Z"),
            (900, Level.WARN, ": stale"),
            (3600, Level.FAIL, ": every call is denied"),
        ],
    )
    def test_judged(self, tmp_path: Path, ago_s: int, level: Level, said: str) -> None:
        """What a broker kept is judged by its own rule."""
        read = config(tmp_path, FOLDER)
        at = NOW - timedelta(seconds=ago_s)
        confirmed = Confirmation(bundle_sha256=samples.digest("bundle"), at=at)
        asyncio.run(confirmation_file(read).write(confirmed))
        judged = found(read)[1]
        assert judged[0] is level
        assert said in judged[1]
