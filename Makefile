# Thin: CMake builds, spec/support/run_tests.sh tests.
BUILD ?= build
LUA ?= lua5.4
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
DIR ?= /usr/include

.PHONY: all quickstart build test check bench bench-build growth performance endurance stopping crashes stress docs format clean install-deps

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

bench-build:
	@.ci/install-deps build test
	@cmake -S . -B $(BUILD) -DLEASEPOOL_BENCH=ON >/dev/null
	@cmake --build $(BUILD) --parallel $(JOBS) >/dev/null

BENCH = LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;$(abspath $(BUILD))/bench/?.so;;" $(LUA)

# The benchmark beside luv; ROWS="post submit_1" picks, PAIRS=3 is quicker, JSON=FILE keeps it.
bench: bench-build
	@$(BENCH) bench/run.lua --build=$(BUILD) --pairs=$(or $(PAIRS),10) $(if $(JSON),--json=$(JSON)) $(ROWS)

# What an operation costs beside 10 to 100,000 others: docs/growth.svg and its table.
growth: bench-build
	@$(BENCH) bench/growth.lua $(BUILD)

# Measures what docs/performance.md tells: for a quiet machine, about ten minutes.
performance: growth
	@$(MAKE) --no-print-directory bench JSON=$(BUILD)/bench.json
	@$(BENCH) bench/document.lua $(BUILD)/bench.json

# Large numbers: executors, waiters, leases, expiries.
endurance: build
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" $(LUA) bench/endurance.lua

# How fast work that runs is stopped, and what a worker costs, on each backend.
stopping: build
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" $(LUA) bench/stopping.lua

# Child processes killed at random moments.
crashes: build
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" $(LUA) bench/crashes.lua $(KILLS)

# The real core beside its model, in STEPS random steps; SEED=n begins with another sequence.
stress: build
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" \
	  $(LUA) spec/support/model_main.lua $(or $(SEED),$(shell date +%s)) $(or $(STEPS),1000000) \
	  --progress 2>$(BUILD)/stress.log

# docs/configuration.md, from the tables of options.
docs: build
	@LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
	  LUA_CPATH="$(abspath $(BUILD))/lua/?.so;;" $(LUA) docs/generate.lua

format:
	@find src spec/c spec/support bench -name '*.[ch]' | xargs clang-format -i

clean:
	@rm -rf $(BUILD)

install-deps:
	@.ci/install-deps build test
