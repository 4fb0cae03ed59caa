#!/bin/bash
# The tests that need another machine: cgroup v2 alone, AppArmor, systemd as process 1. Boots Debian's kernel in qemu, without KVM,
# with the tests and what they need in memory; nothing is installed and nothing is left. Needs qemu-system-x86_64 and cpio;
# debootstrap for the part with systemd.
#
# usage: test-vm.sh [plain] [systemd]     env: CORTEN_VM_FILTER (words of engine cases), CORTEN_VM_KERNEL (folder with boot/ and lib/modules/)
# Ends with one line: N passed, N failed
. "$(dirname "$0")/env.sh"
cd "$ROOT"

[ "$(uname -m)" = x86_64 ] || die "the machine is built for x86_64 only"
for tool in qemu-system-x86_64 cpio dpkg-deb; do
  command -v "$tool" > /dev/null || { say "skipped: no $tool"; echo "0 passed, 0 failed"; exit 0; }
done
[ $# -gt 0 ] || set -- plain systemd

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Debian's kernel for clouds, unpacked once.
kernel() {
  local dir=${CORTEN_VM_KERNEL:-$CORTEN_CACHE/vm/kernel}
  if ! ls "$dir"/boot/vmlinuz-* > /dev/null 2>&1; then
    local package
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ { print $2; exit }')
    [ -n "$package" ] || die "no linux-image-cloud-amd64 in the package lists: run apt-get update, or set CORTEN_VM_KERNEL"
    (cd "$work" && apt-get -qq download "$package" 2> /dev/null && mkdir -p "$dir" && dpkg-deb -x "$package"_*.deb "$dir") \
      || die "could not get Debian's kernel"
  fi
  echo "$dir"
}

# A program with the libraries it is linked to, at the same paths.
with_libraries() {
  local root=$1 from=$2 to=$3 library
  install -D -m 755 "$from" "$root$to"
  strip "$root$to" 2> /dev/null || true
  for library in $(ldd "$from" 2> /dev/null | grep -o '/[^ ]*'); do
    [ -e "$root$library" ] || install -D -m 755 "$(readlink -f "$library")" "$root$library"
  done
}

# The modules that containers and their networks need.
modules() {
  local root=$1 version
  version=$(basename "$KERNEL"/lib/modules/*)
  local from=$KERNEL/lib/modules/$version to=$root/lib/modules/$version
  mkdir -p "$to/kernel"
  cp "$from"/modules.{order,builtin,builtin.modinfo} "$to/"
  (cd "$from/kernel" && cp -r --parents net fs/overlayfs fs/fuse lib crypto drivers/net/veth.ko drivers/net/dummy.ko "$to/kernel/" 2> /dev/null) || true
  # Debian's loader of modules (a link, by its path there) reads an index of its own.
  if [ -L "$root/usr/sbin/depmod" ]; then
    chroot "$root" depmod "$version"
  else
    "$busybox" depmod -b "$root" "$version"
  fi
}

tests() {
  local root=$1 busybox=$2 name path
  with_libraries "$root" "$CARGO_TARGET_DIR/debug/corten" /test/bin/corten
  install -m 755 "$CARGO_TARGET_DIR/$MUSL/debug/corten-shim" "$root/test/bin/corten-shim"
  while read -r name path; do
    with_libraries "$root" "$path" "/test/$name"
  done < "$work/executables"
  install -D -m 755 "$busybox" "$root/test/busybox"
  install -m 755 scripts/vm/run "$root/test/run"
  # Not what has nothing to do with kernels and cgroups, or waits for less time than this machine takes.
  printf '%s\n' "${CORTEN_VM_FILTER-engine::system engine::containers engine::exec engine::streams engine::volumes engine::networks engine::links engine::cli}" \
    > "$root/test/filter"
}

# A folder's content as the first filesystem, with the script that moves it into one that containers can be made in.
pack() {
  install -m 755 scripts/vm/init "$1/init"
  (cd "$1" && find . -print0 | cpio --quiet -0 -o -H newc > "$2")
}

plain_root() {
  local root=$1 busybox=$2 applet
  mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,run,tmp,root,var/lib,test}
  install -m 755 "$busybox" "$root/bin/busybox"
  for applet in $("$busybox" --list); do
    [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
  done
  ln -s ../bin/busybox "$root/sbin/modprobe"
  ln -s ../bin/busybox "$root/sbin/init"
  printf 'root:x:0:0:root:/root:/bin/sh\n' > "$root/etc/passwd"
  printf 'root:x:0:\n' > "$root/etc/group"
}

systemd_root() {
  local base=$CORTEN_CACHE/vm/debian
  if [ ! -e "$base/.done" ]; then
    rm -rf "$base"
    mkdir -p "$base"
    debootstrap --variant=minbase --include=systemd-sysv,dbus,kmod bookworm "$base" > "$work/debootstrap.log" 2>&1 \
      || { tail -n 3 "$work/debootstrap.log" >&2; die "could not make a Debian with systemd"; }
    rm -rf "$base"/var/cache/apt/* "$base"/var/lib/apt/lists/* "$base"/usr/share/{doc,man,locale,info}
    touch "$base/.done"
  fi
  cp -a "$base/." "$1/"
  mkdir -p "$1/test"
  install -m 644 scripts/vm/corten-test.service "$1/etc/systemd/system/"
  mkdir -p "$1/etc/systemd/system/multi-user.target.wants"
  ln -s ../corten-test.service "$1/etc/systemd/system/multi-user.target.wants/"
  # Nobody logs in, and nothing else is under test.
  ln -sf /dev/null "$1/etc/systemd/system/getty@.service"
  ln -sf /dev/null "$1/etc/systemd/system/serial-getty@.service"
}

boot() {
  local name=$1 image=$2 log=$work/$1.log
  say "booting $name"
  timeout -k 10 "${CORTEN_VM_LIMIT:-1500}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m "$3" -nographic -no-reboot -nodefaults \
    -serial stdio -kernel "$(ls "$KERNEL"/boot/vmlinuz-*)" -initrd "$image" \
    -append "console=ttyS0 panic=-1 quiet loglevel=3 apparmor=1 security=apparmor corten.part=$name" < /dev/null 2>&1 \
    | sed -u 's/\r//g' | tee "$log" | sed -un 's/^vm: //p'
}

KERNEL=$(kernel)
busybox=$(busybox_static)
cargo build -q -p corten
# The monitor is the init of containers too, which have no libraries.
cargo build -q -p corten-shim --bin corten-shim --target "$MUSL"
cargo test -q --no-run -p corten-runtime --test container
cargo test -q --no-run -p corten-tests --test engine --test runtime
# The newest build of each test program.
for name in container engine runtime; do
  path=$(find "$CARGO_TARGET_DIR/debug/deps" -maxdepth 1 -name "$name-*" -type f -perm -100 -printf '%T@ %p\n' | sort -n | tail -n 1)
  [ -z "$path" ] || echo "$name ${path#* }"
done > "$work/executables"

for part in "$@"; do
  root=$work/$part
  mkdir -p "$root"
  case $part in
    plain) plain_root "$root" "$busybox"; memory=3072 ;;
    systemd)
      if ! command -v debootstrap > /dev/null; then
        say "skipped: the part with systemd needs debootstrap"
        continue
      fi
      systemd_root "$root"
      memory=4096
      ;;
    *) die "there is no part $part" ;;
  esac
  modules "$root"
  tests "$root" "$busybox"
  pack "$root" "$work/$part.img"
  rm -rf "$root"
  boot "$part" "$work/$part.img" "$memory"
  rm -f "$work/$part.img"
  grep -q '^vm: done$' "$work/$part.log" || { tail -n 25 "$work/$part.log" >&2; echo "vm: $part did not end" >> "$work/$part.log"; }
done

passed=$(cat "$work"/*.log | grep -c '^vm: test .* \.\.\. ok$' || true)
failed=$(cat "$work"/*.log | grep -cE '^vm: (test .* \.\.\. FAILED|.* did not end)$' || true)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
