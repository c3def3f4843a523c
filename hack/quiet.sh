#!/bin/bash
# Runs a command and shows what it printed only if it failed.
#   hack/quiet.sh COMMAND [ARGUMENT...]
set -euo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
"$@" >"$log" 2>&1 </dev/null || status=$?
if [ "$status" -ne 0 ]; then
	cat "$log" >&2
	echo "failed with status $status: $*" >&2
fi
exit "$status"
