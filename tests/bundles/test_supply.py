"""What is opened of where bundles come from, before anything else starts."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.bundle_supply import open_source
from broker.errors import ConfigurationError
from tests.bundles.test_findings import config

URL = "url = 'https://bundles.test/b.tar.gz?signature=x'"


class TestSource:
    async def test_variable_is_taken(self, tmp_path: Path) -> None:
        """The token leaves the environment, so that no child of the broker inherits it."""
        environment = {"BUNDLE_TOKEN": "t0ken-of-the-broker", "OTHER": "stays"}
        read = config(tmp_path, f"{URL}\ntoken = 'env:BUNDLE_TOKEN'")
        async with AsyncExitStack() as stack:
            source = open_source(read, environment, stack)
            assert source is not None
            assert source.name == "https://bundles.test/b.tar.gz"
        assert environment == {"OTHER": "stays"}

    async def test_none(self, tmp_path: Path) -> None:
        """Without a setting there is no source."""
        async with AsyncExitStack() as stack:
            assert open_source(config(tmp_path, ""), {}, stack) is None

    @pytest.mark.parametrize(
        ("bundles", "said"),
        [
            (f"{URL}\ntoken = 'file:none'", "t.toml:5: bundles.token: "),
            (f"{URL}\nca_file = 'none.crt'", "none.crt: holds no certificate authority in PEM"),
        ],
    )
    async def test_stops_the_start(self, tmp_path: Path, bundles: str, said: str) -> None:
        """What can never work is said at once, with its line."""
        async with AsyncExitStack() as stack:
            with pytest.raises(ConfigurationError) as caught:
                open_source(config(tmp_path, bundles), {}, stack)
        assert said in str(caught.value)
