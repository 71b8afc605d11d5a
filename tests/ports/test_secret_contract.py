"""What every provider of secrets does, the one in memory like the one on files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.adapters.secret_sources import ConfiguredSecrets
from broker.errors import SecretUnavailable
from broker.ports import SecretProvider
from tests.ports.fake_secrets import FakeSecrets

Keep = Callable[[str, bytes | None], None]


@pytest.fixture(params=["fake", "files"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SecretProvider, Keep]]:
    """A provider of `one` and `two`, and how to change what they are; None removes it."""
    if request.param == "fake":
        fake = FakeSecrets()

        def set_value(name: str, value: bytes | None) -> None:
            fake.values.pop(name, None)
            if value is not None:
                fake.values[name] = value

        yield fake, set_value
        return

    def write(name: str, value: bytes | None) -> None:
        (tmp_path / name).unlink(missing_ok=True)
        if value is not None:
            (tmp_path / name).touch(mode=0o600)
            (tmp_path / name).write_bytes(value)

    uris = {name: f"file:{tmp_path / name}" for name in ("one", "two")}
    provider = ConfiguredSecrets(uris, {})
    yield provider, write
    provider.close()


class TestRead:
    async def test_in_order(self, kept: tuple[SecretProvider, Keep]) -> None:
        """Values come under their names in the order asked for."""
        provider, keep = kept
        keep("one", b"value of one")
        keep("two", b"value of two")
        found = await provider.read(["two", "one"])
        assert [(each.name, each.value) for each in found] == [
            ("two", b"value of two"),
            ("one", b"value of one"),
        ]
        assert await provider.read([]) == ()

    async def test_as_it_is_now(self, kept: tuple[SecretProvider, Keep]) -> None:
        """Each read gives the value of that moment."""
        provider, keep = kept
        keep("one", b"the first value")
        (before,) = await provider.read(["one"])
        keep("one", b"the second value")
        (after,) = await provider.read(["one"])
        assert (before.value, after.value) == (b"the first value", b"the second value")

    @pytest.mark.parametrize("missing", ["two", "three"])
    async def test_all_or_nothing(self, kept: tuple[SecretProvider, Keep], missing: str) -> None:
        """One that is not there, or that nobody knows, fails the read and is named."""
        provider, keep = kept
        keep("one", b"value of one")
        with pytest.raises(SecretUnavailable) as caught:
            await provider.read(["one", missing])
        assert caught.value.name == missing
