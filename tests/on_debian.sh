#!/usr/bin/env bash
# Run a command in this checkout on another Debian: `make test-debian DEBIAN=trixie` runs the whole suite there.
#
#     tests/on_debian.sh RELEASE [COMMAND]
#
# The first run bootstraps a root below $CERTAGENT_ROOTS (/var/cache/certagent-tests, some 2 GB each with what the tests
# install there); later ones use it again. To begin anew, remove it. Each run gets a fresh copy of the checkout, as it
# lies here, at /root/checkout.
#
# The root is a machine of its own as far as the tests can tell: its own mounts, with the root as `/` by pivot_root, so
# that systemd-nspawn boots containers in it; its own processes, all of which end with the command. The network is the
# host's, for apt and pip.
set -euo pipefail

release=${1:?usage: tests/on_debian.sh RELEASE [COMMAND]}
command=${2:-make test}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
roots=${CERTAGENT_ROOTS:-/var/cache/certagent-tests}
root=$roots/$release
mirror=http://deb.debian.org/debian

say() { echo "$0: $*" >&2; }

test "$(id -u)" = 0 || { say "needs root, to make and enter another Debian"; exit 1; }
for program in debootstrap unshare git; do
    command -v $program >/dev/null || { say "$program is missing (Debian: apt-get install debootstrap util-linux git)"; exit 1; }
done

bootstrap() {
    say "bootstrapping $release in $root"
    rm -rf "$root.new"
    mkdir -p "$root.new"
    debootstrap --variant=minbase --include=ca-certificates,git,make,python3-venv,netbase \
        "$release" "$root.new" "$mirror" >"$roots/$release.log" 2>&1 || { tail -n 5 "$roots/$release.log" >&2; exit 1; }
    test "$release" = sid || {
        echo "deb $mirror $release-updates main"
        echo "deb http://deb.debian.org/debian-security $release-security main"
    } >>"$root.new/etc/apt/sources.list"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root.new/etc/hosts"
    mv "$root.new" "$root"
}

# How this host reaches apt's and pip's servers is how the root does: names, and CAs that this host was told to trust.
connect() {
    cat /etc/resolv.conf >"$root/etc/resolv.conf"
    cp -r /usr/local/share/ca-certificates "$root/usr/local/share/"
    chroot "$root" update-ca-certificates >/dev/null 2>&1
}

copy_checkout() {
    rm -rf "$root/root/checkout"
    mkdir -p "$root/root/checkout"
    git -C "$checkout" ls-files -z --cached --others --exclude-standard --deduplicate |
        tar -C "$checkout" --create --null --no-recursion --files-from=- --ignore-failed-read 2>/dev/null |
        tar -C "$root/root/checkout" --extract
    # A test clones the checkout, so it has to be a repository, with all of this in it.
    git -C "$root/root/checkout" init --quiet
    git -C "$root/root/checkout" add --all
    git -C "$root/root/checkout" -c user.name=tests -c user.email=tests@localhost commit --quiet --message="as tested"
    chown -R 0:0 "$root/root/checkout"
}

# In namespaces of its own: the root becomes `/`, the old one goes.
# shellcheck disable=SC2016  # expanded by the inner shell
enter='
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir -p run/old
pivot_root . run/old
cd /
umount -l /run/old
cd /root/checkout
exec bash -c "$2" </dev/null
'

mkdir -p "$roots"
exec 9>"$roots/$release.lock"
flock 9
test -d "$root" || bootstrap
connect
copy_checkout
say "running on $release: $command"
environment=(HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
while IFS= read -r -d '' each; do
    case $each in
        PIP_CERT=* | PIP_INDEX_URL=* | PIP_DEFAULT_TIMEOUT=* | http_proxy=* | https_proxy=* | no_proxy=* | CERTAGENT_*=*)
            environment+=("$each")
            ;;
    esac
done < <(env --null)
exec env -i "${environment[@]}" \
    unshare --mount --pid --fork --kill-child --ipc --uts bash -euc "$enter" on_debian "$root" "$command"
