"""What a lock file of images may say; `serve` and `doctor` read it alike."""

from pathlib import Path

import pytest

from broker.adapters.image_lock import read_image_lock
from broker.errors import ConfigurationError
from broker.init import pin_images

ID = f"sha256:{'0' * 64}"


class TestReadImageLock:
    def test_pins(self, tmp_path: Path) -> None:
        """What was pinned is read back."""
        lock = tmp_path / "images.lock.json"
        pin_images(lock, {"python_run": ID})
        assert read_image_lock(lock) == {"python_run": ID}

    @pytest.mark.parametrize(
        "text",
        ['{"python_run": "toolwarrant/python_run:1.0.0"}', '{"python_run": 1}', "[]", "{", "\xff"],
    )
    def test_anything_else(self, tmp_path: Path, text: str) -> None:
        """A tag, which can be moved, or what pins nothing is refused with the file and a remedy."""
        lock = tmp_path / "images.lock.json"
        lock.write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigurationError, match="toolwarrant tools build --pin") as refused:
            read_image_lock(lock)
        assert refused.value.file == str(lock)
