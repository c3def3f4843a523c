#!/bin/bash
# Installs what is missing for one purpose, and says nothing when nothing is.
#   hack/need.sh build|demo|test|bench|kernels|fresh|layout
# Debian packages come from apt-get, asked only when a command is missing; everything else from npm, by the
# lock file.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each line: for which purposes, the Debian package, and what of it is started: commands, or paths. Tests and tools can start
# nothing else than this and what hack/programs/base.txt names: hack/programs sees to it.
needs() {
	cat <<-END
		demo,test,bench,layout iproute2                  ip bridge ss tc
		demo,test,bench      iputils-ping                ping
		demo,test,bench      nftables                    nft
		demo,test,bench,fresh,layout mount               mount umount
		test                 ethtool                     ethtool
		test                 jq                          jq
		test                 procps                      sysctl
		test                 python3                     python3
		test                 tcpdump                     tcpdump
		test,bench           iptables                    iptables iptables-nft iptables-legacy iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore
		test,bench           iperf3                      iperf3
		test,bench           strace                      strace
		test,bench           containernetworking-plugins /usr/lib/cni/bridge
		layout               valgrind                    valgrind valgrind.bin
		kernels              qemu-system-x86             qemu-system-x86_64
		kernels              qemu-system-arm             qemu-system-aarch64
		kernels              busybox-static              busybox
		kernels              kmod                        depmod insmod modprobe rmmod
		kernels,fresh        mmdebstrap                  mmdebstrap
	END
}

missing=()
while read -r purposes package what; do
	[[ ,$purposes, = *,$1,* ]] || continue
	for one in $what; do
		if [[ $one = /* ]]; then [ -e "$one" ]; else command -v "$one" >/dev/null; fi && continue
		missing+=("$package")
		break
	done
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

# What the lock file says of packages, apart from the project's own name and version.
packages() { sed '1,/"devDependencies"/d' package-lock.json | cksum; }

stamp=node_modules/.podwire-installed
if [ -e "$stamp" ] && [ ! -s "$stamp" ] && [ ! package-lock.json -nt "$stamp" ]; then
	# Of an earlier version of this script, which looked at the time only.
	packages >"$stamp"
fi
if [ ! -e "$stamp" ] || { [ package-lock.json -nt "$stamp" ] && [ "$(packages)" != "$(<"$stamp")" ]; }; then
	if ! command -v npm >/dev/null; then
		echo "npm is missing: install Node.js 20 or newer with npm, then try again" >&2
		exit 1
	fi
	echo "installing npm packages"
	# What the lock file says, from scratch. Not `npm ci`: it fails if the lock file lacks a package that only another
	# platform would use, and not every mirror of the registry carries all of those.
	rm -rf node_modules
	hack/quiet.sh npm install --no-save --no-audit --no-fund --loglevel=error
	packages >"$stamp"
fi
