#!/bin/sh
# Gossamer on 64-bit ARM without owning a board: Debian 12 for arm64 in a folder, run by qemu.
#
#     sudo scripts/arm64.sh [CACHE]        or: make arm64
#
# Builds the root file system with debootstrap, installs Gossamer in it as
# docs/install-raspberry-pi.md says (packages are downloaded here, fastecdsa is compiled there), and
# runs scripts/arm64_inside.sh in it: profile detect, a simulation, and two agents that learn from
# each other. Emulation is several times slower than the board: this proves that it runs, and
# measures nothing. The first run takes about half an hour, later ones skip what is done already: each
# finished step leaves a file in CACHE/done; remove it to have the step done again.
#
# Needs root (chroot), the packages debootstrap and qemu-user-static, 1 GB below CACHE, and a Python
# 3.11 with pip. CACHE is ~/.cache/gossamer-arm64 without the argument. To remove everything: delete
# CACHE, and `echo -1 > /proc/sys/fs/binfmt_misc/qemu-aarch64` if this script registered it.
set -eu

SOURCE=$(cd "$(dirname "$0")/.." && pwd)
CACHE=${1:-${GOSSAMER_ARM64_CACHE:-$HOME/.cache/gossamer-arm64}}
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
PYTHON=${PYTHON:-python3.11}
PACKAGES=ca-certificates,git,make,python3,python3-venv,build-essential,python3-dev,libgmp-dev
ROOT=$CACHE/root
HOME_INSIDE=/home/pi
BINFMT=/proc/sys/fs/binfmt_misc

say() { echo "arm64: $*"; }
fail() { echo "arm64: $*" >&2; exit 1; }

step() {  # step NAME "what it does" function: once, and timed
    if [ -e "$CACHE/done/$1" ]; then
        say "$2: done before"
        return
    fi
    say "$2 ..."
    begun=$(date +%s)
    "$3" || fail "$2 failed; run this again to go on from here"
    echo "$(($(date +%s) - begun)) s" > "$CACHE/done/$1"
    say "$2: $(cat "$CACHE/done/$1")"
}

# chroot in a mount namespace of its own: nothing stays mounted, however this ends.
inside() {
    unshare --mount --propagation private -- sh -c '
        mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/dev/shm" 2>/dev/null
        root=$1; shift; exec chroot "$root" /usr/bin/env -i "$@"
    ' sh "$ROOT" HOME=$HOME_INSIDE PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
}

first_stage() {
    rm -rf "$ROOT"
    debootstrap --arch=arm64 --foreign --variant=minbase --include="$PACKAGES" bookworm "$ROOT" \
        "$MIRROR" > "$CACHE/first-stage.log" 2>&1 || { tail -5 "$CACHE/first-stage.log"; return 1; }
}

second_stage() {
    chroot "$ROOT" /debootstrap/debootstrap --second-stage > "$CACHE/second-stage.log" 2>&1 ||
        { tail -5 "$CACHE/second-stage.log"; return 1; }
}

emulator() {
    mountpoint -q $BINFMT || mount -t binfmt_misc binfmt_misc $BINFMT ||
        fail "this kernel has no binfmt_misc"
    [ -e $BINFMT/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf > $BINFMT/register ||
        fail "qemu-aarch64 cannot be registered"
}

# Tags must match literally, so each one that the packages use is named. What has no wheel for them
# comes as source: fastecdsa, and one or two packages without compiled parts.
wheels() {
    platforms=
    for glibc in 2_17 2_26 2_27 2_28 2_31 2_34 2_35 2_36; do
        platforms="$platforms --platform manylinux_${glibc}_aarch64"
    done
    # shellcheck disable=SC2086  # one word per tag
    "$PYTHON" -m pip download --disable-pip-version-check --require-hashes --no-deps \
        --python-version 311 --implementation cp --abi cp311 --abi abi3 --abi none \
        --platform manylinux2014_aarch64 $platforms --dest "$CACHE/wheels" \
        --requirement "$SOURCE/constraints-device.txt" > "$CACHE/wheels.log" 2>&1 ||
        { grep -v 'is ignored' "$CACHE/wheels.log" | tail -5; return 1; }
}

source_tree() {
    mkdir -p "$ROOT$HOME_INSIDE/gossamer" "$ROOT/wheels"
    cp -u "$CACHE"/wheels/* "$ROOT/wheels"
    (cd "$SOURCE" && tar --exclude-vcs --exclude='.venv*' --exclude=build --exclude='.*_cache' \
        --exclude=.hypothesis --exclude='__pycache__' -cf - .) |
        tar -C "$ROOT$HOME_INSIDE/gossamer" --no-same-owner -xf -
}

# The guide's command. The network is not needed: what it downloads is in /wheels.
install() {
    inside PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels \
        make -C $HOME_INSIDE/gossamer device PYTHON=python3 > "$CACHE/install.log" 2>&1 ||
        { tail -20 "$CACHE/install.log"; return 1; }
}

[ "$(id -u)" = 0 ] || fail "chroot needs root: sudo $0"
for tool in debootstrap qemu-aarch64-static unshare; do
    command -v $tool > /dev/null ||
        fail "$tool is missing: apt-get install debootstrap qemu-user-static util-linux"
done
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
    fail "name a Python 3.11, as Debian 12 has: PYTHON=/path/to/python3.11 $0"

mkdir -p "$CACHE/done"
say "everything is kept in $CACHE"
# Other packages than last time are downloaded and installed again.
pins=$(cksum < "$SOURCE/constraints-device.txt")
[ "$pins" = "$(cat "$CACHE/pins" 2>/dev/null)" ] || rm -f "$CACHE/done/wheels" "$CACHE/done/install"
echo "$pins" > "$CACHE/pins"
emulator
step first-stage "first stage of debootstrap (half a minute)" first_stage
step second-stage "second stage of debootstrap (10 minutes)" second_stage
step wheels "download of packages for arm64 (a minute)" wheels
say "copying the source"
source_tree
step install "make device, which compiles fastecdsa (6 minutes)" install
say "running (5 minutes) ..."
inside /bin/sh $HOME_INSIDE/gossamer/scripts/arm64_inside.sh
