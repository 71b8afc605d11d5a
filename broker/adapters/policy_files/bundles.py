"""Read a policy bundle from disk, or build one."""

import tempfile
from pathlib import Path

from broker.adapters.policy_files.program import SHARED, require_folder, run
from broker.adapters.policy_files.sources import read_documents, read_sources
from broker.core.bundle import ENTRYPOINT, Bundle, pack_bundle, read_bundle
from broker.core.rego_reach import reached
from broker.core.team_data import unread_data
from broker.core.team_folders import misplaced
from broker.core.team_modes import mode_faults
from broker.core.unread_rules import unread
from broker.errors import ConfigurationError

_SHARED = (*SHARED, "--ignore", "*_test.rego")


def load_bundle(file: Path) -> Bundle:
    """Read a compiled bundle.

    Raises:
        ConfigurationError: Missing or broken.
    """
    try:
        archive = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            str(file),
            None,
            f"cannot be read: {error.strerror}; `toolwarrant policy build` makes it",
        ) from error
    return read_bundle(archive, str(file))


def build_bundle(folder: Path, opa: str, *, number: int = 0) -> bytes:
    """Compile a folder of Rego into a bundle.

    Args:
        folder: Has `.manifest`, `capabilities.json` and the packages; rules are checked against
            its `schemas`, where it has them.
        opa: The program, by path or by name.
        number: The bundle's place in the order of those that follow one another; 0: none.

    Raises:
        ConfigurationError: The program is missing, or it refuses the folder, with its words; or
            the decision would not read what a team adds, or a mode is open or read.
    """
    require_folder(folder)
    if (folder / "schemas").is_dir():
        # `opa build` reads no schemas: a misspelt field would make a rule that never holds.
        _run([opa, "check", "--bundle", "--schema", "schemas", *_SHARED, "."], folder)
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "built.tar.gz"
        argv = [opa, "build", "--bundle", "--target", "wasm", "--entrypoint", ENTRYPOINT]
        # From inside the folder: paths in the bundle, and roots, are relative to it.
        _run([*argv, *_SHARED, "--output", str(built), "."], folder)
        return pack_bundle(built.read_bytes(), _sources(folder), str(folder), number=number)


def _sources(folder: Path) -> dict[str, bytes]:
    texts, documents = read_sources(folder), read_documents(folder)
    if found := [
        *misplaced(texts),
        *unread(texts),
        *unread_data(texts, documents),
        *mode_faults(texts, documents),
    ]:
        raise ConfigurationError(str(folder), None, "; ".join(map(str, found)))
    # As the compiled module has it: what no team uses is no part of the policy.
    return {name: texts[name].encode() for name in sorted(reached(texts))}


def _run(argv: list[str], folder: Path) -> None:
    done = run(argv, folder)
    if done.returncode != 0:
        raise ConfigurationError(
            str(folder), None, f"opa refuses it: {(done.stderr or done.stdout).strip()}"
        )
