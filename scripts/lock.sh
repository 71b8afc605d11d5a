#!/usr/bin/env bash
# Writes requirements.lock (runtime), requirements-dev.lock (development) and requirements-verify.lock (the
# verifier alone) from pyproject.toml, and the lock of each environment of its own from the `.in` beside it.
#
# Arguments are passed on to `uv pip compile`, for instance `--upgrade`.
set -euo pipefail
cd "$(dirname "$0")/.."

# A machine's own indexes and wheel folders must not leave a trace in a file that others install from.
unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX_URL UV_DEFAULT_INDEX UV_INDEX

compile() {
    .venv/bin/uv pip compile --no-config --universal --python-version 3.11 --generate-hashes --quiet \
        --custom-compile-command "make lock" "$@"
}

compile "$@" pyproject.toml --output-file requirements.lock
compile "$@" pyproject.toml --group dev --output-file requirements-dev.lock
# The verifier alone: in the versions that the broker has.
.venv/bin/python -c 'import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["verify"], sep="\n")' |
    compile "$@" --constraint requirements.lock - --output-file requirements-verify.lock
# What a benchmark compares with, and whose vectors we take, stand in environments of their own.
compile "$@" bench/peer.in --output-file bench/peer.lock
compile "$@" conformance/vectors/outside.in --output-file conformance/vectors/outside.lock
