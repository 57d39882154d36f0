#!/usr/bin/env bash
# Counts the instructions of hot-path functions on the loop's thread with callgrind, callees
# included, and compares them with what was recorded: no clock is involved.
#
#   spec/support/instructions.sh BUILD LUA           prints ok or FAILED for each
#   spec/support/instructions.sh BUILD LUA --record  writes spec/support/instructions.txt
#
# A function may take 5 % more than its record; one that takes less by 10 % wants a new record.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$1 lua=$2 record=${3:-}
budgets=spec/support/instructions.txt
paths=20000 # how often both programs take each path
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

core=(lp_try_acquire lp_lease_close lp_submit lp__job_deliver)
binding=(lp__manager_acquire lp__lease_submit lp__lease_post)

# The C library takes the same variants of its functions on every machine.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-ERMS,-FSRM

profile() { # NAME COMMAND...
    local name=$1
    shift
    valgrind --tool=callgrind --separate-threads=no --callgrind-out-file="$tmp/$name.out" \
        "$@" >"$tmp/$name.log" 2>&1 || { cat "$tmp/$name.log"; exit 1; }
    callgrind_annotate --inclusive=yes --auto=no --threshold=100 --show-percs=no \
        "$tmp/$name.out" >"$tmp/$name.txt"
}

each() { # NAME FUNCTION...: instructions of one call
    local name=$1 function
    shift
    for function in "$@"; do
        awk -v f="$function" -v n=$paths -v name="$name" '
            { count = $1; gsub(",", "", count); what = $2; sub(/^.*:/, "", what) }
            what == f && count + 0 > most { most = count + 0 }
            END { printf "%s %s %.0f\n", name, f, most / n }' "$tmp/$name.txt"
    done
}

profile core "$build/ctest/hotpath"
export LUA_PATH="$PWD/lua/?.lua;$PWD/lua/?/init.lua;;" LUA_CPATH="$build/lua/?.so;;"
profile binding "$(command -v "$lua")" spec/support/hotpath.lua
{ each core "${core[@]}"; each binding "${binding[@]}"; } >"$tmp/counts"

if [ "$record" = --record ]; then
    cp "$tmp/counts" $budgets
    cat $budgets
    exit
fi
awk 'NR == FNR { budget[$1 " " $2] = $3; next }
     { key = $1 " " $2
       verdict = $3 == 0 || $3 > 1.05 * budget[key] ? "FAILED" : "ok"
       printf "%s: %s: %d instructions, %d recorded%s\n", verdict, key, $3, budget[key],
           $3 < 0.9 * budget[key] ? " (better: record it)" : ""
       bad += verdict != "ok" }
     END { exit bad > 0 }' $budgets "$tmp/counts"
