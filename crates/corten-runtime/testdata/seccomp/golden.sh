#!/bin/bash
# Makes the golden filters beside this script: what the kernel was given by runc and libseccomp.
#   <set>.bpf    containers of a running Docker, with its builtin profile, for a set of capabilities
#   arches.bpf   the default set's rules and those of ARM, for all five architectures, by runc alone
# Each file is the kernel's own copy of the program, read by ptrace(2): an array of struct sock_filter.
# Needs root, a Docker on x86-64 that $DOCKER_HOST names, runc and python3 in PATH, a C compiler, and a static busybox.
# Made with Docker 28.5.2, runc 1.3.6, libseccomp 2.6.1, Linux 6.18.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
busybox=${1:-/bin/busybox}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cc -O1 -Wall -o "$tmp/dump" "$here/dump.c"
mkdir -p "$tmp/rootfs/bin"
cp "$busybox" "$tmp/rootfs/bin/busybox"
ln -s busybox "$tmp/rootfs/bin/sleep"
tar -C "$tmp/rootfs" -c . | docker import - corten-golden > /dev/null

golden() {
  local name=$1 id
  shift
  id=$(docker run -d "$@" corten-golden sleep 1000)
  "$tmp/dump" "$(docker inspect -f '{{.State.Pid}}' "$id")" > "$here/$name.bpf"
  cat "$(find / -path /proc -prune -o -path "*moby/$id/config.json" -print -quit 2> /dev/null)" > "$tmp/$name.json"
  docker rm -f "$id" > /dev/null
}
golden default
golden none --cap-drop ALL
golden all --cap-add ALL
golden admin --cap-add SYS_ADMIN
golden some --cap-drop ALL --cap-add BPF --cap-add PERFMON --cap-add SYSLOG --cap-add SYS_TIME --cap-add SYS_NICE --cap-add SYS_CHROOT
docker rmi -f corten-golden > /dev/null

cd "$tmp"
runc spec
python3 - "$tmp/default.json" << 'PYTHON'
import json, sys
rules = json.load(open(sys.argv[1]))["linux"]["seccomp"]
rules["architectures"] += ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
arm = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls".split()
rules["syscalls"].append({"names": arm, "action": "SCMP_ACT_ALLOW"})
spec = json.load(open("config.json"))
spec["process"].update(args=["/bin/sleep", "1000"], terminal=False)
spec["linux"]["seccomp"] = rules
json.dump(spec, open("config.json", "w"))
PYTHON
runc --root "$tmp/state" run -d golden > /dev/null < /dev/null 2>&1
"$tmp/dump" "$(runc --root "$tmp/state" state golden | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')" > "$here/arches.bpf"
runc --root "$tmp/state" delete -f golden
