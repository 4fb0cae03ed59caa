#!/bin/bash
# Installs corten, or removes it again: install.sh [--remove] DESTDIR PREFIX
. "$(dirname "$0")/env.sh"
cd "$ROOT"

remove=
[ "$1" = --remove ] && { remove=1; shift; }
dest=$1 prefix=$2
at=$dest$prefix

bin=$at/bin/corten
shim=$at/libexec/corten/corten-shim
units=$at/lib/systemd/system
bash=$at/share/bash-completion/completions/corten
zsh=$at/share/zsh/site-functions/_corten
fish=$at/share/fish/vendor_completions.d/corten.fish

if [ -n "$remove" ]; then
  rm -f "$bin" "$shim" "$units/corten.service" "$units/corten.socket" "$bash" "$zsh" "$fish"
  rmdir "$at/libexec/corten" 2> /dev/null || true
  say "Removed. Images, containers and volumes stay in /var/lib/corten."
  exit
fi

scripts/build.sh
install -D -m 755 "$BIN/corten" "$bin"
install -D -m 755 "$BIN/corten-shim" "$shim"
install -d "$units"
sed "s|@PREFIX@|$prefix|g" dist/systemd/corten.service > "$units/corten.service"
install -m 644 dist/systemd/corten.socket "$units/corten.socket"
for shell in bash zsh fish; do
  install -d "$(dirname "${!shell}")"
  "$bin" completion "$shell" > "${!shell}"
done
# The socket belongs to the group corten, as Docker's does to docker: its members are as powerful as root.
if [ -z "$dest" ] && ! getent group corten > /dev/null; then
  groupadd --system corten
fi
say "Installed in $at. Start it: systemctl daemon-reload && systemctl enable --now corten.socket corten.service"
