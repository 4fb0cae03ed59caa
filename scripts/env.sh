# Sourced by the other scripts: where build outputs go, and a static busybox for base images.
# Nothing is written into the clone or the system: all of it lies in $CORTEN_CACHE.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CORTEN_CACHE=${CORTEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/corten}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CORTEN_CACHE/target}
MUSL=$(uname -m)-unknown-linux-musl
BIN=$CARGO_TARGET_DIR/release
mkdir -p "$CORTEN_CACHE"

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Prints the path of a statically linked busybox: the machine's own, or Debian's package unpacked in the cache.
busybox_static() {
  local own
  for own in "${CORTEN_BUSYBOX:-}" /bin/busybox "$CORTEN_CACHE/busybox"; do
    if [ -n "$own" ] && [ -x "$own" ] && is_static "$own"; then
      echo "$own"
      return
    fi
  done
  command -v apt-get > /dev/null || die "no static busybox: set CORTEN_BUSYBOX to one"
  local dir
  dir=$(mktemp -d)
  (
    cd "$dir"
    if ! apt-get -qq download busybox-static > /dev/null 2>&1; then
      # The machine has no package lists: read them into a folder of our own.
      mkdir -p lists/partial
      apt-get -qq -o Dir::State::lists="$dir/lists" update > /dev/null
      apt-get -qq -o Dir::State::lists="$dir/lists" download busybox-static > /dev/null
    fi
    dpkg-deb -x busybox-static_*.deb root
    install -m 755 "$(find root -type f -name busybox | head -n 1)" "$CORTEN_CACHE/busybox"
  ) || { rm -rf "$dir"; die "could not get Debian's busybox-static: set CORTEN_BUSYBOX to a static busybox"; }
  rm -rf "$dir"
  echo "$CORTEN_CACHE/busybox"
}

# A dynamically linked program names its loader (PT_INTERP) right behind its headers.
is_static() { ! head -c 4096 "$1" | grep -qa '/ld-'; }
