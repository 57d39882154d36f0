--- The example hosts, as this build has made them.
local child = require "spec.support.child"

local build <const> = os.getenv "LEASEPOOL_BUILD" or "build"

describe("the example host checksums", function()
  local function run(files)
    return child.shell(("%s/examples/host/checksums %s"):format(build, files))
  end

  it("reads files on leased threads while its own timer goes on", function()
    local name <const> = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write("Wikipedia"):close()
    assert.are.same({ ("11e60398  %s\n"):format(name), "the loop ticked: yes\n", 0 }, { run(name) })
    os.remove(name)
  end)

  it("says what cannot be read, and goes on with the others", function()
    local output <const>, errors <const>, status <const> = run "LICENSE /no/such/file README.md"
    assert.are.equal("/no/such/file: cannot be read\nthe loop ticked: yes\n", errors)
    assert.are.equal(1, status)
    assert.matches("%x+  LICENSE\n", output)
    assert.matches("%x+  README.md\n", output)
  end)
end)
