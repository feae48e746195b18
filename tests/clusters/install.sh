#!/usr/bin/env bash
# Installs the real Slurm, MariaDB, sshd, libfaketime, setfacl, iptables, nginx and haproxy that the tests start for themselves, where something
# is missing (Debian).
# Nothing that the packages bring is left running: the tests use their own configuration, ports and folders.
set -euo pipefail

# A command that each package brings, so that a machine which has it from elsewhere is left alone.
missing=""
need() { [ -x "$1" ] || missing="$missing $2"; }
need /usr/sbin/slurmctld "slurm-wlm slurm-wlm-basic-plugins"
need /usr/sbin/slurmdbd slurmdbd
need /usr/bin/sbatch slurm-client
need /usr/sbin/munged munge
need /usr/sbin/mariadbd mariadb-server
need /usr/sbin/sshd openssh-server
need /usr/bin/ssh openssh-client
need /bin/ip iproute2
need /usr/bin/faketime faketime
need /usr/bin/setfacl acl
need /usr/sbin/iptables iptables
need /usr/sbin/nginx nginx-light
need /usr/sbin/haproxy haproxy
[ -n "$missing" ] || exit 0

printf '== installing%s\n' "$missing" >&2
as_root=""; [ "$(id -u)" = 0 ] || as_root="sudo"

# `policy-rc.d` is Debian's own way to say that an installation starts no daemon; ours goes away again.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
  $as_root chmod 755 "$policy"
  trap '$as_root rm -f "$policy"' EXIT
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
