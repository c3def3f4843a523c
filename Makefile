# Podwire: build, test, show, install. `make help` lists the targets.

# The executables of the suite: one program, hard-linked under each of these names.
PLUGINS := $(sort $(patsubst %/main.ts,%,$(patsubst plugins/%,%,$(patsubst ipam/%,%,$(wildcard plugins/*/main.ts ipam/*/main.ts)))))

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := build

# Everything runs under the Node of node_modules, whatever the machine's own is.
export PATH := $(CURDIR)/node_modules/node/bin:$(CURDIR)/node_modules/.bin:$(PATH)

# The machine to build for: empty for this one, into bin/; amd64 or arm64, into bin/<ARCH>/.
ARCH ?=
NATIVE := $(patsubst x86_64,amd64,$(patsubst aarch64,arm64,$(shell uname -m)))
MACHINE := $(or $(ARCH),$(NATIVE))
TARGET := $(patsubst amd64,x86_64,$(patsubst arm64,aarch64,$(MACHINE)))-linux-musl
ifeq ($(filter $(MACHINE),amd64 arm64),)
$(error ARCH is "$(MACHINE)": Podwire is built for amd64 and arm64)
endif

BUILD := build/$(MACHINE)
COMPARED := $(BUILD)/comparison
BIN := bin$(addprefix /,$(ARCH))
SOURCES := $(shell find lib ipam plugins -name '*.ts' ! -name '*.test.ts')
AGENT_SOURCES := $(shell find lib agent -name '*.ts' ! -name '*.test.ts')
# What suites run of lib/sys and lib/loop by itself.
PROBES := $(addprefix $(BUILD)/probes/,tls-client loop-driver api-watch)

DESTDIR ?=
CNI_BIN_DIR ?= /opt/cni/bin

# Where archives and images are made, and what the image is called.
RELEASE := build/release
IMAGE ?=

.PHONY: build check test probes comparison conformance conformance-kernels coverage manifests demo demo-overlay demo-cluster fresh bench layout fuzz lint format install release image architectures clean help plugins need-build need-test need-demo need-bench need-kernels need-fresh need-layout

build: need-build $(addprefix $(BIN)/,$(PLUGINS) podwire-agent) ## compile plugins and agent into bin/ (ARCH=arm64: into bin/arm64/)

test: need-test ## type check, lint, build, run all tests (as root)
	@tsc
	@biome check --error-on-warnings
	@$(MAKE) --no-print-directory build probes release image comparison
	@vitest run

check: need-build ## types, lint and unit tests: no root, no build
	@tsc --incremental --tsBuildInfoFile .cache/tsc.json
	@biome check --error-on-warnings
	@vitest run --project unit

probes: $(PROBES) ## the programs of testbed/probes, which conformance/agent runs

comparison: $(addprefix $(COMPARED)/plain/,$(PLUGINS)) $(addprefix $(COMPARED)/poisoned/,$(PLUGINS)) $(COMPARED)/program.c ## what conformance/toolchain compares the executables with

conformance: need-test build image ## real container runtimes with both suites of plugins, faults at every system call, a fresh machine (as root)
	@PODWIRE_CLIENTS=all vitest run --project clients
	@PODWIRE_FAULTS=all vitest run --maxWorkers=3 conformance/faults conformance/trouble
	@PODWIRE_LOAD=all vitest run conformance/agent/load.test.ts
	@$(MAKE) --no-print-directory fresh

fresh: need-fresh ## README's commands in a Debian 12 with nothing but Node.js, npm and make (as root)
	@exec node hack/fresh/run.ts

conformance-kernels: need-test need-kernels build ## the suites inside Debian's kernels, emulated; writes conformance/KERNELS.md
	@$(MAKE) --no-print-directory ARCH=arm64 build
	@exec node conformance/kernels/run.ts

demo: need-demo build ## pods on a bridge, a published port, a flush: what each call does, in namespaces of their own
	@exec node hack/demo.ts

demo-overlay: need-demo build ## five nodes in namespaces: pods reach each other across them, nodes join and leave
	@exec node hack/demo-overlay.ts

demo-cluster: need-demo build ## five nodes, an API server and the node agent: nodes join and leave, agents and the server go and come back
	@exec node hack/demo-cluster.ts

bench: need-bench build ## time Podwire against the reference plugins; writes bench/RESULTS.md
	@exec node bench/run.ts

layout: need-layout $(addprefix $(BUILD)/named/,$(PLUGINS)) ## see which functions the usual calls run; writes hack/toolchain/layout.txt (as root)
	@node hack/toolchain/profile.ts $(CURDIR)/$(BUILD)/named $(CURDIR)/$(BUILD)/main.ll

fuzz: need-test build ## spoilt inputs with a seed of its own; SEED= and COUNT= choose
	@PODWIRE_FUZZ_SEED=$(or $(SEED),$$RANDOM) PODWIRE_FUZZ_COUNT=$(or $(COUNT),20000) vitest run conformance/protocol/fuzz.test.ts

coverage: need-build ## write conformance/COVERAGE.md: which test shows which rule of the specification
	@node conformance/protocol/coverage.ts

manifests: need-build ## write deploy/: manifests, kustomize's folders and the chart, from deploy/source
	@node deploy/source/write.ts

lint: need-build ## type check and lint
	@tsc
	@biome check --error-on-warnings

format: need-build ## format and fix what can be fixed
	@biome check --write

install: build ## copy the plugins to $(DESTDIR)$(CNI_BIN_DIR), safely on a node in use
	@hack/install.sh $(BIN) $(DESTDIR)$(CNI_BIN_DIR) $(PLUGINS)

release: architectures ## archives like the reference's, checksums, bills of materials, for all architectures, in build/release/
	@node hack/release/archives.ts build $(RELEASE) $(PLUGINS)

image: architectures ## the image that installs Podwire on a node, all architectures, in build/release/; IMAGE= names it
	@node hack/release/image.ts build $(RELEASE) "$(IMAGE)" $(PLUGINS)

architectures: need-build
	@$(MAKE) --no-print-directory ARCH=amd64 build/amd64/podwire build/amd64/agent/podwire-agent
	@$(MAKE) --no-print-directory ARCH=arm64 build/arm64/podwire build/arm64/agent/podwire-agent

clean: ## remove what was built
	@rm -rf build bin

plugins: ## print the names of the executables
	@echo $(PLUGINS)

help: ## print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 26

need-build need-test need-demo need-bench need-kernels need-fresh need-layout: need-%:
	@hack/need.sh $*

TOOLCHAIN := package.json package-lock.json $(addprefix hack/toolchain/,zig rewrite.ts shrink.ts exits.ts layout.ts layout.txt readers.ts cycles.c)

# The compiler writes LLVM code; hack/toolchain/zig turns it and the runtime into a static executable.
SCRIPTC = PATH="$(CURDIR)/hack/toolchain:$$PATH" SCRIPTC_CC=zigcc SCRIPTC_TARGET=$(TARGET) hack/quiet.sh scriptc build --strip --keep-c

$(BUILD)/podwire: $(SOURCES) $(BUILD)/sys.o $(BUILD)/signals.o $(BUILD)/memory.o $(BUILD)/sys.json $(TOOLCHAIN) | need-build
	@echo "compiling Podwire for $(MACHINE)"
	@$(SCRIPTC) --ffi $(BUILD)/sys.json plugins/main.ts -o $@
	@touch $@

# Programs that wait for many things, and speak TLS.
$(BUILD)/agent/podwire-agent: ENTRY := agent/main.ts
$(PROBES): ENTRY = testbed/probes/$(@F).ts
$(PROBES): $(BUILD)/probes/%: testbed/probes/%.ts
$(BUILD)/agent/podwire-agent $(PROBES): $(AGENT_SOURCES) $(addprefix $(BUILD)/,sys.o signals.o memory.o loop.o tcp.o tls.o mbedtls.a) lib/sys/sys.json lib/sys/agent.json hack/toolchain/manifest.ts $(TOOLCHAIN) | need-build
	@echo "compiling $(@F) for $(MACHINE)"
	@mkdir -p $(@D)
	@node hack/toolchain/manifest.ts $(ENTRY) $(BUILD)/$(@F).json lib/sys/sys.json lib/sys/agent.json
	@$(SCRIPTC) --ffi $(BUILD)/$(@F).json $(ENTRY) -o $@
	@touch $@

# The same with the names of its functions.
$(BUILD)/named/podwire: $(BUILD)/podwire hack/toolchain/link.sh
	@echo "linking Podwire with names"
	@mkdir -p $(@D)
	@hack/quiet.sh hack/toolchain/link.sh named $(BUILD)/main.ll.arguments $@

C_FLAGS := -target $(TARGET) -O2 -fomit-frame-pointer -Wall -Wextra -Werror -fno-builtin -fno-unwind-tables -fno-asynchronous-unwind-tables

# No builtins: the compiler would make calloc out of malloc and memset, in calloc itself.
$(BUILD)/%.o: lib/sys/%.c lib/sys/sys.h package-lock.json | need-build
	@mkdir -p $(@D)
	@zig cc $(C_FLAGS) -c $< -o $@

$(BUILD)/tls.o: lib/sys/mbedtls_config.h
$(BUILD)/tls.o: C_FLAGS += -isystem node_modules/@scriptc/runtime/vendor/mbedtls/include -I . -DMBEDTLS_CONFIG_FILE='"lib/sys/mbedtls_config.h"'

$(BUILD)/mbedtls.a: hack/toolchain/mbedtls.sh lib/sys/mbedtls_config.h package-lock.json | need-build
	@echo "compiling mbedTLS for $(MACHINE)"
	@mkdir -p $(@D)
	@hack/quiet.sh hack/toolchain/mbedtls.sh $(TARGET) $@

# The same LLVM code, linked in other ways.
$(COMPARED)/plain/podwire $(COMPARED)/poisoned/podwire: $(COMPARED)/%/podwire: $(BUILD)/podwire hack/toolchain/link.sh $(COMPARED)/sys.o $(COMPARED)/memory.o
	@echo "linking Podwire, $*"
	@mkdir -p $(@D)
	@hack/quiet.sh hack/toolchain/link.sh $* $(BUILD)/main.ll.arguments $@

$(COMPARED)/sys.o: lib/sys/sys.c package-lock.json | need-build
	@mkdir -p $(@D)
	@zig cc $(C_FLAGS) -D_exit=checked_exit -c $< -o $@

$(COMPARED)/memory.o: hack/toolchain/poison.c package-lock.json | need-build
	@mkdir -p $(@D)
	@zig cc $(C_FLAGS) -c $< -o $@

# The program as C: hack/toolchain/boxed.ts reads the types of parameters there.
$(COMPARED)/program.c: $(BUILD)/podwire
	@mkdir -p $(@D)
	@hack/quiet.sh scriptc build --emit c --ffi $(BUILD)/sys.json plugins/main.ts -o $@
	@touch $@

# The manifest names the objects beside it, so a copy of it lies beside each machine's objects.
$(BUILD)/sys.json: lib/sys/sys.json
	@mkdir -p $(@D)
	@cp $< $@

$(BIN)/podwire-agent: $(BUILD)/agent/podwire-agent
$(addprefix $(BIN)/,$(PLUGINS)): $(BUILD)/podwire
$(addprefix $(COMPARED)/plain/,$(PLUGINS)): $(COMPARED)/plain/podwire
$(addprefix $(COMPARED)/poisoned/,$(PLUGINS)): $(COMPARED)/poisoned/podwire
$(addprefix $(BUILD)/named/,$(PLUGINS)): $(BUILD)/named/podwire
$(BIN)/podwire-agent $(foreach directory,$(BIN) $(COMPARED)/plain $(COMPARED)/poisoned $(BUILD)/named,$(addprefix $(directory)/,$(PLUGINS))):
	@mkdir -p $(@D)
	@ln -f $< $@
