#!/usr/bin/env bash
# Makes PostgreSQL's server programs be there for the tests, which start servers of their own.
#
# Idempotent. Installs Debian's package as root, without the cluster that it would make and start.
# Exits non-zero, saying what is missing, where it may not install.
set -euo pipefail

say() { printf 'setup-postgres: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

is_there() {
    local folder
    for folder in /usr/lib/postgresql/*/bin; do
        [ -x "$folder/initdb" ] && [ -x "$folder/psql" ] && return 0
    done
    command -v initdb >/dev/null && command -v psql >/dev/null
}

if is_there; then
    exit 0
fi
readonly REMEDY="apt-get install --no-install-recommends postgresql"
[ "$(id -u)" -eq 0 ] || fail "missing; run as root: $REMEDY"
command -v apt-get >/dev/null ||
    fail "missing, and this is not Debian: install PostgreSQL 13 or newer, with initdb and psql in PATH"
say "installing postgresql"
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
apt-get update -qq </dev/null >&2 || say "apt-get update failed; trying with the package lists there are"
apt-get install -y -qq --no-install-recommends postgresql </dev/null >&2 ||
    fail "apt-get could not install it; repair apt, then: $REMEDY"
is_there || fail "initdb is still missing after: $REMEDY"
