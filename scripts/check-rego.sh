#!/usr/bin/env bash
# Checks the policy library: format, strict compilation against schemas and capabilities, tests, lint.
set -euo pipefail
cd "$(dirname "$0")/.."

opa="$(scripts/tool.sh opa)"
regal="$(scripts/tool.sh regal)"

unformatted="$("$opa" fmt --list policies_rego)"
if [ -n "$unformatted" ]; then
    printf 'check-rego: run `opa fmt --write` on: %s\n' "$unformatted" >&2
    exit 1
fi
# As a bundle: read loosely, schemas and capabilities would be taken for data.
"$opa" check --strict --bundle --schema policies_rego/schemas --capabilities policies_rego/capabilities.json policies_rego
"$opa" test --bundle policies_rego
"$regal" lint --format compact policies_rego
