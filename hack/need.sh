#!/bin/bash
# Installs what is missing for one purpose, and says nothing when nothing is.
#   hack/need.sh build|demo|test|bench|kernels
# Debian packages come from apt-get, asked only when a command is missing; everything else from npm, by the
# lock file.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each line: purpose, what has to be there (a command or a path), the Debian package that brings it.
needs() {
	cat <<-END
		demo  ip                    iproute2
		demo  ping                  iputils-ping
		demo  unshare               util-linux
		demo  mount                 mount
		demo  nft                   nftables
		test  ip                    iproute2
		test  ping                  iputils-ping
		test  unshare               util-linux
		test  nft                   nftables
		test  python3               python3
		test  iptables              iptables
		test  strace                strace
		test  iperf3                iperf3
		test  jq                    jq
		test  tcpdump               tcpdump
		test  /usr/lib/cni/bridge   containernetworking-plugins
		kernels qemu-system-x86_64  qemu-system-x86
		kernels busybox             busybox-static
		kernels modprobe            kmod
		bench ip                    iproute2
		bench unshare               util-linux
		bench nft                   nftables
		bench iptables              iptables
		bench strace                strace
		bench iperf3                iperf3
		bench ping                  iputils-ping
		bench /usr/lib/cni/bridge   containernetworking-plugins
	END
}

missing=()
while read -r purpose what package; do
	[ "$purpose" = "$1" ] || continue
	if [[ $what = /* ]]; then [ -e "$what" ]; else command -v "$what" >/dev/null; fi || missing+=("$package")
done < <(needs)
if [ ${#missing[@]} -gt 0 ]; then
	if ! command -v apt-get >/dev/null; then
		echo "please install what brings: ${missing[*]} (there is no apt-get here to do it)" >&2
		exit 1
	fi
	echo "installing Debian packages: ${missing[*]}"
	hack/quiet.sh apt-get update
	hack/quiet.sh env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
fi

stamp=node_modules/.podwire-installed
if [ ! -e "$stamp" ] || [ package-lock.json -nt "$stamp" ]; then
	if ! command -v npm >/dev/null; then
		echo "npm is missing: install Node.js 20 or newer with npm, then try again" >&2
		exit 1
	fi
	echo "installing npm packages"
	# What the lock file says, from scratch. Not `npm ci`: it fails if the lock file lacks a package that only another
	# platform would use, and not every mirror of the registry carries all of those.
	rm -rf node_modules
	hack/quiet.sh npm install --no-save --no-audit --no-fund --loglevel=error
	touch "$stamp"
fi
