#!/bin/busybox sh
# The first process in the emulated machine, in its initramfs: it mounts the host's root directory, read-only, lays a file
# system in memory over it, and starts start.sh in there. What is written is gone with the machine.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
give_up() {
	echo "init: $*"
	poweroff -f
	sleep 60
}
# REPOSITORY, and KEEP: directories of the host that must stay visible though they may be below /tmp.
. /parameters
while read -r module; do
	insmod "/modules/$module" || give_up "insmod $module failed"
done </modules/order
share() { mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 "$1" "$2" || give_up "no 9p $1"; }
mkdir -p /host /kernel /memory /new /kept
share host /host
share modules /kernel
mount -t tmpfs -o size=75% tmpfs /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /new || give_up "no overlay"

number=0
for directory in $KEEP; do
	number=$((number + 1))
	mkdir -p "/kept/$number"
	mount --bind "/new$directory" "/kept/$number"
done
for place in tmp run var/tmp var/lib/cni dev; do
	mkdir -p "/new/$place"
	mount -t tmpfs -o mode=1777 tmpfs "/new/$place"
done
number=0
for directory in $KEEP; do
	number=$((number + 1))
	mkdir -p "/new$directory"
	mount --bind "/kept/$number" "/new$directory"
done
mount -t proc proc /new/proc
mount -t sysfs sysfs /new/sys
mount -t devtmpfs devtmpfs /new/dev
mkdir -p /new/dev/shm /new/dev/pts "/new/lib/modules/$(uname -r)" /new/etc/modprobe.d
mount -t tmpfs tmpfs /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
mount --bind /kernel "/new/lib/modules/$(uname -r)"
cp /parameters /new/run/parameters
# Else these make links of their own in the machine's namespace when somebody first needs them.
echo "options ifb numifbs=0
options dummy numdummies=0" >/new/etc/modprobe.d/podwire.conf
ip link set lo up
# The new root is also where the kernel then finds modprobe.
exec switch_root /new "$REPOSITORY/conformance/kernels/start.sh"
