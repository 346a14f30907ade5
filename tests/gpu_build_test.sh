#!/bin/bash
# What nvcc and ptxas made of every GPU kernel and target: registers and shared memory as in
# tests/gpu_build.def, no stack, no spills, no serialised wgmma (warning C75xx), and in the PTX no
# access that the memory model does not order as the tile layer promises.
. tests/tools/tap.sh

if ! command -v nvcc > /dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
  skip "GPU kernels" "GPU targets are not built: nvcc not found"
  finish
  exit
fi

figures=$(tests/tools/gpu_report)

# Registers are the row's, not 8 fewer: under a higher limit they could grow unseen.
as_in_row() { [ "$1" -le "$2" ] && [ "$1" -gt $(($2 - 8)) ]; }

# One kernel's figures against its row. Of roles' registers see below.
within_row() {
  local registers=$1 shared=$2 stack=$3 spill=$4 dynamic=$5
  local row_registers=$6 most_shared=$7 most_dynamic=$8
  echo "$registers registers ($row_registers), $shared bytes shared (at most $most_shared)," \
    "$dynamic dynamic ($most_dynamic), $stack stack, $spill spilled"
  [[ $row_registers == */* ]] || as_in_row "$registers" "$row_registers" || return
  [ "$registers" -gt 0 ] && [ "$shared" -le "$most_shared" ] && [ "$dynamic" -le "$most_dynamic" ] &&
    [ "$stack" -eq 0 ] && [ "$spill" -eq 0 ]
}

refuses_wrong_rows() {
  within_row 96 0 0 0 0 96 0 0 && within_row 89 0 0 0 0 96 0 0 && ! within_row 97 0 0 0 0 96 0 0 &&
    ! within_row 88 0 0 0 0 96 0 0 && ! within_row 96 0 8 0 0 96 0 0 && ! within_row 96 0 0 4 0 96 0 0
}
check "rows with too few or too many registers are refused" refuses_wrong_rows

# Roles get by with the row's registers, not with 16 fewer, and setmaxnreg gives them the row's or more.
roles=$(while read -r name target registers _; do
  [[ $name != "#"* && $registers == */* ]] || continue
  ptx=$(find build/gpu -name "$name.$target.ptx")
  echo "$ptx ${registers%/*} ${registers#*/}"
  echo "$ptx $((${registers%/*} - 16)) $((${registers#*/} - 16))"
done < tests/gpu_build.def | xargs -P "$(nproc)" -L 1 tests/tools/gpu_roles)

roles_as_in_row() {
  local ptx=$1 consumers=$2 others=$3 given_consumers given_others
  given_consumers=$(sed -nE 's/.*setmaxnreg\.inc\.sync\.aligned\.u32 ([0-9]+);/\1/p' "$ptx")
  given_others=$(sed -nE 's/.*setmaxnreg\.dec\.sync\.aligned\.u32 ([0-9]+);/\1/p' "$ptx")
  echo "given: $given_consumers consumers, $given_others others"
  grep "^$ptx " <<< "$roles"
  [ "$consumers" -le "$given_consumers" ] && [ "$others" -le "$given_others" ] &&
    grep -q "^$ptx $consumers $others fits" <<< "$roles" &&
    grep -q "^$ptx $((consumers - 16)) $((others - 16)) spills" <<< "$roles"
}

# .volatile, .nc and membar order nothing that the ops' contracts name; .local is a stack.
ordered_ptx() { ! grep -nE '\.(volatile|local)\b|ld\.global\.nc|membar|vprintf' "$1"; }

while read -r name target row_registers most_shared most_dynamic; do
  [[ $name == "" || $name == "#"* ]] && continue
  read -r _ _ registers shared stack spill dynamic <<< "$(grep "^$name $target " <<< "$figures")"
  if [ -z "$registers" ]; then
    not_ok "$name for $target: there is a report"
    continue
  fi
  check "$name for $target: registers, shared memory, stack, spills" \
    within_row "$registers" "$shared" "$stack" "$spill" "$dynamic" \
    "$row_registers" "$most_shared" "$most_dynamic"
  ptx=$(find build/gpu -name "$name.$target.ptx")
  [[ $row_registers != */* ]] || check "$name for $target: registers of its roles" \
    roles_as_in_row "$ptx" "${row_registers%/*}" "${row_registers#*/}"
  check "$name for $target: PTX without unordered accesses" ordered_ptx "$ptx"
done < tests/gpu_build.def

while read -r name target _; do
  check "$name for $target has a row" grep -qE "^$name +$target " tests/gpu_build.def
done <<< "$figures"

rows=$(sed -n 's/^TW_KERNEL_ROW(\([a-z_0-9]*\),.*/\1/p' kernels/*kernels.def)
for name in $rows; do
  for target in sm_90a sm_80; do
    check "$name is built for $target" grep -q "^$name $target " <<< "$figures"
  done
done
check "no warning C75xx" test -z "$(grep -rlE 'C75[0-9][0-9]' build/gpu --include='*.ptxas')"
finish
