#!/usr/bin/env python3
"""Compile policies_rego/ into the bundle that the package carries."""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from broker.adapters.policy_files import build_bundle, load_bundle  # noqa: E402
from broker.core.bundle import read_bundle  # noqa: E402
from broker.errors import ConfigurationError  # noqa: E402

FOLDER = ROOT / "policies_rego"
BUNDLE = FOLDER / "bundle.tar.gz"


def main() -> int:
    """Write the bundle; with --check, compare instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the bundle, write none")
    check = parser.parse_args().check
    opa = subprocess.check_output([ROOT / "scripts" / "tool.sh", "opa"], text=True).strip()
    try:
        built = read_bundle(archive := build_bundle(FOLDER, opa), str(BUNDLE))
        if not check:
            BUNDLE.write_bytes(archive)
        # By the digest of the members: another zlib may compress the same content otherwise.
        kept = load_bundle(BUNDLE)
    except ConfigurationError as error:
        print(f"policy: {error.message}", file=sys.stderr)
        return 1
    if kept.sha256 != built.sha256:
        print(
            "policy: bundle.tar.gz is not what policies_rego/ compiles to: run `make bundle`",
            file=sys.stderr,
        )
        return 1
    print(f"policy: {kept.revision} {kept.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
