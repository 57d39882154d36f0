#!/usr/bin/env bash
# Runs the tests in stages and adds up what they counted.
#
#   spec/support/run_tests.sh               every stage
#   spec/support/run_tests.sh specs asan    these, in this order
#
# A stage is a function stage_NAME below and a word in `all`. It calls pass, fail or count, and
# prints what a reader needs when something failed. A stage that ran nothing has failed. The last
# line is "N passed, N failed, N skipped" over all stages; the status is 0 when nothing failed.
#
# Environment: BUILD (build), LUA (lua5.4), JOBS (processors), STAGE_SECONDS (300).
# Specs see LEASEPOOL_BUILD (the build tree), LEASEPOOL_LUA (the interpreter for children) and,
# in a sanitizer stage, LEASEPOOL_SANITIZE (address or thread).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

all=(build clang specs ctests luacheck asan tsan prove instructions install rock)

root=$PWD
mkdir -p "${BUILD:-build}"
build=$(cd "${BUILD:-build}" && pwd)
lua=$(command -v "${LUA:-lua5.4}")
jobs=${JOBS:-$(nproc)}
stage_seconds=${STAGE_SECONDS:-300}
c_test_seconds=60
tmp=$(mktemp -d "${TMPDIR:-/tmp}/leasepool-test.XXXXXX")
running=

cleanup() {
    [ -z "$running" ] || kill "$running" 2>/dev/null || true
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# ---- Counting: of the stage that runs ----------------------------------------------

passed=0 failed=0 skipped=0

count() { # PASSED FAILED SKIPPED
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

pass() {
    echo "ok: $*"
    count 1 0 0
}

fail() {
    echo "FAILED: $*"
    count 0 1 0
}

# ---- Running -----------------------------------------------------------------------

# Runs a command in a process group of its own, which Ctrl-C and the limit end as a whole.
limited() { # SECONDS COMMAND...
    local status=0
    limit=$1
    set -m
    timeout --kill-after=10 "$@" </dev/null &
    running=$!
    set +m
    wait "$running" || status=$?
    running=
    return $status
}

# What went wrong with a command that `limited` ran.
how_it_ended() { # STATUS
    case $1 in
    124) echo "took more than $limit s" ;;
    137) echo "was killed" ;;
    *) echo "ended with status $1" ;;
    esac
}

build_tree() { # DIR CMAKE-OPTIONS...
    local dir=$1 log=$tmp/build.log
    shift
    if limited "$stage_seconds" cmake -S . -B "$dir" \
        -DLEASEPOOL_TESTS=ON -DLEASEPOOL_WERROR=ON "$@" >"$log" 2>&1 &&
        limited "$stage_seconds" cmake --build "$dir" --parallel "$jobs" >>"$log" 2>&1; then
        return 0
    fi
    grep -E ' (error|warning): |undefined reference' "$log" | head -n 40 || tail -n 20 "$log"
    return 1
}

# Chooses what run_specs and run_c_tests run, and in which environment.
use_tree() { # DIR INTERPRETER [VARIABLE=VALUE...]
    tree=$1 interpreter=$2 wrapper=()
    shift 2
    environment=(env -u LUA_PATH_5_4 -u LUA_CPATH_5_4 -u LUA_INIT -u LUA_INIT_5_4
        LUA_PATH="$root/lua/?.lua;$root/lua/?/init.lua;;" LUA_CPATH="$tree/lua/?.so;;"
        LEASEPOOL_BUILD="$tree" LEASEPOOL_LUA="$interpreter" "$@")
}

# All specs, in one process.
run_specs() { # BUSTED-OPTIONS...
    local status=0 totals=$tmp/totals before=$failed
    rm -f "$totals" "$totals.current"
    limited "$stage_seconds" "${environment[@]}" LEASEPOOL_TOTALS="$totals" \
        "${wrapper[@]}" "$interpreter" "$(command -v busted)" -o spec/support/busted_output.lua "$@" || status=$?
    if [ -f "$totals" ]; then
        # shellcheck disable=SC2046
        count $(cat "$totals")
        if [ $status -ne 0 ] && [ "$failed" -eq "$before" ]; then
            fail "busted $(how_it_ended $status) after its last spec"
        fi
    else
        fail "busted $(how_it_ended $status) in: $(cat "$totals.current" 2>/dev/null || true)"
    fi
}

run_c_tests() {
    local source program status log=$tmp/c_test.log p f s before
    for source in spec/c/test_*.c; do
        [ -f "$source" ] || continue
        program=$(basename "$source" .c) status=0 before=$failed
        limited $c_test_seconds "${environment[@]}" CMOCKA_MESSAGE_OUTPUT=TAP \
            "${wrapper[@]}" "$tree/ctest/$program" >"$log" 2>&1 || status=$?
        read -r p f s < <(awk '
            /^1\.\.[0-9]+$/ { planned += substr($0, 4) }
            /^ok [0-9]+/ { passed++ }
            /^not ok [0-9]+/ { if (/# SKIP/) skipped++; else failed++ }
            END {
                missing = planned - passed - failed - skipped
                print passed + 0, failed + (missing > 0 ? missing : 0), skipped + 0
            }' "$log")
        count "$p" "$f" "$s"
        if [ $status -ne 0 ] && [ "$failed" -eq "$before" ]; then
            count 0 1 0
        elif [ "$((p + f + s))" -eq 0 ]; then
            fail "$program ran no test"
        fi
        if [ "$failed" -eq "$before" ]; then
            echo "ok: $program: $p"
        else
            grep -v "^ok [0-9]" "$log" | tail -n 60 || true
            echo "FAILED: $program $(how_it_ended $status)"
        fi
    done
}

# ---- Sanitizers --------------------------------------------------------------------

# Builds an instrumented tree and chooses it. Whatever process a test starts, its reports land
# in $reports.
use_sanitizer() { # address|thread DIR HALT_ON_ERROR CMAKE-OPTIONS...
    local sanitizer=$1 dir=$2 halt=$3 options
    shift 3
    reports=$tmp/reports
    rm -rf "$reports"
    mkdir "$reports"
    # handle_segv=2: cmocka's handler would go on after a crash.
    options=exitcode=66:halt_on_error=$halt:log_path=$reports/report:handle_segv=2
    case $sanitizer in
    address)
        build_tree "$dir" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-g -O1" \
            -DLEASEPOOL_SANITIZE=address,undefined "$@" || return 1
        use_tree "$dir" "$dir/lua_main" LEASEPOOL_SANITIZE=address \
            ASAN_OPTIONS="$options:detect_leaks=1:detect_stack_use_after_return=1" \
            LSAN_OPTIONS=exitcode=66 \
            UBSAN_OPTIONS="$options:print_stacktrace=1"
        ;;
    thread)
        build_tree "$dir" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-g -O1" \
            -DLEASEPOOL_SANITIZE=thread "$@" || return 1
        use_tree "$dir" "$dir/lua_main" LEASEPOOL_SANITIZE=thread \
            TSAN_OPTIONS="$options:second_deadlock_stack=1:die_after_fork=0"
        # Its shadow memory collides with mappings that the kernel places too randomly.
        ! setarch -R true 2>/dev/null || wrapper=(setarch -R)
        ;;
    esac
}

count_reports() {
    local report
    for report in "$reports"/*; do
        [ -f "$report" ] || continue
        sed '/^Shadow bytes/,$d' "$report" | head -n 150
        fail "$(grep -m 1 '^SUMMARY:' "$report" || echo "a sanitizer report, see above")"
    done
}

# Passes when the sanitizer, and not merely a test, finds the mistake that a definition builds
# in, and its summary points into src/.
prove_sanitizer() { # address|thread DEFINITION KIND
    local sanitizer=$1 definition=$2 kind=$3 log=$tmp/prove.log found attempt
    if ! grep -rqw "$definition" src; then
        fail "$definition: nothing in src/ knows it"
        return
    fi
    if ! use_sanitizer "$sanitizer" "$build/test/${definition,,}" 1 \
        -D"$definition=ON" -DLEASEPOOL_WERROR=OFF; then
        fail "$definition: does not build"
        return
    fi
    local outer=("$passed" "$failed" "$skipped")
    for attempt in run_c_tests "run_specs --tags=threads"; do
        $attempt >"$log" 2>&1
        found=$(grep -h "^SUMMARY: .*: $kind " "$reports"/* 2>/dev/null | grep -m 1 -F "$root/src/" ||
            true)
        [ -z "$found" ] || break
    done
    passed=${outer[0]} failed=${outer[1]} skipped=${outer[2]}
    if [ -n "$found" ]; then
        pass "$definition: ${found#SUMMARY: }"
    else
        tail -n 20 "$log"
        grep -h '^SUMMARY:' "$reports"/* 2>/dev/null | sort | uniq -c | head -n 10 || true
        fail "$definition: no report of a $kind in src/"
    fi
}

# ---- Stages ------------------------------------------------------------------------

stage_build() {
    if build_tree "$build"; then pass "built without a warning"; else fail "build"; fi
}

stage_clang() {
    if build_tree "$build/test/clang" -DCMAKE_C_COMPILER=clang; then
        pass "clang builds it without a warning"
    else
        fail "clang"
    fi
}

stage_specs() {
    use_tree "$build" "$lua"
    run_specs
}

stage_ctests() {
    use_tree "$build" "$lua"
    run_c_tests
}

stage_luacheck() {
    local paths=() path log=$tmp/luacheck.log status=0
    for path in lua spec examples bench rockspec/*.rockspec; do
        [ ! -e "$path" ] || paths+=("$path")
    done
    luacheck --no-color "${paths[@]}" >"$log" || status=$?
    local ok all_files
    ok=$(grep -cE '^Checking .* OK$' "$log" || true)
    all_files=$(grep -cE '^Checking ' "$log" || true)
    count "$ok" $((all_files - ok)) 0
    if [ $status -ne 0 ]; then
        grep -vE '^Checking .* OK$' "$log"
        [ "$failed" -gt 0 ] || fail "luacheck ended with status $status"
    fi
}

stage_asan() {
    use_sanitizer address "$build/test/asan" 1 || { fail "build"; return; }
    run_c_tests
    run_specs --exclude-tags=house
    count_reports
}

stage_tsan() {
    use_sanitizer thread "$build/test/tsan" 0 || { fail "build"; return; }
    run_c_tests
    run_specs --tags=threads --exclude-tags=house
    count_reports
}

stage_prove() {
    prove_sanitizer thread LP_TEST_RACE "data race"
    prove_sanitizer address LP_TEST_UAF "heap-use-after-free"
}

# Instructions of the hot paths against their record; and a build in which a submission takes a
# tenth more of them is refused for exactly that.
stage_instructions() {
    local log=$tmp/instructions.log slow=$build/test/lp_test_slow ok
    limited "$stage_seconds" spec/support/instructions.sh "$build" "$lua" >"$log" 2>&1 || true
    ok=$(grep -c '^ok: ' "$log" || true)
    cat "$log"
    count "$ok" "$(grep -c '^FAILED: ' "$log" || true)" 0
    if ! build_tree "$slow" -DLP_TEST_SLOW=ON; then
        fail "LP_TEST_SLOW: does not build"
        return
    fi
    limited "$stage_seconds" spec/support/instructions.sh "$slow" "$lua" >"$log" 2>&1 || true
    if grep -q '^FAILED: core lp_submit: ' "$log" &&
        grep -q '^FAILED: binding lp__lease_submit: ' "$log" &&
        [ "$(grep -c '^FAILED: ' "$log")" -eq 2 ]; then
        pass "LP_TEST_SLOW: a tenth more on submit is found"
    else
        cat "$log"
        fail "LP_TEST_SLOW: a tenth more on submit is not found"
    fi
}

# What `cmake --install` leaves serves a C host, a script and the program.
stage_install() {
    local log=$tmp/install.log uses=7 ok status=0
    limited "$stage_seconds" \
        spec/support/try_install.sh "$build" "$tmp/prefix" "$lua" >"$log" 2>&1 || status=$?
    ok=$(grep -c '^ok: ' "$log" || true)
    grep '^ok: ' "$log" || true
    count "$ok" $((uses - ok)) 0
    if [ "$ok" -lt $uses ]; then
        tail -n 40 "$log"
        echo "FAILED: install $(how_it_ended $status)"
    fi
}

# LuaRocks builds the module with a compiler, Lua and libuv alone, and a script elsewhere uses it.
stage_rock() {
    local source=$tmp/rock-source rock=$tmp/rock log=$tmp/rock.log
    mkdir -p "$source"
    cp -R src lua rockspec LICENSE "$source" # LuaRocks leaves objects beside the sources
    if limited "$stage_seconds" env -C "$source" luarocks --lua-version=5.4 \
        make --tree "$rock" rockspec/leasepool-scm-1.rockspec >"$log" 2>&1; then
        pass "luarocks make"
    else
        tail -n 20 "$log"
        fail "luarocks make"
    fi
    if limited 60 env -C "$tmp" -u LUA_PATH_5_4 -u LUA_CPATH_5_4 \
        LUA_PATH="$rock/share/lua/5.4/?.lua;$rock/share/lua/5.4/?/init.lua;;" \
        LUA_CPATH="$rock/lib/lua/5.4/?.so;;" \
        "$lua" "$root/examples/00_quickstart.lua" >"$log" 2>&1; then
        pass "the first example runs with the rock"
    else
        tail -n 20 "$log"
        fail "the first example with the rock"
    fi
}

# ---- All of it ---------------------------------------------------------------------

main() {
    local stages=("$@") stage begin seconds totals=(0 0 0) summary=()
    [ $# -gt 0 ] || stages=("${all[@]}")
    for stage in "${stages[@]}"; do
        if ! declare -F "stage_$stage" >/dev/null; then
            echo "run_tests: no such stage: $stage (${all[*]})" >&2
            exit 2
        fi
    done

    for stage in "${stages[@]}"; do
        passed=0 failed=0 skipped=0
        printf '\n== %s\n' "$stage"
        begin=$EPOCHREALTIME
        "stage_$stage"
        [ $((passed + failed)) -gt 0 ] || fail "the stage ran no test"
        seconds=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
        printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
        printf '%s: %s s\n' "$stage" "$seconds"
        summary+=("$(printf '%-10s %6s s  %5s passed  %3s failed  %3s skipped' \
            "$stage" "$seconds" "$passed" "$failed" "$skipped")")
        totals=($((totals[0] + passed)) $((totals[1] + failed)) $((totals[2] + skipped)))
    done

    printf '\n'
    printf '%s\n' "${summary[@]}"
    printf '%s passed, %s failed, %s skipped\n' "${totals[@]}" | tee "$build/test-totals"
    [ "${totals[1]}" -eq 0 ]
}

main "$@"; exit # in one line, so that the file may be edited while it runs
