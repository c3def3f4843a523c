#!/bin/bash
# The first process of a fresh machine, in namespaces of its own: makes a root directory the root of its mounts, with the
# file systems that a container has, and runs the commands of FRESH_COMMANDS in it, a line each, until one fails.
#   hack/fresh/enter.sh ROOT
set -euo pipefail
root=$1
# Whoever makes private mounts further inside wants its root to be a mount point.
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
# As the machine has them: a controller is in one hierarchy, of the first version or the second.
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "dev/${number#*:}"; done
# As switch_root does it: umount is not among the programs of the new root, and pivot_root would leave the old one in it.
mount --move "$root" /
exec chroot . bash -euo pipefail <<'END'
cd /podwire
while read -r command; do
	echo "fresh: $command" >&2
	status=0
	bash -c "$command" </dev/null || status=$?
	echo "fresh: $command: status $status" >&2
	[ "$status" -eq 0 ] || exit "$status"
done <<<"$FRESH_COMMANDS"
END
