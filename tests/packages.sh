#!/usr/bin/env bash
# Install the Debian packages named, where they are missing: `make packages`. Without root, or elsewhere: list them.
set -euo pipefail

# A package also counts where another one provides its name: Debian renames libraries (libtss2-tcti-swtpm0t64).
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}, ${Provides},\n' 2>/dev/null | grep '^installed ' || true)
missing=()
for each in "$@"; do
    grep -q " ${each}[ ,]" <<<"$installed" || missing+=("$each")
done
test ${#missing[@]} -gt 0 || exit 0

if test "$(id -u)" != 0 || ! command -v apt-get >/dev/null; then
    echo "not installed, so their tests are skipped by name: ${missing[*]}"
    echo "  on Debian: sudo apt-get install ${missing[*]}"
    exit 0
fi

can_be_had() { apt-get -qq --simulate install --no-install-recommends "$@" >/dev/null 2>&1; }

# What apt knows of the missing ones; a Debian may have dropped one.
sift() {
    wanted=("${missing[@]}")
    if can_be_had "${missing[@]}"; then return; fi
    wanted=()
    for each in "${missing[@]}"; do
        if can_be_had "$each"; then wanted+=("$each"); else echo "not on this Debian: $each"; fi
    done
}

if test -n "$(find /var/lib/apt/lists/partial -maxdepth 0 -mtime -1 2>/dev/null)"; then
    sift >/dev/null
    test ${#wanted[@]} -gt 0 || exit 0  # as it was told when the lists were fetched, today
fi
apt-get -qq update
sift
test ${#wanted[@]} -gt 0 || exit 0

echo "installing Debian packages: ${wanted[*]}"
# Servers installed for the tests must not start serving this host: policy-rc.d says no meanwhile.
policy=/usr/sbin/policy-rc.d
if ! test -e $policy; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${wanted[@]}" >/dev/null
