"""Read the lock file that pins tools' images."""

import json
from collections.abc import Mapping
from pathlib import Path

from broker.errors import ConfigurationError

_ID_PREFIX = "sha256:"


def read_image_lock(file: Path) -> Mapping[str, str]:
    """Read which image of the Engine stands for each image name.

    Returns:
        Image name to the Engine's id, `sha256:...`: a tag can be moved, an id cannot.

    Raises:
        ConfigurationError: The file is missing or pins something else than ids.
    """
    try:
        images = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            str(file), None, f"cannot be read ({error}): run `toolwarrant tools build --pin`"
        ) from error
    if not isinstance(images, dict) or not all(
        isinstance(image, str) and image.startswith(_ID_PREFIX) for image in images.values()
    ):
        raise ConfigurationError(
            str(file),
            None,
            f'must map image names to "{_ID_PREFIX}..." ids: run `toolwarrant tools build --pin`',
        )
    return images
