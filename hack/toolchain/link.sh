#!/bin/bash
# Links the program once more, in another way.
#   hack/toolchain/link.sh VARIANT ARGUMENTS OUTPUT
# VARIANT is one of those of hack/toolchain/zig, ARGUMENTS the file that it has left of the first time, an argument a line.
set -euo pipefail
variant=$1 output=$3 before=
arguments=()
while IFS= read -r argument; do
  [ "$before" = -o ] && argument=$output
  if [ "$variant" = poisoned ] && [[ $argument = */sys.o || $argument = */memory.o ]]; then
    argument=$(dirname "$output")/../${argument##*/}
  fi
  arguments+=("$argument")
  before=$argument
done <"$2"
PODWIRE_VARIANT=$variant exec "$(dirname "$0")/zig" "${arguments[@]}"
