#!/bin/bash
# The programs that README.md shows compile and run as they stand there.
. tests/tools/tap.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The n-th fenced block of language $1 goes to $work/$1<n>.
extract() {
  awk -v language="$1" -v to="$work/$1" '
    $0 == "```" language { inside = 1; n++; next }
    /^```/ { inside = 0 }
    inside { print > (to n) }' README.md
}
build() {
  $1 -x "$2" -Wall -Wextra -Werror -Iinclude "$3" -x none -Lbuild/lib -ltilewire -pthread \
    -Wl,-rpath,"$PWD/build/lib" -o "$3.out"
}
extract c
extract cpp
count=0
for source in "$work"/c? "$work"/cpp?; do
  [ -e "$source" ] || continue
  count=$((count + 1))
  name=$(basename "$source")
  case $name in
    cpp*) check "README block $name compiles" build "g++ -std=c++20" c++ "$source" ;;
    *) check "README block $name compiles" build gcc c "$source" ;;
  esac
  check "it runs on 4 ranks" build/bin/tw_run -n 4 "$source.out"
done
check "README.md shows a program" test "$count" -gt 0
check "README.md has at most 200 lines" test "$(wc -l < README.md)" -le 200
for readme in */README.md; do
  [ -e "$readme" ] && check "$readme has at most 120 lines" test "$(wc -l < "$readme")" -le 120
done
finish
