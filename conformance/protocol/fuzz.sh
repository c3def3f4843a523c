#!/bin/sh
# Starts the fuzz driver where it can do no damage: every file system of the machine is read-only, /var/lib and /run are
# empty file systems in memory, and the network is a namespace of its own. Run through `unshare --net --mount
# --propagation private`. Arguments: the directory of the executables, then node, the driver and its arguments.
#
# The executables appear at /run/bin: an input must not depend on where they are on this machine.
set -eu
for directory in /var/lib /run; do
  mount -t tmpfs tmpfs "$directory"
done
mkdir /run/bin
mount --bind "$1" /run/bin
shift
while read -r _ directory type _; do
  case "$type $directory" in
    "tmpfs /var/lib" | "tmpfs /run" | proc* | sysfs* | devpts* | mqueue* | cgroup*) continue ;;
  esac
  mount -o remount,bind,ro "$directory" 2>/dev/null || true
done </proc/self/mounts
ip link set lo up
ip address add 192.0.2.1/24 dev lo
exec "$@"
