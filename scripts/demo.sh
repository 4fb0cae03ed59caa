#!/bin/bash
# The whole of Corten's main job, on a daemon of its own: nothing of this machine's other engines, images or networks is touched.
. "$(dirname "$0")/env.sh"

if [ -t 1 ]; then bold=$'\e[1;36m' plain=$'\e[0m'; else bold= plain=; fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
run() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; "$@"; }

[ "$(id -u)" = 0 ] || die "make demo needs root: it starts a daemon (try: sudo make demo)"

step "Build corten"
"$ROOT/scripts/build.sh"
ls -l "$BIN/corten" "$BIN/corten-shim" | awk '{ printf "%s  %.1f MB\n", $NF, $5 / 1048576 }'

work=$(mktemp -d /tmp/corten-demo.XXXXXX)
export DOCKER_HOST=unix://$work/corten.sock
corten() { "$BIN/corten" "$@"; }
daemon=
cleanup() {
  status=$?
  if [ -n "$daemon" ] && kill -0 "$daemon" 2> /dev/null; then
    corten ps -aq | while read -r id; do corten rm -f "$id" > /dev/null 2>&1 || true; done
    kill "$daemon" && wait "$daemon" || true
  fi
  [ $status -eq 0 ] || { say "The demo failed. The daemon's last lines:"; tail -n 20 "$work/daemon.log" >&2 || true; }
  rm -rf "$work" 2> /dev/null || true
}
trap cleanup EXIT

step "Start a sealed daemon: its own data, socket and network"
echo '{}' > "$work/daemon.json"
"$BIN/corten" daemon --data-root "$work/data" --exec-root "$work/run" --pidfile "$work/pid" \
  --config-file "$work/daemon.json" -H "$DOCKER_HOST" > "$work/daemon.log" 2>&1 &
daemon=$!
for _ in $(seq 200); do
  corten version > /dev/null 2>&1 && break
  kill -0 "$daemon" 2> /dev/null || die "the daemon ended: $(tail -n 3 "$work/daemon.log")"
  sleep 0.02
done
run corten version

step "Make a base image with no registry: Debian's busybox"
base=$work/base
mkdir -p "$base"/{bin,etc,tmp,root,home}
chmod 1777 "$base/tmp"
install -m 755 "$(busybox_static)" "$base/bin/busybox"
for applet in $("$base/bin/busybox" --list); do [ "$applet" = busybox ] || ln -s busybox "$base/bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' > "$base/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' > "$base/etc/group"
tar -C "$base" -c . | run corten import --change 'CMD ["sh"]' - busybox:latest
run corten images

step "Build the web application from its Dockerfile"
cp -r "$ROOT/examples/web" "$work/web"
run corten build -t web "$work/web"

step "Run it, published on a port that the kernel picks"
run corten run -d --name web -p 127.0.0.1::80 web
address=$(corten port web 80/tcp | head -n 1)

step "Fetch its page from $address"
fetch() { # URL-PATH, without any HTTP client on the machine
  exec 3<> "/dev/tcp/${address%:*}/${address##*:}"
  printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3
  cat <&3
  exec 3>&-
}
fetch / | grep -F 'It runs.' || die "the page did not come"
fetch /cgi-bin/about | sed -n '/^host/,$p'

step "See it, and look inside"
run corten ps
run corten logs web
run corten exec web ps

step "Change one file and build again: only what depends on it is rebuilt"
sed -i 's/It runs\./It runs again./' "$work/web/index.html"
run corten build -t web "$work/web" | tee "$work/build.log"
grep -q CACHED "$work/build.log" || die "no step was taken from the cache"
run corten rm -f web
run corten run -d --name web -p 127.0.0.1::80 web
address=$(corten port web 80/tcp | head -n 1)
fetch / | grep -F 'It runs again.' || die "the new page did not come"

step "Stop it and clean up"
run corten stop -t 2 web
run corten rm web
run corten rmi web
step "Done. Nothing is left of it."
