#!/usr/bin/env bash
# Installs a build tree into an empty prefix and uses it as a stranger would; one "ok:" line for
# each use that worked.  try_install.sh BUILD PREFIX LUA
set -uo pipefail
build=$1 prefix=$2 lua=$3
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

cmake --install "$build" --prefix "$prefix" || exit 1
host=$prefix/host
mkdir -p "$host" && cd "$host" || exit 1
cat >host.c <<'EOF'
#include <leasepool.h>
#include <string.h>

int main(void)
{
    return strcmp(lp_version(), LP_VERSION_STRING) != 0;
}
EOF
cat >CMakeLists.txt <<'EOF'
cmake_minimum_required(VERSION 3.18)
project(host C)
find_package(leasepool 0.1 REQUIRED)
foreach(library leasepool leasepool_static)
  add_executable(with_${library} host.c)
  target_link_libraries(with_${library} PRIVATE leasepool::${library})
endforeach()
EOF

pkg_config_dir=$(dirname "$(find "$prefix" -name leasepool.pc)")
library_dir=$(dirname "$pkg_config_dir")
# shellcheck disable=SC2046
"${CC:-cc}" host.c -o by_pkg_config \
    $(PKG_CONFIG_PATH=$pkg_config_dir pkg-config --cflags --libs leasepool) &&
    LD_LIBRARY_PATH=$library_dir ./by_pkg_config && echo "ok: a host by pkg-config"

cmake -S . -B by_cmake -DCMAKE_PREFIX_PATH="$prefix" && cmake --build by_cmake &&
    by_cmake/with_leasepool && by_cmake/with_leasepool_static && echo "ok: a host by find_package"

cmake -S "$root/examples/host" -B hosts -DCMAKE_PREFIX_PATH="$prefix" && cmake --build hosts &&
    hosts/checksums CMakeLists.txt host.c >sums && [ "$(wc -l <sums)" -eq 2 ] &&
    echo "ok: the example hosts against the installed library"

env -u LUA_PATH_5_4 -u LUA_CPATH_5_4 \
    LUA_PATH="$prefix/share/lua/5.4/?.lua;$prefix/share/lua/5.4/?/init.lua;;" \
    LUA_CPATH="$prefix/lib/lua/5.4/?.so;;" "$lua" "$root/examples/00_quickstart.lua" &&
    echo "ok: the first example with the installed module"

# The program needs nothing but its prefix.
alone() {
    env -i "$prefix/bin/leasepool" "$@"
}
[ "$(alone "$root/examples/00_quickstart.lua")" = "Result: HELLO LEASEPOOL" ] &&
    echo "ok: the first example with the installed program"
[ "$(alone -l leasepool -e '
    local manager <close> = leasepool.manager({ backend = "process", max_pools = 1 }):start()
    print(manager:run(string.upper, "a process"))')" = "A PROCESS" ] &&
    echo "ok: a job in a process of the installed program"
[ -f "$prefix/share/man/man1/leasepool.1" ] && echo "ok: the man page of the program"
