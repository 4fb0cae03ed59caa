#!/bin/bash
# Who pushed what to which registry, and who can pull it: every tool with every tool, on our registry and on another.
#
#   scripts/registry-interop.sh          as root; CORTEN_BIN: folder with corten, CORTEN_PEERS: folder with bin/ of the tools
#
# In a network, mount and process namespace of its own: everything that is started ends with it. A tool that is not there is
# left out and said. Ends with "N passed, N failed".
set -u
if [ "${1:-}" != inside ]; then
    [ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 0; }
    [ -n "${CORTEN_BIN:-}" ] || { echo "CORTEN_BIN is not set"; exit 1; }
    work=$(mktemp -d) || exit 1
    work="$work" unshare --net --mount --pid --fork --mount-proc --kill-child "$0" inside
    code=$?
    rm -rf "$work"
    exit "$code"
fi

export PATH="$CORTEN_BIN:${CORTEN_PEERS:-/nowhere}/bin:$PATH" HOME="$work/home" XDG_RUNTIME_DIR="$work/xdg"
export DOCKER_CONFIG="$work/docker-config" CONTAINERS_REGISTRIES_CONF="$work/registries.conf"
mkdir -p "$HOME" "$XDG_RUNTIME_DIR" "$DOCKER_CONFIG"
export CONTAINERS_CONF="$work/containers.conf" PODMAN_IGNORE_CGROUPSV1_WARNING=1 COSIGN_EXPERIMENTAL=1
cd "$work" || exit 1
ip link set lo up
: > registries.conf
mkdir -p "$HOME/.config/containers"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' > "$HOME/.config/containers/policy.json"
printf '[engine]\nhelper_binaries_dir = ["%s"]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' "${CORTEN_PEERS:-/nowhere}/bin" > containers.conf
passed=0 failed=0
ours=127.0.0.1:5000 theirs=127.0.0.1:5001
has() { command -v "$1" > /dev/null || { echo "notice: no $1 here"; false; }; }
check() {
    local name=$1; shift
    if "$@" > "$work/out" 2>&1; then passed=$((passed + 1)); echo "test $name ... ok"
    else failed=$((failed + 1)); echo "test $name ... FAILED"; sed 's/^/    /' "$work/out" | tail -8; fi
}
await() { for _ in $(seq 300); do "$@" > /dev/null 2>&1 && return 0; sleep 0.1; done; echo "not there: $*"; exit 1; }

corten registry serve --listen $ours --data-root "$work/registry" --access-log off > registry.log 2>&1 &
await curl -sf http://$ours/v2/
registries=$ours
if has docker-registry; then
    cat > theirs.yml <<YML
version: 0.1
storage: {filesystem: {rootdirectory: $work/theirs}, delete: {enabled: true}}
http: {addr: $theirs}
YML
    docker-registry serve theirs.yml > theirs.log 2>&1 &
    await curl -sf http://$theirs/v2/
    registries="$ours $theirs"
fi

# Daemons: the real Docker and ours, each with its own everything.
tools=
if has dockerd; then
    echo '{"features": {"containerd-snapshotter": true}}' > dockerd.json
    dockerd --config-file dockerd.json --data-root "$work/dockerd" --exec-root "$work/dockerd-run" --pidfile "$work/dockerd.pid" \
        -H "unix://$work/docker.sock" > dockerd.log 2>&1 &
    await curl -sf --unix-socket "$work/docker.sock" http://d/_ping
    tools="$tools docker"
fi
echo '{}' > corten.json
corten daemon --config-file corten.json --data-root "$work/corten" --exec-root "$work/corten-run" --pidfile "$work/corten.pid" \
    --cgroup-parent "/corten-interop-$$" --bridge none -H "unix://$work/corten.sock" > corten.log 2>&1 &
await curl -sf --unix-socket "$work/corten.sock" http://d/_ping
docker() { DOCKER_HOST="unix://$work/docker.sock" command docker "$@"; }
corten() { DOCKER_HOST="unix://$work/corten.sock" command corten "$@"; }
podman() { command podman --root "$work/podman" --runroot "$work/podman-run" --storage-driver vfs "$@"; }
skopeo() { command skopeo --insecure-policy "$@"; }
for tool in podman skopeo crane oras; do has $tool && tools="$tools $tool"; done
tools="$tools corten"

# The image: two layers, made by our builder.
mkdir context
head -c 3000000 /dev/urandom > context/data
printf 'FROM scratch\nCOPY data /data\nCOPY Dockerfile /etc/origin\nLABEL a=b\nCMD ["/none"]\n' > context/Dockerfile
DOCKER_BUILDKIT=0 corten build -q -t source:1 context > /dev/null
corten save -o corten-save.tar source:1
mkdir layout && tar -xf corten-save.tar -C layout
corten image inspect source:1 --format '{{.Id}}' > corten.id

push() { # TOOL NAME
    case $1 in
    docker) docker load -i corten-save.tar && docker tag source:1 "$2" && docker push "$2" ;;
    corten) corten tag source:1 "$2" && corten push "$2" ;;
    podman) podman load -i corten-save.tar && podman push --tls-verify=false source:1 "$2" ;;
    skopeo) skopeo copy --dest-tls-verify=false "oci:layout" "docker://$2" ;;
    crane) crane push --insecure layout "$2" ;;
    oras) oras cp --from-oci-layout "layout@$(cat corten.id)" --to-plain-http "$2" ;;
    esac
}
types="application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"
digest() { curl -sfI -H "Accept: $types" "http://${1%%/*}/v2/$(echo "${1#*/}" | tr ':' ' ' | sed 's| |/manifests/|')" |
    tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p'; }
pull() { # TOOL NAME DIGEST: fails where what was pulled has another digest
    rm -rf pulled
    case $1 in
    docker) docker rmi -f "$2"; docker pull -q "$2" && docker image inspect --format '{{.RepoDigests}}' "$2" | grep "@$3" ;;
    corten) corten rmi -f "$2"; corten pull -q "$2" && corten image inspect --format '{{.RepoDigests}}' "$2" | grep "@$3" ;;
    podman) podman pull -q --tls-verify=false "$2" && podman image inspect --format '{{.RepoDigests}}' "$2" | grep "@$3" ;;
    skopeo) skopeo copy --src-tls-verify=false "docker://$2" dir:pulled && echo "${3#*:}  pulled/manifest.json" | sha256sum -c ;;
    crane) crane pull --insecure --format oci "$2" pulled && grep "$3" pulled/index.json ;;
    oras) oras cp --from-plain-http "$2" --to-oci-layout pulled:x && grep "$3" pulled/index.json ;;
    esac
}
load() { # TOOL FILE NAME
    case $1 in
    docker) docker load -i "$2" && docker image inspect "$3" ;;
    corten) corten load -i "$2" && corten image inspect "$3" ;;
    podman) podman load -i "$2" && podman image inspect "$3" ;;
    skopeo)
        case $2 in
        *docker*) skopeo copy "docker-archive:$2" dir:loaded ;;
        *) skopeo copy "oci-archive:$2" dir:loaded || skopeo copy "docker-archive:$2" dir:loaded ;;
        esac
        ;;
    esac
}

for registry in $registries; do
    which=ours; [ $registry = $theirs ] && which=docker-registry
    for pusher in $tools; do
        check "$which::pushed_by_$pusher" push "$pusher" "$registry/by/$pusher:1"
        wanted=$(digest "$registry/by/$pusher:1")
        for puller in $tools; do
            check "$which::pushed_by_$pusher::pulled_by_$puller" pull "$puller" "$registry/by/$pusher:1" "${wanted:-none}"
        done
    done
done

archives="corten-save.tar"
case " $tools " in *" docker "*) docker save -o docker-save-docker.tar source:1 && archives="$archives docker-save-docker.tar" ;; esac
case " $tools " in *" podman "*)
    podman save -q --format docker-archive -o podman-save-docker.tar source:1 && archives="$archives podman-save-docker.tar"
    podman save -q --format oci-archive -o podman-save-oci.tar source:1 && archives="$archives podman-save-oci.tar" ;;
esac
case " $tools " in *" skopeo "*)
    skopeo copy -q oci:layout oci-archive:skopeo-oci.tar:docker.io/library/source:1 && archives="$archives skopeo-oci.tar" ;;
esac
for archive in $archives; do
    for loader in docker podman skopeo corten; do
        case " $tools " in *" $loader "*) ;; *) continue ;; esac
        [ "$loader" = skopeo ] || { docker rmi -f source:1; corten rmi -f source:1; } > /dev/null 2>&1
        check "${archive%.tar}::loaded_by_$loader" load "$loader" "$archive" source:1
    done
done

# Signatures are referrers; both tools sign by digest and find what they signed.
target="$ours/by/corten@$(digest "$ours/by/corten:1")"
if has cosign; then
    export COSIGN_PASSWORD=
    check "cosign::makes_a_key" cosign generate-key-pair
    # Without transparency log and time stamps: they are other machines.
    cosign signing-config create --out signing.json > /dev/null 2>&1
    check "cosign::signs" cosign sign --yes --key cosign.key --signing-config signing.json --allow-http-registry "$target"
    check "cosign::verifies" cosign verify --key cosign.pub --insecure-ignore-tlog=true --allow-http-registry "$target"
    check "cosign::is_a_referrer" sh -c "curl -sf http://$ours/v2/by/corten/referrers/${target#*@} | grep sigstore"
fi
if has notation; then
    check "notation::makes_a_key" notation cert generate-test --default interop
    check "notation::signs" notation sign --insecure-registry "$target"
    check "notation::lists" sh -c "notation list --insecure-registry $target | grep -c application/vnd.cncf.notary.signature"
fi
if has oras; then
    echo bom > sbom.json
    check "oras::attaches" oras attach --plain-http --artifact-type application/x.sbom "$target" sbom.json
    check "oras::discovers" sh -c "oras discover --plain-http --format json $target | grep application/x.sbom"
fi

for job in $(jobs -p); do kill "$job" 2> /dev/null; done
wait
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
