#!/usr/bin/env bash
# Prints the path of a development tool, building it once into a cache outside the checkout.
#
#   scripts/tool.sh opa|grpcurl|regal|runsc|logcheck|litewitness|cosign|spicy
#
# The tool on PATH is taken where its version is the wanted one, then the cached one; else it is built
# from the Go module proxy, whose checksum database pins every source. The cache is
# ${TOOLWARRANT_CACHE:-$HOME/.cache/toolwarrant}/tools/<name>-<version>/<name>.
set -euo pipefail

say() { printf 'tool: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

readonly NAME="${1:-}"
case "$NAME" in
    opa)
        VERSION=1.22.2
        PACKAGE=github.com/open-policy-agent/opa
        LDFLAGS='-s -w'
        RELEASE="https://github.com/open-policy-agent/opa/releases/tag/v$VERSION (opa_linux_amd64_static)"
        ;;
    grpcurl)
        VERSION=1.9.4
        PACKAGE=github.com/fullstorydev/grpcurl/cmd/grpcurl
        LDFLAGS="-s -w -X main.version=v$VERSION"
        RELEASE="https://github.com/fullstorydev/grpcurl/releases/tag/v$VERSION"
        ;;
    regal)
        VERSION=0.39.0
        PACKAGE=github.com/open-policy-agent/regal
        LDFLAGS="-s -w -X $PACKAGE/pkg/version.Version=$VERSION"
        RELEASE="https://github.com/open-policy-agent/regal/releases/tag/v$VERSION"
        ;;
    runsc)
        # gVisor tags no modules: a commit of its branch `go` stands for release-20260223.0.
        VERSION=0.0.0-20260224225140-573d5e7127a8
        PACKAGE=gvisor.dev/gvisor/runsc
        LDFLAGS="-s -w -X $PACKAGE/version.version=v$VERSION"
        RELEASE="https://gvisor.dev/docs/user_guide/install/ (built from commit 573d5e7127a8 with -X $PACKAGE/version.version=v$VERSION)"
        ;;
    logcheck)
        # Ours, of the Go checksum database's packages: its version is the digest of its sources.
        SOURCE="$(cd "$(dirname "${BASH_SOURCE[0]}")/../conformance/log/verifier" && pwd)"
        VERSION="$(cd "$SOURCE" && cat main.go go.mod go.sum | sha256sum | head -c 12)"
        PACKAGE=golang.org/x/mod
        LDFLAGS='-s -w'
        RELEASE="$SOURCE"
        ;;
    litewitness)
        # A C2SP witness. v0.10 needs a newer Go than the other tools do.
        VERSION=0.9.0
        PACKAGE=filippo.io/torchwood/cmd/litewitness
        LDFLAGS='-s -w'
        RELEASE="https://github.com/FiloSottile/torchwood (go install $PACKAGE@v$VERSION)"
        ;;
    cosign)
        VERSION=3.1.3
        PACKAGE=github.com/sigstore/cosign/v3/cmd/cosign
        LDFLAGS="-s -w -X sigs.k8s.io/release-utils/version.gitVersion=v$VERSION"
        RELEASE="https://github.com/sigstore/cosign/releases/tag/v$VERSION"
        ;;
    spicy)
        # It reads tlog-proofs. v0.10 needs a newer Go than the other tools do.
        VERSION=0.9.0
        PACKAGE=filippo.io/torchwood/cmd/spicy
        LDFLAGS='-s -w'
        RELEASE="https://github.com/FiloSottile/torchwood/releases/tag/v$VERSION"
        ;;
    *)
        fail "usage: scripts/tool.sh opa|grpcurl|regal|runsc|logcheck|litewitness|cosign|spicy"
        ;;
esac
readonly VERSION PACKAGE LDFLAGS RELEASE
readonly FOLDER="${TOOLWARRANT_CACHE:-$HOME/.cache/toolwarrant}/tools/$NAME-$VERSION"

version_of() {
    case "$NAME" in
        # The last part of a version without a tag is its commit; the whole of it is compared.
        runsc) "$1" --version 2>&1 | sed -nE 's/^runsc version v?//p' && return ;;
        grpcurl) "$1" -version 2>&1 ;;
        logcheck) return ;;
        # They have no option that tells: Go reads it out of the file.
        litewitness | spicy) go version -m "$1" 2>/dev/null | grep -P '^\tmod\t' ;;
        *) "$1" version 2>&1 ;;
    esac | sed -nE '1,/[0-9]+\.[0-9]+\.[0-9]+/s/.*[^0-9.]v?([0-9]+\.[0-9]+\.[0-9]+).*/\1/p' | head -n 1
}

build() {
    command -v go >/dev/null || fail "$NAME $VERSION is neither on PATH nor in $FOLDER, and Go is not here to build it.
  Remedy: install Go 1.26 or newer and run this again, or put $NAME $VERSION on PATH from $RELEASE"
    say "building $NAME $VERSION from the Go module proxy (a few minutes, once)"
    local scratch
    scratch="$(mktemp -d "$(dirname "$FOLDER")/.building-XXXXXX")"
    # shellcheck disable=SC2064  # the folder of now is the one to remove
    trap "rm -rf '$scratch'" EXIT
    mkdir "$scratch/out"
    export CGO_ENABLED=0
    if [ "$NAME" = regal ]; then
        # Its go.mod has replace directives, which `go install package@version` refuses: a module
        # of ours that requires it has none.
        (cd "$scratch" && go mod init toolwarrant.invalid/regal && go get "$PACKAGE@v$VERSION" &&
            nice -n 10 go build -mod=mod -trimpath -ldflags "$LDFLAGS" -o out/regal "$PACKAGE") >&2 ||
            fail "go could not build $NAME $VERSION; its words are above. Remedy: reach the Go module proxy, or put $NAME $VERSION on PATH from $RELEASE"
    elif [ "$NAME" = logcheck ]; then
        (cd "$SOURCE" && nice -n 10 go build -trimpath -ldflags "$LDFLAGS" -o "$scratch/out/logcheck" .) >&2 ||
            fail "go could not build $NAME; its words are above. Remedy: reach the Go module proxy, which has $PACKAGE"
    else
        GOBIN="$scratch/out" nice -n 10 go install -trimpath -ldflags "$LDFLAGS" "$PACKAGE@v$VERSION" >&2 ||
            fail "go could not build $NAME $VERSION; its words are above. Remedy: reach the Go module proxy, or put $NAME $VERSION on PATH from $RELEASE"
    fi
    # A rename within one file system: nobody ever finds half a tool.
    [ -e "$FOLDER" ] || mv -T "$scratch/out" "$FOLDER"
}

if on_path="$(command -v "$NAME")" && [ "$(version_of "$on_path")" = "$VERSION" ]; then
    printf '%s\n' "$on_path"
    exit
fi
if [ ! -x "$FOLDER/$NAME" ]; then
    mkdir -p "$(dirname "$FOLDER")"
    # One builder at a time; the one that waited finds the tool there.
    exec 9>"$FOLDER.lock"
    flock 9
    [ -x "$FOLDER/$NAME" ] || build
fi
printf '%s\n' "$FOLDER/$NAME"
