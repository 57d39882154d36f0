# Thin: CMake builds, spec/support/run_tests.sh tests.
BUILD ?= build
LUA ?= lua5.4
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
DIR ?= /usr/include

.PHONY: all quickstart build test check bench endurance stress docs format clean install-deps

all: build

# Build, run the first example, and count DIR with a pool beside wc.
quickstart:
	@.ci/install-deps build
	@$(MAKE) --no-print-directory build
	@BUILD=$(BUILD) LUA=$(LUA) spec/support/quickstart.sh $(DIR)

build:
	@test -f $(BUILD)/CMakeCache.txt || cmake -S . -B $(BUILD)
	@cmake --build $(BUILD) --parallel $(JOBS)

# Everything. STAGES="asan tsan" runs only these.
test:
	@.ci/install-deps build test
	@BUILD=$(BUILD) LUA=$(LUA) JOBS=$(JOBS) spec/support/run_tests.sh $(STAGES)

# The inner loop: incremental build, specs, C tests, luacheck.
check:
	@BUILD=$(BUILD) LUA=$(LUA) JOBS=$(JOBS) spec/support/run_tests.sh build specs ctests luacheck

# The benchmark beside luv; ROWS="post submit_1" picks, PAIRS=3 is quicker.
bench: build
	@.ci/install-deps test
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" \
	  $(LUA) bench/run.lua --pairs=$(or $(PAIRS),10) $(if $(JSON),--json=$(JSON)) $(ROWS)

# Large numbers: executors, waiters, leases, expiries.
endurance: build
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" $(LUA) bench/endurance.lua

# The real core beside its model, in STEPS random steps; SEED=n begins with another sequence.
stress: build
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" \
	  $(LUA) spec/support/model_main.lua $(or $(SEED),$(shell date +%s)) $(or $(STEPS),1000000) \
	  --progress 2>$(BUILD)/stress.log

# docs/configuration.md, from the table of options.
docs: build
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" $(LUA) docs/generate.lua

format:
	@find src spec/c spec/support -name '*.[ch]' | xargs clang-format -i

clean:
	@rm -rf $(BUILD)

install-deps:
	@.ci/install-deps build test
