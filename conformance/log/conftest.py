"""What the log's third parties run on."""

from tests.conftest import development_folder

__all__ = ["development_folder"]
