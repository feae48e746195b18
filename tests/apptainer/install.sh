#!/usr/bin/env bash
# Installs a real Apptainer and what it calls, where there is none (Debian). Quick when everything is there.
#
# Where the machine's own release has no package of it, the one of Debian's suite `sid` is unpacked, together with the
# libc that it wants, into a folder of its own. The machine's package state is not touched: apt gets lists and cache of
# its own, and no package is installed from there. The address is the one that the machine's own sources name.
set -euo pipefail

prefix=/opt/nexapod-apptainer  # libraries of the newer suite; the programs must lie where they look for their settings
as_root=""; [ "$(id -u)" = 0 ] || as_root="sudo"
say() { printf '== %s\n' "$*" >&2; }

missing=""
need() { command -v "$1" >/dev/null || [ -x "$1" ] || missing="$missing $2"; }
need mksquashfs squashfs-tools
need squashfuse squashfuse
need fuse-overlayfs fuse-overlayfs
need newuidmap uidmap
need fakeroot fakeroot
need /usr/lib/cni/loopback containernetworking-plugins
need patchelf patchelf
need bwrap bubblewrap
need busybox busybox-static
need unshare util-linux
if [ -n "$missing" ]; then
  say "installing$missing"
  $as_root apt-get update -qq
  # shellcheck disable=SC2086 # a list of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# A registry, of which the program alone is wanted: the package would start a service.
if ! command -v docker-registry >/dev/null; then
  say "installing docker-registry"
  registry=$(mktemp -d)
  chmod 755 "$registry"
  (cd "$registry" && { apt-get -qq download docker-registry || { $as_root apt-get update -qq && apt-get -qq download docker-registry; }; })
  dpkg-deb -x "$registry"/docker-registry_*.deb "$registry/root"
  $as_root install -m 755 "$registry/root/usr/bin/docker-registry" /usr/local/bin/docker-registry
  rm -rf "$registry"
fi

# An ordinary user may mount a .sif only through FUSE. Some machines give the device to root alone.
if [ -c /dev/fuse ] && [ "$(stat -c %a /dev/fuse)" != 666 ]; then
  $as_root chmod 666 /dev/fuse
fi

# The tests run as root and as an ordinary user; this is the latter where they run as root.
if [ "$(id -u)" = 0 ] && ! getent passwd nexapod-test >/dev/null; then
  useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nexapod-test
fi

command -v apptainer >/dev/null && apptainer --version >/dev/null 2>&1 && exit 0

say "installing apptainer"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"

# The machine's own mirror of Debian: the first index of the component `main` whose origin is Debian itself.
indexes() { apt-get indextargets --format '$(REPO_URI) $(ORIGIN)/$(LABEL)/$(COMPONENT)' 'Created-By: Packages'; }
mirror=$(indexes | awk '$2 == "Debian/Debian/main" {print $1; exit}')
if [ -z "$mirror" ]; then  # the lists were never fetched
  $as_root apt-get update -qq
  mirror=$(indexes | awk '$2 == "Debian/Debian/main" {print $1; exit}')
fi
[ -n "$mirror" ] || { say "no Debian mirror in the machine's own sources: install apptainer by hand"; exit 1; }
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
printf 'deb [signed-by=%s] %s sid main\n' "$keyring" "$mirror" >"$work/sid.list"
private=(
  -o "Dir::Etc::SourceList=$work/sid.list" -o Dir::Etc::SourceParts=-
  -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=$(id -un)"
)
apt-get -qq "${private[@]}" update
(cd "$work" && apt-get -qq "${private[@]}" download apptainer libc6 libseccomp2 libsqlite3-0)
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done

machine=$(uname -m)
libraries=$(dirname "$(find "$work/root" -name libc.so.6 -print -quit)")
loader=$(basename "$(find "$work/root" -name 'ld-linux*.so.*' -print -quit)")
for program in usr/bin/apptainer "usr/lib/$machine-linux-gnu/apptainer/bin/starter"; do
  patchelf --set-interpreter "$prefix/$loader" --force-rpath --set-rpath "$prefix:/lib/$machine-linux-gnu" "$work/root/$program"
done
$as_root mkdir -p "$prefix" "/usr/lib/$machine-linux-gnu" /var/lib/apptainer/mnt/session /var/lib/apptainer/mnt/source
$as_root cp -a "$libraries"/*.so* "$prefix/"
$as_root cp -a "$work/root/usr/lib/$machine-linux-gnu/apptainer" "/usr/lib/$machine-linux-gnu/"
[ -e /etc/apptainer ] || $as_root cp -a "$work/root/etc/apptainer" /etc/
# last, by renaming: who finds the program finds all of it
$as_root cp -a "$work/root/usr/bin/apptainer" /usr/bin/.apptainer.new
$as_root chown -R 0:0 "$prefix" /usr/bin/.apptainer.new "/usr/lib/$machine-linux-gnu/apptainer" /etc/apptainer
$as_root mv /usr/bin/.apptainer.new /usr/bin/apptainer
apptainer --version >&2
