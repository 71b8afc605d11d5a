"""Generate `broker/v1/` from `protos/broker/v1/`; with `--check` only compare the two."""

import argparse
import filecmp
import shutil
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = Path("broker/v1")
INIT = '"""Hold the generated messages; scripts/gen_protos.py writes this folder."""\n'


def generate(target: Path) -> None:
    """Write the whole package below `target`.

    Raises:
        SystemExit: The compiler found a fault; it has printed file and line.
    """
    scripts = Path(sysconfig.get_path("scripts"))
    protos = sorted(
        path.relative_to(PROTOS).as_posix() for path in PROTOS.glob(f"{PACKAGE}/*.proto")
    )
    if not protos:
        raise SystemExit(f"gen_protos: there is no .proto below {PROTOS / PACKAGE}")
    (target / PACKAGE).mkdir(parents=True, exist_ok=True)
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *protos,
        ]
    )
    if code != 0:
        raise SystemExit(code)
    (target / PACKAGE / "__init__.py").write_text(INIT, encoding="utf-8")


def differences(fresh: Path, present: Path) -> list[str]:
    """Name each generated file that is missing, left over or different, sorted."""
    wanted, there = (
        {path.name for path in folder.glob("*.py*") if path.is_file()}
        for folder in (fresh, present)
    )
    same, _, _ = filecmp.cmpfiles(fresh, present, wanted & there, shallow=False)
    return sorted((wanted | there) - set(same))


def main() -> int:
    """Generate, or compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; 1 where files differ")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        fresh, present = Path(scratch) / PACKAGE, ROOT / PACKAGE
        generate(Path(scratch))
        stale = differences(fresh, present)
        if check:
            for name in stale:
                print(f"gen_protos: {PACKAGE / name} is stale; run `make protos`", file=sys.stderr)
            return 1 if stale else 0
        present.mkdir(parents=True, exist_ok=True)
        for name in stale:
            if (fresh / name).exists():
                shutil.copyfile(fresh / name, present / name)
            else:
                (present / name).unlink()
            print(f"gen_protos: wrote {PACKAGE / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
