#!/bin/bash
# The registry as a container image, made by our own builder: nothing in it but corten, the shared libraries it is linked with,
# and the certificate authorities of this machine (for caches of other registries).
#
#   scripts/registry-image.sh [NAME]      CORTEN_BIN: folder with corten; a daemon must answer (DOCKER_HOST)
set -eu
name=${1:-corten-registry}
corten=${CORTEN_BIN:?CORTEN_BIN is not set}/corten
here=$(cd "$(dirname "$0")/.." && pwd)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$here/examples/registry/Dockerfile" "$here/examples/registry/registry.toml" "$context"
mkdir -p "$context/root/usr/bin" "$context/root/etc/ssl/certs" "$context/root/var/lib/corten-registry"
cp "$corten" "$context/root/usr/bin/corten"
[ -e /etc/ssl/certs/ca-certificates.crt ] && cp -L /etc/ssl/certs/ca-certificates.crt "$context/root/etc/ssl/certs/"
# A static corten needs none of these.
{ ldd "$corten" 2> /dev/null || true; } | sed -n 's/.*\(=> \|^\t\)\(\/[^ ]*\) (.*/\2/p' | while read -r library; do
    mkdir -p "$context/root$(dirname "$library")"
    cp -L "$library" "$context/root$library"
done
DOCKER_BUILDKIT=0 "$corten" build -q -t "$name" "$context" > /dev/null
"$corten" image ls "$name"
