# onnxpress: the whole build in one file. `make help` lists the targets.
#
#   make                      build/onnxpress, build/libonnxpress.a, build/libonnxpress.so
#   make SANITIZE=1           the same with ASan and UBSan, in build/asan
#   make KERNELS=reference    the same on the plain kernels, in build/reference
#   make V=1                  prints whole commands;  make WERROR=  lets warnings pass
#
# Nothing here installs a package except `make setup`, which `make demo` and `make test` call.

VERSION := 0.1.0
SONAME  := libonnxpress.so.0

# Where a caller's environment happens to hold a BUILD, it is not meant; `make BUILD=...` is.
BUILD     := build$(if $(SANITIZE),/asan)$(if $(KERNELS),/$(KERNELS))
GENERATED := build/gen
JOBS      ?= $(shell nproc 2>/dev/null || echo 1)
ORACLE    ?= 1

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

# ---- flags -------------------------------------------------------------------------------------

MACHINE := $(shell uname -m)
SYSTEM  := $(shell uname -s)
COMPILER := $(if $(findstring clang,$(CC)),clang,gcc)

WERROR   ?= -Werror
WARNINGS := -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wvla -Wformat=2 $(WERROR)

HARDENING := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
HARDENING += -fno-strict-overflow -fno-delete-null-pointer-checks
HARDENING += $(if $(filter gcc,$(COMPILER)),-ftrivial-auto-var-init=zero)
HARDENING += $(if $(filter x86_64,$(MACHINE)),-fcf-protection=full)
HARDENING += $(if $(filter aarch64,$(MACHINE)),-mbranch-protection=standard)

# Without the hardening: wrapping arithmetic would hide overflows from UBSan, fortified calls would
# hide reads from ASan, and zeroed variables would hide what was never set.
SANITIZERS := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all
SANITIZERS += -fno-omit-frame-pointer

MODE := $(if $(SANITIZE),-O1 -g $(SANITIZERS),-O2 -g $(HARDENING))
MODE += $(if $(filter reference,$(KERNELS)),-DOXP_KERNELS_REFERENCE)

INCLUDES := -Iinclude -Isrc -I$(GENERATED)
BASE     := -std=c11 -D_GNU_SOURCE $(INCLUDES) $(MODE) -ffp-contract=off -fPIC -pthread \
            -ffile-prefix-map=$(CURDIR)=.
COMPILE   = $(CC) $(BASE) $(WARNINGS) -fvisibility=hidden $(CPPFLAGS) $(CFLAGS) -MMD -MP
COMPILE_GENERATED = $(CC) $(BASE) -w -fvisibility=hidden $(CPPFLAGS) $(CFLAGS) -MMD -MP

# OpenMP is linked for omp_set_num_threads() alone: oneDNN brings the same libgomp.
LINK_FLAGS := $(if $(SANITIZE),$(SANITIZERS)) -pthread -Wl,--as-needed \
              -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code
LIBRARIES  := -lprotobuf-c -lxxhash -ldnnl -ljansson -lz -lgomp -lm

# ---- files -------------------------------------------------------------------------------------

SOURCES         := $(wildcard src/*/*.c)
CLI_OBJECTS     := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(filter src/cli/%,$(SOURCES)))
LIBRARY_OBJECTS := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(filter-out src/cli/%,$(SOURCES)))
LIBRARY_OBJECTS += $(BUILD)/obj/gen/onnx.pb-c.o
SCHEMA_HEADER   := $(GENERATED)/onnx.pb-c.h

# Criterion programs, one per file, and the plain helper programs of the other test stages.
# tests/support/*.c is linked into all of them.
UNIT_TESTS     := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*/*.c tests/operators/*.c \
                  tests/techniques/*.c))
PLAIN_TESTS    := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/conformance/*.c tests/cli/*.c \
                  tests/hostile/*.c tests/oracle/*.c tests/fuzz/*.c))
TEST_SUPPORT   := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c))

STATIC := $(BUILD)/libonnxpress.a
SHARED := $(BUILD)/$(SONAME)
BINARY := $(BUILD)/onnxpress

ifeq ($(V),1)
Q :=
else
Q := @
endif
say = $(if $(Q),@printf '%-7s %s\n' $(1) $@)

# ---- build -------------------------------------------------------------------------------------

## all: build the command and the libraries into build/
.PHONY: all
all: $(BINARY) $(STATIC) $(BUILD)/libonnxpress.so

$(GENERATED)/onnx.pb-c.c: proto/onnx.proto | preflight
	$(call say,PROTOC)
	@mkdir -p $(@D)
	$(Q)protoc-c --proto_path=proto --c_out=$(GENERATED) onnx.proto
$(GENERATED)/onnx.pb-c.h: $(GENERATED)/onnx.pb-c.c ;

$(BUILD)/obj/gen/onnx.pb-c.o: $(GENERATED)/onnx.pb-c.c $(BUILD)/flags
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(COMPILE_GENERATED) -c $< -o $@

$(BUILD)/obj/%.o: src/%.c $(BUILD)/flags | $(SCHEMA_HEADER) preflight
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -c $< -o $@

$(STATIC): $(LIBRARY_OBJECTS) $(BUILD)/objects
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcsD $@ $(LIBRARY_OBJECTS)

$(SHARED): $(LIBRARY_OBJECTS) $(BUILD)/objects
	$(call say,LINK)
	$(Q)$(CC) $(LINK_FLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--no-undefined \
	    $(LIBRARY_OBJECTS) $(LIBRARIES) -o $@

$(BUILD)/libonnxpress.so: $(SHARED)
	@ln -sf $(SONAME) $@

$(BINARY): $(CLI_OBJECTS) $(STATIC)
	$(call say,LINK)
	$(Q)$(CC) $(LINK_FLAGS) -pie $(LDFLAGS) $(CLI_OBJECTS) $(STATIC) $(LIBRARIES) -o $@

# Rewritten only when they change: other flags, or a source that came or went.
$(BUILD)/flags: FORCE
	$(call remember,$(COMPILE) / $(LINK_FLAGS) $(LIBRARIES))
$(BUILD)/objects: FORCE
	$(call remember,$(LIBRARY_OBJECTS))
remember = @mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' > $@
.PHONY: FORCE
FORCE:

# ---- tests -------------------------------------------------------------------------------------

## test-programs: build every test program (SANITIZE=1 for the sanitised ones)
.PHONY: test-programs
test-programs: $(UNIT_TESTS) $(PLAIN_TESTS)
	@:

$(TEST_SUPPORT): $(BUILD)/%.o: %.c $(BUILD)/flags | $(SCHEMA_HEADER) preflight
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Itests -c $< -o $@

$(UNIT_TESTS): TEST_LIBRARY := -lcriterion -lzip
$(UNIT_TESTS): | preflight-tests
$(UNIT_TESTS) $(PLAIN_TESTS): $(BUILD)/%: %.c $(TEST_SUPPORT) $(STATIC)
	$(call say,TEST)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Itests -MF $@.d $< $(TEST_SUPPORT) $(STATIC) $(LINK_FLAGS) -pie $(LDFLAGS) \
	    $(LIBRARIES) $(TEST_LIBRARY) -o $@

-include $(wildcard $(BUILD)/obj/*/*.d $(BUILD)/tests/*/*.d $(BUILD)/tests/*/*/*.d)

# Everything below runs on a built tree. The stages and their order stand in tests/run.

## test: set up, build, run every test, print "N passed, N failed" (ORACLE=0: without the oracle)
.PHONY: test
test: setup-test
	+@ORACLE=$(ORACLE) JOBS=$(JOBS) MAKE='$(MAKE)' tests/run

STAGES := lint unit operators techniques conformance cli hostile install generated oracle
## test-STAGE: one stage: unit operators techniques conformance cli hostile install generated oracle
.PHONY: $(STAGES:%=test-%) lint
$(STAGES:%=test-%): test-%:
	+@ORACLE=$(ORACLE) JOBS=$(JOBS) MAKE='$(MAKE)' tests/run $*

## lint: layers, tables, forbidden calls, silence, header, format, hardening
lint: test-lint

## format: apply .clang-format to all sources
.PHONY: format
format:
	@find include src tests examples -name '*.[ch]' | xargs clang-format --style=file -i

## oracle: make build/venv with the pinned packages of tests/oracle/requirements.txt
.PHONY: oracle
oracle: build/venv/ready
build/venv/ready: tests/oracle/requirements.txt
	$(call say,VENV)
	$(Q)rm -rf build/venv && mkdir -p build && python3 -m venv build/venv
	$(Q)build/venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# ---- demonstration and measurement ---------------------------------------------------------------

## demo: set up, build, and compress the trained model of models/
.PHONY: demo
demo: setup
	+@$(MAKE) --no-print-directory -j$(JOBS) all
	@examples/demo.sh

## zoo-test: the published models of the zoo, downloaded and judged by the oracle
.PHONY: zoo-test
zoo-test: all oracle
	bench/zoo-test

## bench: the measurements side by side with other tools: the zoo, then speed and memory
.PHONY: bench
bench: all oracle $(BUILD)/bench/speed/forward
	bench/run; zoo=$$?; BUILD=$(BUILD) bench/speed/run && exit $$zoo

## bench-speed: speed and memory beside ONNX Runtime
.PHONY: bench-speed
bench-speed: all $(BUILD)/bench/speed/forward
	BUILD=$(BUILD) bench/speed/run

## bench-gradients: weight gradients of whole models against PyTorch in float64
.PHONY: bench-gradients
bench-gradients: all $(BUILD)/bench/gradients/weights
	BUILD=$(BUILD) bench/gradients/run

$(BUILD)/bench/%: bench/%.c $(STATIC)
	$(call say,BENCH)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -MF $@.d $< $(STATIC) $(LINK_FLAGS) -pie $(LDFLAGS) $(LIBRARIES) -o $@

# ---- installation --------------------------------------------------------------------------------

MANUALS := $(wildcard docs/*.1)

## install: into PREFIX (/usr/local), below DESTDIR
.PHONY: install
install: all
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)'
	install -m 755 $(BINARY) '$(DESTDIR)$(BINDIR)/onnxpress'
	install -m 644 $(STATIC) '$(DESTDIR)$(LIBDIR)/libonnxpress.a'
	install -m 755 $(SHARED) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libonnxpress.so'
	install -m 644 include/onnxpress.h '$(DESTDIR)$(INCLUDEDIR)/onnxpress.h'
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|; s|@LIBRARIES@|$(LIBRARIES)|' packaging/onnxpress.pc.in \
	    > '$(DESTDIR)$(LIBDIR)/pkgconfig/onnxpress.pc'
	$(if $(MANUALS),install -d '$(DESTDIR)$(MANDIR)/man1')
	$(if $(MANUALS),install -m 644 $(MANUALS) '$(DESTDIR)$(MANDIR)/man1/')

## uninstall: remove what install put there
.PHONY: uninstall
uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/onnxpress' '$(DESTDIR)$(INCLUDEDIR)/onnxpress.h' \
	    '$(DESTDIR)$(LIBDIR)/libonnxpress.a' '$(DESTDIR)$(LIBDIR)/libonnxpress.so' \
	    '$(DESTDIR)$(LIBDIR)/$(SONAME)' '$(DESTDIR)$(LIBDIR)/pkgconfig/onnxpress.pc' \
	    $(MANUALS:docs/%='$(DESTDIR)$(MANDIR)/man1/%')

# ---- what the machine must have ------------------------------------------------------------------

# One line when it is the wrong machine or something is missing. `make` itself installs nothing.
.PHONY: preflight preflight-tests
preflight:
	@$(if $(filter Linux,$(SYSTEM)),,$(error onnxpress builds on Linux only, this is $(SYSTEM)))
	@$(if $(filter x86_64 aarch64,$(MACHINE)),,$(error onnxpress builds on x86-64 and aarch64 only, \
	this is $(MACHINE)))
	@$(call stop_if,$(shell tools/setup.sh --check build))
preflight-tests:
	@$(call stop_if,$(shell tools/setup.sh --check unit))
stop_if = $(if $(1),$(error $(1)))

## setup: install the Debian packages that the build lacks (setup-test: the tests' too)
.PHONY: setup setup-test
setup:
	@tools/setup.sh build
setup-test:
	@tools/setup.sh build unit test

## clean: remove everything that was built
.PHONY: clean
clean:
	rm -rf build

## help: this list
.PHONY: help
help:
	@sed -n 's/^## \([^:]*\): /  \1\t/p' Makefile | expand -t 18
