#!/bin/bash
# Builds corten and its helper corten-shim into $CARGO_TARGET_DIR/release.
. "$(dirname "$0")/env.sh"
cd "$ROOT"

command -v cargo > /dev/null || die "cargo is not installed: https://rustup.rs"

# The monitor is linked statically: it must start fast, and load nothing from anywhere.
if rustc --print target-libdir --target "$MUSL" 2> /dev/null | xargs -r test -d; then
  target=$MUSL
elif command -v rustup > /dev/null && rustup -q target add "$MUSL" > /dev/null 2>&1; then
  target=$MUSL
else
  say "The target $MUSL is not to be had: corten-shim is linked statically with this machine's libc."
  target=$(rustc -vV | sed -n 's/^host: //p')
  export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static"
fi
cargo build --quiet --locked -p corten-shim --bin corten-shim --profile shim --target "$target"
unset RUSTFLAGS
cargo build --quiet --locked --release -p corten
install -m 755 "$CARGO_TARGET_DIR/$target/shim/corten-shim" "$BIN/corten-shim"
