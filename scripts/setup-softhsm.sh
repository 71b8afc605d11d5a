#!/usr/bin/env bash
# Makes SoftHSM be there for the tests: a PKCS#11 token in software, each test with one of its own.
#
# Idempotent. Installs Debian's package as root. Exits non-zero, saying what is missing, where it may
# not install. SOFTHSM_MODULE names the library where it lies elsewhere.
set -euo pipefail

say() { printf 'setup-softhsm: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

is_there() {
    command -v softhsm2-util >/dev/null || return 1
    local library
    for library in "${SOFTHSM_MODULE:-}" /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so; do
        [ -f "$library" ] && return 0
    done
    return 1
}

if is_there; then
    exit 0
fi
readonly REMEDY="apt-get install --no-install-recommends softhsm2"
[ "$(id -u)" -eq 0 ] || fail "missing; run as root: $REMEDY"
command -v apt-get >/dev/null ||
    fail "missing, and this is not Debian: install SoftHSM 2.6 or newer, name its library by SOFTHSM_MODULE"
say "installing softhsm2"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq </dev/null >&2 || say "apt-get update failed; trying with the package lists there are"
apt-get install -y -qq --no-install-recommends softhsm2 </dev/null >&2 ||
    fail "apt-get could not install it; repair apt, then: $REMEDY"
is_there || fail "SoftHSM's library is still missing after: $REMEDY"
