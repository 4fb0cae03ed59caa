#!/bin/bash
# Every test that needs no other engine. Where a real dockerd is found ($CORTEN_PEERS/bin, or PATH), each API case runs on it first.
# Ends with one line: N passed, N failed.
. "$(dirname "$0")/env.sh"
cd "$ROOT"

CORTEN_BUSYBOX=$(busybox_static)
export CORTEN_BUSYBOX
scripts/build.sh
export CORTEN_BIN=$BIN

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$log" | grep -vE '^(test .* \.\.\. ok|running [0-9]+ tests?|)$' || status=${PIPESTATUS[0]}

# Each test binary closes with: test result: ok. N passed; N failed; N ignored; ...
read -r passed failed < <(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$log")
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
  failed=1 # a test program did not build, or died before its closing line
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
