#!/bin/bash
# What nvcc and ptxas made of every GPU kernel and target: registers and shared memory within
# tests/gpu_build.def, no stack, no spills, no serialised wgmma (warning C75xx), and in the PTX no
# access that the memory model does not order as the tile layer promises.
. tests/tools/tap.sh

if ! command -v nvcc > /dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
  skip "GPU kernels" "GPU targets are not built: nvcc not found"
  finish
  exit
fi

figures=$(tests/tools/gpu_report)

# One kernel's figures against its row.
within_row() {
  local registers=$1 shared=$2 stack=$3 spill=$4 dynamic=$5
  local most_registers=$6 most_shared=$7 most_dynamic=$8
  echo "$registers registers (at most $most_registers), $shared bytes shared ($most_shared)," \
    "$dynamic dynamic ($most_dynamic), $stack stack, $spill spilled"
  [ "$registers" -gt 0 ] && [ "$registers" -le "$most_registers" ] && [ "$shared" -le "$most_shared" ] &&
    [ "$dynamic" -le "$most_dynamic" ] && [ "$stack" -eq 0 ] && [ "$spill" -eq 0 ]
}

# .volatile, .nc and membar order nothing that the ops' contracts name; .local is a stack.
ordered_ptx() { ! grep -nE '\.(volatile|local)\b|ld\.global\.nc|membar|vprintf' "$1"; }

while read -r name target most_registers most_shared most_dynamic; do
  [[ $name == "" || $name == "#"* ]] && continue
  read -r _ _ registers shared stack spill dynamic <<< "$(grep "^$name $target " <<< "$figures")"
  if [ -z "$registers" ]; then
    not_ok "$name for $target: there is a report"
    continue
  fi
  check "$name for $target: registers, shared memory, stack, spills" \
    within_row "$registers" "$shared" "$stack" "$spill" "$dynamic" \
    "$most_registers" "$most_shared" "$most_dynamic"
  ptx=$(find build/gpu -name "$name.$target.ptx")
  check "$name for $target: PTX without unordered accesses" ordered_ptx "$ptx"
done < tests/gpu_build.def

while read -r name target _; do
  check "$name for $target has a row" grep -qE "^$name +$target " tests/gpu_build.def
done <<< "$figures"

rows=$(sed -n 's/^TW_KERNEL_ROW(\([a-z_0-9]*\),.*/\1/p' kernels/kernels.def kernels/tile_kernels.def)
for name in $rows; do
  for target in sm_90a sm_80; do
    check "$name is built for $target" grep -q "^$name $target " <<< "$figures"
  done
done
check "no warning C75xx" test -z "$(grep -rlE 'C75[0-9][0-9]' build/gpu --include='*.ptxas')"
finish
