--- The public headers stand alone, in C and in C++, and a native job may be written in C++.
local child = require "spec.support.child"
local compiled = require "spec.support.natives"
local leasepool = require "leasepool"

local WARNINGS <const> = "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"

-- Compiles code that is given on the command line; what the compiler has to say.
local function compile(compiler, language, standard, code)
  local _, errors, status = child.shell(
    ("printf %%s %s | %s -x %s -std=%s %s -I src $(pkg-config --cflags libuv 2>/dev/null) -fsyntax-only -"):format(
      child.quote(code), compiler, language, standard, WARNINGS))
  return status ~= 0 and errors or ""
end

local COMPILERS <const> = {
  { language = "c", command = os.getenv "CC" or "cc", standards = { "gnu99", "gnu11" } }, -- uv.h needs POSIX
  { language = "c++", command = os.getenv "CXX" or "c++", standards = { "c++11", "c++17", "c++20" } },
}

-- All that leasepool_native.h has, once.
local EVERYTHING <const> = [[
#include "leasepool_native.h"

static lp_cursor_t beginning()
{
    lp_cursor_t cursor = {nullptr, 0, 0};
    return cursor;
}

extern "C" int everything(lp_call_t *call)
{
    int boolean = 0;
    int64_t integer = 0;
    double number = 0;
    const char *bytes = nullptr;
    size_t len = 0, length = 0;
    lp_value_t table = lp_arg(call, 5), key, value;
    lp_cursor_t cursor = beginning();
    if (lp_arg_count(call) != 5 || lp_arg_boolean(call, 1, &boolean) != 0 ||
        lp_arg_integer(call, 2, &integer) != 0 || lp_arg_number(call, 3, &number) != 0 ||
        lp_arg_string(call, 4, &bytes, &len) != 0 || lp_table_length(call, table, &length) != 0 ||
        lp_get_integer(call, lp_table_at(call, table, 1), &integer) != 0 ||
        lp_get_boolean(call, lp_table_get(call, table, "x"), &boolean) != 0)
        return lp_return_error(call, "not what was expected");
    while (lp_table_next(call, table, &cursor, &key, &value) == 1)
        if (key.type == LP_TYPE_STRING && lp_get_string(call, key, &bytes, &len) != 0)
            return LP_EINVAL;
    if (lp_cancelled(call) == LP_ECANCELLED || lp_remaining_ns(call) == 0)
        return LP_ECANCELLED;
    lp_return_nil(call);
    lp_return_boolean(call, boolean);
    lp_return_integer(call, integer);
    lp_return_number(call, number);
    lp_return_string(call, bytes, len);
    lp_open_table(call);
    lp_return_key(call, "k");
    lp_return_integer(call, static_cast<int64_t>(length));
    return lp_close_table(call);
}
]]

for _, row in ipairs(COMPILERS) do
  describe("a public header #house", function()
    local _, _, missing = child.shell(row.command .. " --version")

    for _, name in ipairs { "leasepool.h", "leasepool_native.h" } do
      it(("can be the only one in %s: %s"):format(row.language, name), function()
        if missing ~= 0 then pending("there is no compiler '" .. row.command .. "'") end
        for _, standard in ipairs(row.standards) do
          local code = ('#include "%s"\n#include "%s"\nint f(void);\nint f(void) { return LP_ETIMEDOUT; }\n'):format(
            name, name)
          assert.are.equal("", compile(row.command, row.language, standard, code), standard)
        end
      end)
    end
  end)
end

describe("the header of native jobs #house", function()
  it("asks no more than C99 of a compiler", function()
    local compiler <const> = COMPILERS[1].command
    local _, _, missing = child.shell(compiler .. " --version")
    if missing ~= 0 then pending("there is no compiler '" .. compiler .. "'") end
    assert.are.equal("", compile(compiler, "c", "c99", '#include "leasepool_native.h"\n'))
  end)
end)

describe("a native job in C++", function()
  it("uses all that there is", function()
    local compiler <const> = COMPILERS[2].command
    local _, _, missing = child.shell(compiler .. " --version")
    if missing ~= 0 then pending("there is no compiler '" .. compiler .. "'") end
    local path = assert(compiled.compile_text(EVERYTHING, "c++", WARNINGS .. " -std=c++11"))
    local everything = leasepool.load_native(path, "everything")
    os.remove(path)
    assert.are.same({ nil, true, 7, 0.5, "x", { k = 1 } }, { everything(false, 1, 0.5, "text", { 7, x = true }) })
    assert.are.same({ false, "not what was expected" }, { pcall(everything) })
  end)
end)
