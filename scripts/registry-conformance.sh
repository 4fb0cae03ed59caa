#!/bin/bash
# The specification's own conformance suite on our registry.
#
#   scripts/registry-conformance.sh SUITE      SUITE: a checkout of the distribution specification, or its conformance folder
#
# Needs go; CORTEN_BIN: folder with corten. Writes a report to target/conformance. Ends with what each category did.
set -eu
suite=${1:-${CORTEN_CONFORMANCE:-}}
[ -d "$suite/conformance" ] && suite="$suite/conformance"
[ -n "$suite" ] && [ -e "$suite/go.mod" ] || { echo "skipped: no conformance suite named"; exit 0; }
command -v go > /dev/null || { echo "skipped: no go here"; exit 0; }
corten=${CORTEN_BIN:?CORTEN_BIN is not set}/corten
report=${CARGO_TARGET_DIR:-target}/conformance
mkdir -p "$report"
report=$(cd "$report" && pwd)
(cd "$suite" && go build -o "$report/suite" .)
work=$(mktemp -d)
"$corten" registry serve --listen 127.0.0.1:0 --data-root "$work" --access-log off 2> "$work/log" &
pid=$!
trap 'kill $pid 2> /dev/null; wait $pid 2> /dev/null; rm -rf "$work"' EXIT
for _ in $(seq 200); do
    address=$(sed -n 's/.*the registry listens address=//p' "$work/log")
    [ -n "$address" ] && break
    sleep 0.05
done
cd "$report"
for version in 1.1 dev; do
    echo "version $version"
    OCI_REGISTRY=$address OCI_TLS=disabled OCI_VERSION=$version OCI_REPO1=conformance/one OCI_REPO2=conformance/two \
        OCI_RESULTS_DIR="$report/$version" ./suite > "$version.txt" || { grep -E 'Fail|Error' "$version.txt" | head -20; exit 1; }
    sed -n '/^API conformance/,$p' "$version.txt"
done
