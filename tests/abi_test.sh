#!/bin/bash
# A program built against the header of an older release works with this library. tests/abi/<version>
# holds that release's tilewire.h; to add one, copy the header there when the release is made.
. tests/tools/tap.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
so=build/lib/libtilewire.so

functions() { gcc -E -P "$1" | tr '\n' ' ' | grep -oE '\btw_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u; }
# Every enumerator and status with its value, `NAME VALUE` a line.
constants() {
  { gcc -E -P "$1" | tr ',{}' '\n\n\n' | sed -n 's/^ *\(TW_[A-Z0-9_]*\) *= *\([0-9-]*\) *$/\1 \2/p'; } | sort -u
}
gone() { comm -23 <("$1" "$2") <("$3" ${4+"$4"}); }
exported() { nm -D --defined-only "$so" | awk '{print $3}' | sort -u; }
none() { local output; output=$("$@"); [ -z "$output" ] || { echo "gone: $output"; return 1; }; }
enough() { [ "$("$1" "$2" | wc -l)" -ge "$3" ]; }

count=0
for header in tests/abi/*/tilewire.h; do
  version=$(basename "$(dirname "$header")")
  count=$((count + 1))
  check "$version: its functions are found" enough functions "$header" 50
  check "$version: its constants are found" enough constants "$header" 30
  check "$version: every function is still exported" none gone functions "$header" exported
  check "$version: no constant changed its value" none gone constants "$header" constants include/tilewire.h
  check "$version: a program of its time builds" gcc -std=c99 -Wall -Werror -I"$(dirname "$header")" \
    tests/abi/old_program.c -o "$work/program" -Lbuild/lib -ltilewire -Wl,-rpath,"$PWD/build/lib"
  check "$version: and runs" "$work/program"
done
check "there is an old header" test "$count" -gt 0
finish
