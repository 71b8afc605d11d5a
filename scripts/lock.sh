#!/usr/bin/env bash
# Writes requirements.lock (runtime) and requirements-dev.lock (development) from pyproject.toml, and
# bench/peer.lock from bench/peer.in.
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
# What a benchmark compares with stands in an environment of its own.
compile "$@" bench/peer.in --output-file bench/peer.lock
