# Sourced by tests/*_test.sh: results in TAP, which the check runner counts. `finish` last.
tap_count=0
tap_failed=0

ok() { tap_count=$((tap_count + 1)); echo "ok $tap_count - $1"; }
not_ok() { tap_count=$((tap_count + 1)); tap_failed=$((tap_failed + 1)); echo "not ok $tap_count - $1"; }
skip() { tap_count=$((tap_count + 1)); echo "ok $tap_count - $1 # SKIP $2"; }
# check NAME COMMAND...: ok when the command succeeds; its output is shown when it does not.
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then ok "$name"; else not_ok "$name"; echo "$output" | sed 's/^/# /'; fi
}
finish() { echo "1..$tap_count"; [ "$tap_failed" -eq 0 ]; }
