#!/usr/bin/env bash
# Makes a Docker Engine answer on the local socket: installs it on Debian as root, starts it detached.
#
# Idempotent. Exits non-zero, saying what is missing and how to get it, where it may not install.
# TOOLWARRANT_DOCKERD_LOG names the log file of an Engine that this script starts.
set -euo pipefail

readonly SOCKET=/var/run/docker.sock
readonly LOG="${TOOLWARRANT_DOCKERD_LOG:-/var/log/toolwarrant-dockerd.log}"
readonly PID_FILE=/var/run/docker.pid
readonly READY_S=60

say() { printf 'setup-docker: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Asks over HTTP itself: neither curl nor a docker client needs to be there.
engine_answers() {
    [ -S "$SOCKET" ] || return 1
    "${PYTHON:-python3}" - "$SOCKET" <<'PY' 2>/dev/null
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(5)
    connection.connect(sys.argv[1])
    connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
    sys.exit(b" 200 " not in connection.recv(64))
PY
}

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null; }

# Installs what is missing of "command=package" pairs; what another source installed is left alone,
# since docker.io and Docker's own packages exclude one another.
ensure() {
    local pair packages=()
    for pair in "$@"; do
        has "${pair%%=*}" || packages+=("${pair#*=}")
    done
    [ "${#packages[@]}" -gt 0 ] || return 0
    local remedy="apt-get install --no-install-recommends ${packages[*]}"
    [ "$(id -u)" -eq 0 ] || fail "missing; run as root: $remedy (or use a machine with an Engine on $SOCKET)"
    has apt-get ||
        fail "missing: ${packages[*]} (Debian's names), and this is not Debian: install Docker Engine 20.10 or newer and mmdebstrap from your distribution, then run this again"
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null >&2 || say "apt-get update failed; trying with the package lists there are"
    apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >&2 ||
        fail "apt-get could not install ${packages[*]}; repair apt, then: $remedy"
    for pair in "$@"; do
        has "${pair%%=*}" || fail "${pair%%=*} is still missing after: $remedy"
    done
}

start_engine() {
    [ "$(id -u)" -eq 0 ] ||
        fail "no Engine answers on $SOCKET; start it as root (dockerd -H unix://$SOCKET), and let this user read the socket (group docker)"
    # An Engine that was killed leaves its pid file; a recycled pid there would refuse the next start.
    if [ -f "$PID_FILE" ] && [ "$(cat "/proc/$(cat "$PID_FILE")/comm" 2>/dev/null || true)" != dockerd ]; then
        rm -f "$PID_FILE"
    fi
    say "starting dockerd, log in $LOG"
    # Every descriptor is closed or redirected: a caller that waits for our pipes must not hang.
    PATH="$PATH:/usr/sbin:/sbin" setsid nohup dockerd -H "unix://$SOCKET" --pidfile "$PID_FILE" \
        </dev/null >>"$LOG" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    local deadline=$((SECONDS + READY_S))
    until engine_answers; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$!" 2>/dev/null; then
            tail -n 20 "$LOG" >&2 || true
            fail "dockerd did not answer on $SOCKET; its last lines are above, all of them in $LOG"
        fi
        sleep 0.2
    done
}

if ! engine_answers; then
    # docker.io brings containerd and runc; iptables is only recommended there, but bridges need it.
    ensure dockerd=docker.io iptables=iptables
    start_engine
fi
# Makes the base image where no registry answers. Elsewhere than on Debian as root the image builder
# says what it lacks, if it comes to that.
if [ "$(id -u)" -eq 0 ] && has apt-get; then
    ensure mmdebstrap=mmdebstrap
fi
say "the Engine answers on $SOCKET"
