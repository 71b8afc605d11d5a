#!/usr/bin/env bash
# Fills .venv with exactly what requirements-dev.lock names, and with this checkout, editable.
#
# Quick when neither the lock nor pyproject.toml changed since. PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup-venv: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

find_python() {
    local candidate
    # A version manager's shim may stand on PATH for an interpreter that is not there: ask each.
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer; install one (Debian, as root: apt-get install python3 python3-venv) or set PYTHON"
}

make_venv() {
    local python="$1"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local package
        package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
        if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
            fail "$python cannot make virtual environments; run as root: apt-get install $package"
        fi
        say "installing $package"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"; } \
            </dev/null >&2 || fail "apt-get could not install $package; install it, then run this again"
    fi
    "$python" -m venv .venv
}

digest() { cat requirements-dev.lock pyproject.toml scripts/setup-venv.sh | sha256sum | cut -d' ' -f1; }

readonly STAMP=.venv/installed.sha256
wanted="$(digest) $PWD"
if [ -x .venv/bin/python ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
# A folder that was moved, or whose interpreter is gone, cannot be mended.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    make_venv "$(find_python)"
fi
say "installing what requirements-dev.lock names"
rm -f "$STAMP"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock </dev/null
# The build backend is in the lock; isolation would fetch another one without hashes.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . </dev/null
printf '%s' "$wanted" >"$STAMP"
