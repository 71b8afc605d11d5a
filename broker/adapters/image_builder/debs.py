"""Fetch the Debian packages that a root file system lacks for the ones that a tool asks for."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

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
# its own cache, and for what it lets pass unsigned; every path is the root file system's, so its
# mirrors, keys and state count.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
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


class Debs:
    """Archives of Debian packages that make them work on one image. Use it in `with`.

    What an image lacks is worked out from its own list of installed packages, and kept under that
    list's digest: another root file system gets archives of its own. The mirror's lists are read
    at most once, however many sets of packages are asked for, and thrown away at the end.

    Args:
        image: Id of the root file system's image.
        cache: Folder that keeps the archives.
    """

    def __init__(
        self, engine: ImageEngine, image: str, cache: Path, report: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._image = image
        self._kept = cache / "packages"
        self._report = report
        self._scratch: Path | None = None
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        """Give itself; nothing is read before something is asked for."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Throw the mirror's lists away."""
        self._cleanup.close()

    def fetch(self, packages: Sequence[str]) -> Path:
        """Find or fetch the archives of these packages, with all that the image lacks for them.

        Returns:
            A folder of `.deb` files.

        Raises:
            ImageBuildFailed: This machine has no apt-get, or it found no way; names the remedy.
        """
        status = self._engine.files(self._image, "/var/lib/dpkg/status")["status"]
        kept = self._kept / _key(status, packages)
        if kept.is_dir():
            return kept
        if not shutil.which("apt-get"):
            raise ImageBuildFailed(_REMEDY)
        self._report(f"packages: fetching {', '.join(packages)}")
        scratch = self._scratch or self._prepare(status)
        archives = scratch / "cache" / "archives"
        (archives / "partial").mkdir(parents=True)
        _apt_get(scratch, "install", "--yes", "--download-only", "--", *packages)
        _keep(archives, kept)
        return kept

    def _prepare(self, status: bytes) -> Path:
        """Lay out what apt-get works on in a folder, then let it read the mirror's lists."""
        self._kept.mkdir(parents=True, exist_ok=True)
        scratch = Path(
            self._cleanup.enter_context(
                tempfile.TemporaryDirectory(dir=self._kept, prefix=".fetching-")
            )
        )
        for name, content in {
            **self._engine.files(self._image, "/etc/apt"),
            "status": status,
            "apt.conf": _CONFIGURATION.format(scratch=scratch).encode(),
        }.items():
            if ".." in PurePosixPath(name).parts:
                raise ImageBuildFailed(f"the image names a file {name!r}: build its base anew")
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        for folder in ("state/lists/partial", "apt/sources.list.d"):
            (scratch / folder).mkdir(parents=True, exist_ok=True)
        _apt_get(scratch, "update")
        self._scratch = scratch
        return scratch


def _key(status: bytes, packages: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(packages).encode() + b"\0" + status).hexdigest()[:16]


def _apt_get(scratch: Path, *words: str) -> None:
    argv = ("apt-get", "-qq", f"--config-file={scratch / 'apt.conf'}", *words)
    run_program(argv, timeout_s=_APT_TIMEOUT_S, remedy=_REMEDY)


def _keep(archives: Path, kept: Path) -> None:
    """Move fetched archives to where later builds find them."""
    shutil.rmtree(archives / "partial")
    (archives / "lock").unlink(missing_ok=True)
    try:
        # A rename within one folder: a crash leaves no half of them under the cached name.
        archives.replace(kept)
    except OSError:
        # Another build was quicker; a folder that is not empty is not replaced.
        if not kept.is_dir():
            raise
        shutil.rmtree(archives)
