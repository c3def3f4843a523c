#!/bin/bash
# Installs the plugins on a node that may be using them this very moment.
#   hack/install.sh FROM TO NAME...
# One file is copied under a temporary name and brought to disk, hard-linked under a temporary name for each plugin, and
# each of those is renamed over the old plugin. So every name always leads to a whole executable, the old or the new; a
# plugin that is running keeps its file; and other files in the directory are not touched.
set -euo pipefail
from=$1 to=$2
shift 2
mkdir -p "$to"
work=$(mktemp -d "$to/.podwire-install-XXXXXX")
trap 'rm -rf "$work"' EXIT
install -m 0755 "$from/$1" "$work/podwire"
sync "$work/podwire"
for name in "$@"; do
	ln "$work/podwire" "$work/$name"
	mv -fT "$work/$name" "$to/$name"
done
sync "$to"
echo "installed in $to: $*"
