#!/bin/bash
# Compiles the default AppArmor profile, which the daemon loads as it is: a developer's tool, for after a change of the profile.
# Needs apparmor_parser 3. The features are those of Linux 5.10, the oldest kernel that is promised; newer ones take them too.
. "$(dirname "$0")/env.sh"
profiles=$ROOT/crates/corten-engine/profiles
command -v apparmor_parser > /dev/null || die "install apparmor"
abi=/etc/apparmor.d/abi/3.0
# The machine's own kernel is not asked: it may have no AppArmor at all.
apparmor_parser --skip-cache --skip-kernel-load --policy-features "$abi" --kernel-features "$abi" --stdout \
  "$profiles/docker-default.apparmor" > "$profiles/docker-default.policy"
say "$(wc -c < "$profiles/docker-default.policy") bytes"
