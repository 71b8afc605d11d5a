"""Put the Debian packages that a tool asks for onto the root file system."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from broker.adapters.image_builder.debs import Debs
from broker.adapters.image_builder.engine import SOURCES_LABEL, ImageEngine
from broker.adapters.image_builder.rootfs import installing, registry_answers, rootfs_label
from broker.adapters.image_builder.sources import ImageSources
from broker.errors import ConfigurationError, ImageBuildFailed

PACKAGES_FILE = "packages"
"""Beside a tool's Dockerfile: names of Debian packages, one a line."""

_MAX_PACKAGES = 32
# Debian policy 5.6.7: nothing here is an option, a path, a version, or a word for a shell.
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")
_REPOSITORY = "toolwarrant/packages"

_ARCHIVES = "/var/cache/apt/archives"
_ARCHIVES_DOCKERFILE = f"""\
ARG BASE
FROM ${{BASE}}
COPY *.deb {_ARCHIVES}/
RUN DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --no-download \\
    {_ARCHIVES}/*.deb \\
 && rm -rf {_ARCHIVES}/*.deb
"""


def read_packages(folder: Path) -> tuple[str, ...]:
    """Read which packages a tool's image needs; none where the folder does not say.

    Returns:
        Their names, sorted, so that tools that need the same share an image.

    Raises:
        ConfigurationError: A line is no package's name, or stands twice; names file and line.
    """
    file = folder / PACKAGES_FILE
    if not file.exists():
        return ()
    try:
        lines = file.read_bytes().decode("ascii").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise ConfigurationError(str(file), None, f"cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not _NAME.fullmatch(line):
            raise ConfigurationError(
                str(file), number, "write the name of one Debian package a line, nothing else"
            )
        if line in lines[: number - 1]:
            raise ConfigurationError(str(file), number, f"{line} stands there already")
    if len(lines) > _MAX_PACKAGES:
        raise ConfigurationError(str(file), None, f"name at most {_MAX_PACKAGES} packages")
    return tuple(sorted(lines))


def packages_label(packages: tuple[str, ...]) -> str:
    """Digest the recipe of a root file system with these packages, the one without included."""
    if not packages:
        return rootfs_label()
    recipe = "\0".join((rootfs_label(), installing(packages), _ARCHIVES_DOCKERFILE))
    return hashlib.sha256(recipe.encode()).hexdigest()


def ensure_packages(
    engine: ImageEngine,
    rootfs: str,
    packages: tuple[str, ...],
    debs: Debs,
    report: Callable[[str], None],
) -> str:
    """Find or make the image of the root file system with these packages.

    Args:
        rootfs: Id of the image without them.
        debs: Where archives that fit that image come from when no registry answers.

    Returns:
        The image's id.

    Raises:
        ImageBuildFailed: The packages cannot be had; the message names the remedy.
    """
    if not packages:
        return rootfs
    label = packages_label(packages)
    tag = f"{_REPOSITORY}:{label[:12]}"
    if image := engine.find(tag, label):
        return image
    if registry_answers(engine):
        sources = ImageSources(files=(("Dockerfile", installing(packages).encode()),))
        try:
            return _build(engine, sources, tag, rootfs, label)
        except ImageBuildFailed as failure:
            # A registry without a package mirror beside it: the other way is tried.
            report(f"packages: {failure.message}")
    archives = debs.fetch(packages)
    files = [(file.name, file.read_bytes()) for file in sorted(archives.iterdir())]
    sources = ImageSources(files=(("Dockerfile", _ARCHIVES_DOCKERFILE.encode()), *files))
    return _build(engine, sources, tag, rootfs, label)


def _build(engine: ImageEngine, sources: ImageSources, tag: str, base: str, label: str) -> str:
    return engine.build(sources.context(), tag=tag, base=base, labels={SOURCES_LABEL: label})
