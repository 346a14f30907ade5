#!/bin/bash
# What ptxas says of every GPU kernel: no spills, no stack, no serialised wgmma (warning C75xx).
. tests/tools/tap.sh

if ! command -v nvcc > /dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
  skip "GPU kernels" "GPU targets are not built: nvcc not found"
  finish
  exit
fi

clean_report() {
  ! grep -E '[1-9][0-9]* bytes (stack frame|spill)' "$1" && ! grep -E 'C75[0-9][0-9]' "$1" &&
    grep -q 'Used [0-9]* registers' "$1"
}
count=0
while read -r source; do
  report=build/gpu/${source#kernels/}
  check "$source: registers, no stack, no spills" clean_report "${report%.cu}.sm_90a.ptxas"
  count=$((count + 1))
done < <(find kernels -name '*.cu')
check "there are kernels" test "$count" -gt 0
finish
