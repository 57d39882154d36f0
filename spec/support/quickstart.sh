#!/usr/bin/env bash
# `make quickstart`: the first example, then a directory counted by a pool and by wc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

dir=${1:-/usr/include}
lua=${LUA:-lua5.4}
build=$(cd "${BUILD:-build}" && pwd)
unset LUA_PATH_5_4 LUA_CPATH_5_4
export LUA_PATH="$PWD/lua/?.lua;$PWD/lua/?/init.lua;;" LUA_CPATH="$build/lua/?.so;;"

printf '\n$ %s examples/00_quickstart.lua\n' "$lua"
"$lua" examples/00_quickstart.lua

# Prints the seconds that the command took beside its last line.
last_line() {
    local output begin=$EPOCHREALTIME
    output=$("$@") || { printf '%s\n' "$output" >&2; return 1; }
    awk -v last="$(tail -n 1 <<<"$output")" -v a="$begin" -v b="$EPOCHREALTIME" \
        'BEGIN { sub(/^ +/, "", last); printf "%-40s  (%.2f s)\n", last, b - a }'
}
wc_of_all() {
    find "$1" -type f -print0 | LC_ALL=C wc -lwc --files0-from=-
}

printf '\n$ %s examples/wc_tree.lua %s\n' "$lua" "$dir"
ours=$(last_line "$lua" examples/wc_tree.lua "$dir")
echo "$ours"
printf '\n$ find %s -type f -print0 | LC_ALL=C wc -lwc --files0-from=-\n' "$dir"
theirs=$(last_line wc_of_all "$dir")
echo "$theirs"

numbers() {
    awk '{ print $1, $2, $3 }' <<<"$1"
}
if [ "$(numbers "$ours")" != "$(numbers "$theirs")" ]; then
    printf '\nquickstart: the totals differ\n' >&2
    exit 1
fi
printf '\nquickstart: the totals are equal\n'
