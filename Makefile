# What one types here; the work is in scripts/ and in cargo.
#
#   make demo      build, start a sealed daemon, build and run examples/web, clean up
#   make test      everything that needs no other engine; ends with "N passed, N failed"
#   make test-vm   what needs another machine: cgroup v2 alone, systemd, AppArmor; boots one in qemu, takes ten minutes
#   make registry-image   the registry as a container image, by a daemon that runs (NAME=corten-registry)
#   make install   PREFIX=/usr/local   make uninstall   PREFIX=/usr/local

PREFIX ?= /usr/local
DESTDIR ?=

.PHONY: all build demo test test-vm lint registry-image install uninstall

all: build

build:
	@scripts/build.sh

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

test-vm:
	@scripts/test-vm.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

registry-image: build
	@CORTEN_BIN=$${CARGO_TARGET_DIR:-target}/release scripts/registry-image.sh $(NAME)

install:
	@scripts/install.sh "$(DESTDIR)" "$(PREFIX)"

uninstall:
	@scripts/install.sh --remove "$(DESTDIR)" "$(PREFIX)"
