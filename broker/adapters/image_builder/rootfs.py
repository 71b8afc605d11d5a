"""Provide the root file system that every tool image stands on."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from broker.adapters.image_builder.engine import SOURCES_LABEL, ImageEngine
from broker.adapters.image_builder.program import run_program
from broker.adapters.image_builder.sources import ImageSources
from broker.errors import ImageBuildFailed

REGISTRY_BASE = (
    "docker.io/library/debian:bookworm-slim"
    "@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171"
)
"""The base where a registry answers, by the digest of its multi-platform index."""

_SUITE = "bookworm"
# The full python3: python3-minimal lacks json and ctypes, which the launcher needs.
_PACKAGES = ("python3", "ca-certificates")
_REGISTRY_PROBE_TIMEOUT_S = 5
_MMDEBSTRAP_TIMEOUT_S = 900
_REPOSITORY = "toolwarrant/rootfs"


def installing(packages: Sequence[str]) -> str:
    """Give the Dockerfile that installs packages from the mirrors that the base image names."""
    return f"""\
ARG BASE
FROM ${{BASE}}
RUN apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\
    {" ".join(packages)} \\
 && rm -rf /var/lib/apt/lists/*
"""


_REGISTRY_DOCKERFILE = installing(_PACKAGES)

# Documentation and translations are half of what a minimal Debian weighs.
_MMDEBSTRAP = (
    "mmdebstrap",
    "--variant=minbase",
    f"--include={','.join(_PACKAGES)}",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    '--aptopt=Acquire::Retries "3"',
    _SUITE,
)

_REMEDY = (
    f"no registry answers for {REGISTRY_BASE}, so the base image has to be made here with "
    "mmdebstrap: run `apt-get install mmdebstrap` as root (Debian, Ubuntu) and try again, or load "
    "that image into the Engine (`docker load`)"
)


def rootfs_label() -> str:
    """Digest the recipe; an image that carries it needs no new build."""
    recipe = "\0".join((REGISTRY_BASE, _REGISTRY_DOCKERFILE, *_MMDEBSTRAP))
    return hashlib.sha256(recipe.encode()).hexdigest()


def ensure_rootfs(engine: ImageEngine, cache: Path, report: Callable[[str], None]) -> str:
    """Find or make the image `toolwarrant/rootfs`; from a registry, else by mmdebstrap.

    Args:
        cache: Folder that keeps the root file system made here, for the next Engine.

    Returns:
        The image's id.

    Raises:
        ImageBuildFailed: Neither way is open; the message names the remedy.
    """
    label = rootfs_label()
    tag = f"{_SUITE}-{label[:12]}"
    if image := engine.find(f"{_REPOSITORY}:{tag}", label):
        return image
    if image := _from_registry(engine, tag, label, report):
        return image
    tar = cache / "rootfs" / f"{tag}.tar"
    if not tar.is_file():
        report(f"rootfs: no registry answers; making Debian {_SUITE} with mmdebstrap (a minute)")
        _make_tar(tar, report)
    return engine.import_root(tar, repository=_REPOSITORY, tag=tag, label=label)


def registry_answers(engine: ImageEngine) -> bool:
    """Say whether images here can be made the ordinary way: from a registry that answers soon."""
    return engine.has(REGISTRY_BASE) or engine.registry_has(
        REGISTRY_BASE, timeout_s=_REGISTRY_PROBE_TIMEOUT_S
    )


def _from_registry(
    engine: ImageEngine, tag: str, label: str, report: Callable[[str], None]
) -> str | None:
    if not registry_answers(engine):
        return None
    try:
        if not engine.has(REGISTRY_BASE):
            report(f"rootfs: pulling {REGISTRY_BASE}")
            engine.pull(REGISTRY_BASE)
        sources = ImageSources(files=(("Dockerfile", _REGISTRY_DOCKERFILE.encode()),))
        return engine.build(
            sources.context(),
            tag=f"{_REPOSITORY}:{tag}",
            base=REGISTRY_BASE,
            labels={SOURCES_LABEL: label},
        )
    except ImageBuildFailed as failure:
        # A registry without a package mirror beside it is common enough: the other way is tried.
        report(f"rootfs: {failure.message}")
        return None


def _make_tar(tar: Path, report: Callable[[str], None]) -> None:
    _ensure_mmdebstrap(report)
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tar.parent, prefix=".making-") as scratch:
        made = Path(scratch) / "root.tar"
        _run(*_MMDEBSTRAP, str(made))
        # A rename within one folder: a crash leaves no half-written tar under the cached name.
        made.replace(tar)


def _ensure_mmdebstrap(report: Callable[[str], None]) -> None:
    if shutil.which("mmdebstrap"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ImageBuildFailed(_REMEDY)
    report("rootfs: installing mmdebstrap")
    _run("apt-get", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap")


def _run(*argv: str) -> None:
    run_program(argv, timeout_s=_MMDEBSTRAP_TIMEOUT_S, remedy=_REMEDY)
