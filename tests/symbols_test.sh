#!/bin/bash
# What the shared library shows and wants: symbols, needed libraries, dlopen, and that no inline
# function compiled for a newer instruction set can stand in for one that old machines run.
. tests/tools/tap.sh

so=build/lib/libtilewire.so
header=include/tilewire.h

declared() { grep -ohE '\btw_[a-z0-9_]+\(' "$header" include/tilewire/model.h include/tilewire/program.h | tr -d '(' | sort -u; }
exported() { nm -D --defined-only "$so" | awk '{print $3}' | sort -u; }
# Each helper prints its offenders; no output is good.
none() { local output; output=$("$@"); [ -z "$output" ] || { echo "$output"; return 1; }; }

foreign_symbols() { exported | grep -v '^tw_[a-z0-9_]*$'; }
undeclared_symbols() { comm -23 <(exported) <(declared); }
undefined_functions() {
  # Only prototypes: a comment may name what does not exist yet.
  comm -23 <(gcc -E -P "$header" | tr '\n' ' ' | grep -oE '\btw_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u) <(exported)
}
check "only tw_* is exported" none foreign_symbols
check "every exported symbol is in the header" none undeclared_symbols
check "every function of the header is exported" none undefined_functions

# libc and its parts, the C++ run time, topology, the MAC library.
allowed='libc\.so\.6|libm\.so\.6|libstdc\+\+\.so\.6|libgcc_s\.so\.1|ld-linux[-a-z0-9_]*\.so\.[0-9]|libhwloc\.so\.15|libsodium\.so\.23'
needed() { readelf -dW "$so" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p'; }
not_allowed() { needed | grep -vxE "$allowed"; }
check "needed libraries are on the list" none not_allowed
check "the library names itself libtilewire.so.0" \
  bash -c "readelf -dW $so | grep -q 'SONAME.*\[libtilewire.so.0\]'"
check "no executable stack, no text relocations" \
  bash -c "! readelf -lW $so | grep -q 'GNU_STACK.*RWE' && ! readelf -dW $so | grep -q TEXTREL"

# Libraries that may be opened at run time: the GPU driver, its collectives, the network.
openable='libcuda\.so(\.1)?|libnccl\.so(\.2)?|libuc[pst]\.so(\.0)?|libnvidia-ml\.so(\.1)?'
opened_by_sources() {
  grep -rlE '\bdl(m)?open *\(' lib | while read -r file; do
    grep -oE '"[^"]*\.so[.0-9]*"' "$file" | tr -d '"' | grep -vxE "$openable" | sed "s|^|$file: |"
  done
}
opened_at_run_time() {
  LD_DEBUG=files build/bin/tw_info 2>&1 > /dev/null |
    sed -n 's/.*file=\([^ ]*\) .*dynamically loaded by.*libtilewire.*/\1/p' | sort -u |
    sed 's|.*/||' | grep -vxE "$openable"
}
check "sources open only GPU and network libraries" none opened_by_sources
check "tw_info runs" build/bin/tw_info
check "tw_info opens only GPU and network libraries" none opened_at_run_time

leaks() {
  find "build/obj/$1" -name '*.o' 2> /dev/null | while read -r object; do
    nm -C --defined-only --extern-only "$object" | grep -vE "tw::$1\b|$1::" | grep -E ' [A-Zu] ' | sed "s|^|$object: |"
  done
}
for target in cpu_amx cpu_avx512_bf16 cpu_avx512 cpu_avx2; do
  if [ "$(uname -m)" = x86_64 ]; then
    check "objects of $target define nothing outside their namespace" none leaks "$target"
    check "there are objects of $target" bash -c "find build/obj/$target -name '*.o' | grep -q ."
  fi
done

for standard in c99 c11; do
  check "the header is $standard -pedantic" \
    gcc -std=$standard -pedantic -Wall -Wextra -Werror -fsyntax-only -Iinclude -x c "$header"
done
check "the header is C++17" g++ -std=c++17 -pedantic -Wall -Wextra -Werror -fsyntax-only -Iinclude -x c++ "$header"

finish
