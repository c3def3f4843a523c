#!/bin/bash
# Runs the suites in the emulated machine, as its first process after the initramfs; results go to the second serial line.
. /run/parameters
export HOME=/root TMPDIR=/tmp LANG=C.UTF-8 CI=true NO_COLOR=1
export PATH="$REPOSITORY/node_modules/node/bin:$REPOSITORY/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PODWIRE_BIN="$EXECUTABLES" PODWIRE_GUEST="$RESULTS" PODWIRE_PATIENCE="$PATIENCE"
stty -F "$RESULTS" raw -echo
cd "$REPOSITORY" || exit
for module in $MODULES; do modprobe "$module" || exit; done
# shellcheck disable=SC2086  # a list of words
timeout -s KILL "$LIMIT" vitest run --project conformance --project guest --no-isolate --maxWorkers 1 $SUITES </dev/null 2>&1 | cat
echo "{\"exit\": ${PIPESTATUS[0]}, \"uptime\": $(cut -d. -f1 /proc/uptime)}" >"$RESULTS"
echo o >/proc/sysrq-trigger
sleep 60
