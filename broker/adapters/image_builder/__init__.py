"""Build the tools' container images from their sources with the local Docker Engine."""

from broker.adapters.image_builder.build import build_images

__all__ = ["build_images"]
