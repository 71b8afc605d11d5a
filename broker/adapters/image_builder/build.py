"""Bring the Engine's images up to date with the tools' sources."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import yaml

from broker.adapters.image_builder.debs import Debs
from broker.adapters.image_builder.engine import SOURCES_LABEL, ImageEngine
from broker.adapters.image_builder.packages import (
    ensure_packages,
    packages_label,
    read_packages,
)
from broker.adapters.image_builder.rootfs import ensure_rootfs
from broker.adapters.image_builder.sources import ImageSources, read_sources
from broker.errors import ConfigurationError

BASE = "base"
"""The folder, and the image's name, of what all tools share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One image to be: where its sources are, what it will be called."""

    name: str
    version: str
    sources: ImageSources
    packages: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The reference under which the Engine keeps it."""
        return f"toolwarrant/{self.name}:{self.version}"


def build_images(
    base_url: str,
    tools_dir: Path,
    report: Callable[[str], None],
    *,
    cache: Path | None = None,
) -> dict[str, str]:
    """Build each image whose sources changed since it was built, its base first.

    Blocking: seconds when nothing changed, minutes the first time.

    Args:
        base_url: Where the Engine listens, such as `unix:///var/run/docker.sock`.
        tools_dir: One folder per tool with its Dockerfile, beside the folder `base`.
        report: Takes a line for people about each image.
        cache: Folder for what later builds can use again; the user's cache folder by default.

    Returns:
        Image name (the `image` of `tool.yaml`, without the bases) with its id, `sha256:...`.

    Raises:
        ConfigurationError: A tool's folder cannot be built from.
        ImageBuildFailed: The Engine or the base's origin failed; the message names the remedy.
    """
    plans = _plans(tools_dir)
    base_sources = _sources(tools_dir / BASE)
    cache = cache or default_cache()
    images: dict[str, str] = {}
    with closing(ImageEngine(base_url)) as engine:
        rootfs = ensure_rootfs(engine, cache, report)
        with Debs(engine, rootfs, cache, report) as debs:
            # What tools share is built once for each set of packages, the empty one first.
            for packages in sorted({(), *(plan.packages for plan in plans)}):
                root = ensure_packages(engine, rootfs, packages, debs, report)
                base_label = base_sources.sha256(packages_label(packages))
                base = _ensure(engine, _base(base_sources, packages), root, base_label, report)
                for plan in (plan for plan in plans if plan.packages == packages):
                    label = plan.sources.sha256(base_label)
                    images[plan.name] = _ensure(engine, plan, base, label, report)
    return images


def _base(sources: ImageSources, packages: tuple[str, ...]) -> _Plan:
    """Plan the base of the tools that need these packages: no other tool gets to see them."""
    version = f"with-{packages_label(packages)[:12]}" if packages else "current"
    return _Plan(name=BASE, version=version, sources=sources)


def default_cache() -> Path:
    """Name the user's cache folder: `$TOOLWARRANT_CACHE`, else below `~/.cache`."""
    chosen = os.environ.get("TOOLWARRANT_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "toolwarrant"


def _ensure(
    engine: ImageEngine, plan: _Plan, base: str, label: str, report: Callable[[str], None]
) -> str:
    if image := engine.find(plan.tag, label):
        report(f"{plan.name}: {plan.tag} is up to date")
        return image
    begun_s = time.monotonic()
    image = engine.build(
        plan.sources.context(), tag=plan.tag, base=base, labels={SOURCES_LABEL: label}
    )
    report(f"{plan.name}: built {plan.tag} in {time.monotonic() - begun_s:.1f} s")
    return image


def _plans(tools_dir: Path) -> list[_Plan]:
    plans: dict[str, _Plan] = {}
    for definition in sorted(tools_dir.glob("*/tool.yaml")):
        # A folder without a Dockerfile runs in the image of another folder.
        if not (definition.parent / "Dockerfile").is_file():
            continue
        plan = _plan(definition)
        if plan.name == BASE or plan.name in plans:
            raise ConfigurationError(
                str(definition), None, f"image: {plan.name!r} is taken; give it its own name"
            )
        plans[plan.name] = plan
    if not plans:
        raise ConfigurationError(str(tools_dir), None, "holds no tool with a Dockerfile")
    return list(plans.values())


def _plan(definition: Path) -> _Plan:
    try:
        document = yaml.safe_load(definition.read_text(encoding="utf-8"))
        name, version = document["image"], document["version"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigurationError(
            str(definition), None, f"needs `image` and `version`: {error}"
        ) from error
    if not (isinstance(name, str) and isinstance(version, str)):
        raise ConfigurationError(str(definition), None, "`image` and `version` must be strings")
    folder = definition.parent
    return _Plan(
        name=name, version=version, sources=_sources(folder), packages=read_packages(folder)
    )


def _sources(folder: Path) -> ImageSources:
    try:
        return read_sources(folder)
    except (OSError, ValueError) as error:
        raise ConfigurationError(str(folder), None, str(error)) from error
