"""Fetch Debian packages, with all that they need, for a root file system of which they lack."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from broker.adapters.image_builder.engine import ImageEngine
from broker.adapters.image_builder.program import run_program
from broker.errors import ImageBuildFailed

_APT_TIMEOUT_S = 300

_REMEDY = (
    "a tool's image needs Debian packages, and no registry answers, so apt-get has to fetch them "
    "here: build on Debian or Ubuntu with a package mirror in reach, load the images built "
    "elsewhere into the Engine (`docker load`), or take the tool's folder out of the tools folder"
)

# The machine's own configuration (a proxy, say) stays in force but for its hooks, which work on
# its own cache; every path is the root file system's, so its mirrors, keys and state count.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{scratch}/state";
Dir::State::status "{scratch}/status";
Dir::Cache "{scratch}/cache";
Dir::Etc::sourcelist "{scratch}/apt/sources.list";
Dir::Etc::sourceparts "{scratch}/apt/sources.list.d";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "{scratch}/apt/trusted.gpg.d";
"""


def fetch_debs(
    engine: ImageEngine,
    rootfs: str,
    packages: Sequence[str],
    cache: Path,
    report: Callable[[str], None],
) -> Path:
    """Find or fetch the archives that make these packages work on an image.

    What is missing is worked out from the image's own list of installed packages, and kept under
    its digest: another root file system gets archives of its own.

    Args:
        rootfs: The image's id.
        cache: Folder that keeps them.

    Returns:
        A folder of `.deb` files.

    Raises:
        ImageBuildFailed: This machine has no apt-get, or it found no way; names the remedy.
    """
    state = {
        **engine.files(rootfs, "/var/lib/dpkg/status"),
        **engine.files(rootfs, "/etc/apt"),
    }
    kept = cache / "packages" / _key(state["status"], packages)
    if kept.is_dir():
        return kept
    if not shutil.which("apt-get"):
        raise ImageBuildFailed(_REMEDY)
    report(f"packages: fetching {', '.join(packages)}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetching-") as scratch:
        _fetch(Path(scratch), state, packages)
        # A rename within one folder: a crash leaves no half of the archives under the cached name.
        _keep(Path(scratch) / "cache" / "archives", kept)
    return kept


def _key(status: bytes, packages: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(packages).encode() + b"\0" + status).hexdigest()[:16]


def _fetch(scratch: Path, state: dict[str, bytes], packages: Sequence[str]) -> None:
    for name, content in state.items():
        if ".." in PurePosixPath(name).parts:
            raise ImageBuildFailed(f"the image names a file {name!r}: build its base anew")
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(content)
    for folder in ("state/lists/partial", "cache/archives/partial", "apt/sources.list.d"):
        (scratch / folder).mkdir(parents=True, exist_ok=True)
    configuration = scratch / "apt.conf"
    configuration.write_text(_CONFIGURATION.format(scratch=scratch))
    _apt_get(configuration, "update")
    _apt_get(configuration, "install", "--yes", "--download-only", "--", *packages)


def _apt_get(configuration: Path, *words: str) -> None:
    argv = ("apt-get", "-qq", f"--config-file={configuration}", *words)
    run_program(argv, timeout_s=_APT_TIMEOUT_S, remedy=_REMEDY)


def _keep(archives: Path, kept: Path) -> None:
    for file in archives.iterdir():
        if file.suffix != ".deb":
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    try:
        archives.replace(kept)
    except OSError:
        # Another build was quicker; a folder that is not empty is not replaced.
        if not kept.is_dir():
            raise
