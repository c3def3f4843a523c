#!/bin/bash
# Compiles mbedTLS, as scriptc's runtime brings it and lib/sys/mbedtls_config.h wants it, into an archive.
#   hack/toolchain/mbedtls.sh TARGET ARCHIVE
# It takes 15 s of a processor. If sources, configuration and this script are those that the archive was made of, it stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1 archive=$2
sources=node_modules/@scriptc/runtime/vendor/mbedtls
config=lib/sys/mbedtls_config.h
flags="-target $target -Os -ffunction-sections -fdata-sections -fomit-frame-pointer -fno-unwind-tables
	-fno-asynchronous-unwind-tables -I $sources/include -I ."
made=$(cat hack/toolchain/mbedtls.sh "$config" "$sources"/include/*/*.h "$sources"/library/*.[ch] | sha256sum)
if [ -e "$archive" ] && [ "$made" = "$(cat "$archive.made")" ]; then
	touch "$archive"
	exit
fi
rm -rf "$archive.objects"
mkdir -p "$archive.objects"
compile() { zig cc $flags "-DMBEDTLS_CONFIG_FILE=\"$config\"" -c "$1" -o "$archive.objects/$(basename "$1" .c).o"; }
export -f compile
export archive config flags
printf '%s\n' "$sources"/library/*.c | xargs -P "$(nproc)" -I{} bash -ec 'compile {}'
rm -f "$archive"
zig ar rcsD "$archive" "$archive.objects"/*.o
rm -rf "$archive.objects"
printf '%s' "$made" >"$archive.made"
