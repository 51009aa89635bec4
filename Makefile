# bulkhead: one Makefile for everything. `make help` lists the targets.
#
# Objects live in build/<variant>/, so that sanitizer builds never mix with the release.
# A target that needs another variant calls this same file again with VARIANT=...

SHELL       := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:

VARIANT     ?= release
PYTHON      ?= /usr/bin/python3
CLANG       ?= clang
JOBS        ?= $(shell nproc)
# Tests wait for most of their time, so more of them than CPUs run at once.
TEST_JOBS   ?= $(shell echo $$((2 * $(JOBS))))
PREFIX      ?= /usr/local
DESTDIR     ?=
Q           := $(if $(V),,@)

BUILD       := build/$(VARIANT)
LIB         := $(BUILD)/libbulkhead.a
PROGRAM     := $(BUILD)/bulkhead
CLOCK_PROG  := $(BUILD)/bulkhead-clock
VERSION     := $(shell cat src/version.txt)

SOURCES     := $(sort $(wildcard src/*/*.c))
OBJECTS     := $(SOURCES:src/%.c=$(BUILD)/obj/%.o)
UNIT_SRC    := $(sort $(wildcard tests/unit/*/test_*.c))
UNIT_BIN    := $(UNIT_SRC:tests/%.c=$(BUILD)/tests/%)
FUZZ_SRC    := $(sort $(wildcard tests/fuzz/fuzz_*.c))
REPLAY_BIN  := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$(BUILD)/tests/replay/%)
BENCH_SRC   := $(sort $(wildcard bench/*.c))
LOAD_SRC    := $(sort $(wildcard bench/load/*.c))
LOAD_OBJ    := $(LOAD_SRC:bench/%.c=$(BUILD)/bench/obj/%.o)
LOAD_BIN    := $(BUILD)/bench/load
BENCH_BIN   := $(BENCH_SRC:bench/%.c=$(BUILD)/bench/%) $(LOAD_BIN)
TOOL_SRC    := $(sort $(wildcard tests/tools/*.c))
TOOL_BIN    := $(TOOL_SRC:tests/tools/%.c=$(BUILD)/tests/tools/%)
# A program of several files; it shares no code with bulkhead.
MIXED_SRC   := $(sort $(wildcard bench/mixed/*.c))
C_FILES     := $(wildcard src/*.c src/*/*.c include/*/*.h tests/unit/*/*.[ch] tests/fuzz/*.[ch] tests/tools/*.[ch] bench/*.[ch] bench/*/*.[ch])
SH_FILES    := $(wildcard .ci/run .ci/deps certs/*.sh tests/*.sh tests/integration/*.sh bench/*.sh config/*.sh config/completion/*.bash)

PY_FILES    := $(wildcard bench/*.py tests/*.py tests/*/*.py tests/integration/harness/*.py)

LIBS        := -lssl -lcrypto -levent_core -lcares -lnghttp2 -lyaml -ljansson -lpthread
TEST_LIBS   := -lcmocka

WARN        := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
               -Wold-style-definition -Wpointer-arith -Wwrite-strings -Wcast-qual -Wcast-align \
               -Wundef -Wvla -Wswitch-enum -Wformat=2 -Wnull-dereference -Wimplicit-fallthrough \
               -Wconversion -Wsign-conversion
WARN_GCC    := -Wlogical-op -Wduplicated-cond -Wduplicated-branches
HARDEN      := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection \
               -fcf-protection=full -ftrivial-auto-var-init=zero -fno-strict-overflow
REPRODUCE   := -ffile-prefix-map=$(CURDIR)=.
SANITIZE    := -O1 -g -fno-omit-frame-pointer

CC_release       := gcc
CC_debug         := gcc
CC_werror-gcc    := gcc
CC_werror-clang  := $(CLANG)
CC_asan          := $(CLANG)
CC_tsan          := $(CLANG)
CC_fuzz          := $(CLANG)
CC_coverage      := gcc
CC_uncounted     := gcc

FLAGS_release      := -O2 -g $(HARDEN)
FLAGS_debug        := -O0 -g3
# Only to measure what counting costs: see bench/telemetry.py.
FLAGS_uncounted    := -O2 -g $(HARDEN) -DBULKHEAD_WITHOUT_METRICS
FLAGS_werror-gcc   := -O2 -g -Werror $(HARDEN)
FLAGS_werror-clang := -O2 -g -Werror -fstack-protector-strong
FLAGS_asan         := $(SANITIZE) -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS_tsan         := $(SANITIZE) -fsanitize=thread
FLAGS_fuzz         := $(SANITIZE) -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
FLAGS_coverage     := -O0 -g --coverage -fprofile-update=atomic

ifeq ($(origin CC),default)
CC          := $(or $(CC_$(VARIANT)),gcc)
endif
IS_CLANG    := $(findstring clang,$(CC))
CPPFLAGS    += -D_GNU_SOURCE -DOPENSSL_API_COMPAT=30000 -DBULKHEAD_VERSION='"$(VERSION)"' -Iinclude
CFLAGS      += -std=c11 $(WARN) $(if $(IS_CLANG),,$(WARN_GCC)) -fno-common -fPIE $(REPRODUCE) \
               $(FLAGS_$(VARIANT))
LDFLAGS     += -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(FLAGS_$(VARIANT))

.PHONY: all build debug test check fmt fmt-check lint layers asan tsan valgrind fuzz coverage \
        certs demo deps help install dist clean compile_commands werror unit reference analyze bench soak \
        test-programs check-static check-tests prometheus bench-telemetry bench-policy uninstall deb

all: build

help: ## list the targets
	@awk -F':.*## ' '/^[a-z_-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' Makefile

deps: ## install what is missing from Debian's packages
	@.ci/deps build

ifeq ($(filter werror-% asan tsan fuzz coverage debug,$(VARIANT)),)
NEEDS_DEPS  := deps
endif

# With all CPUs, unless -j on the command line has said how many.
PARALLEL     = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))

build: $(NEEDS_DEPS) ## the release program, build/bulkhead
	+$(Q)$(MAKE) --no-print-directory $(PARALLEL) $(if $(filter release,$(VARIANT)),build/bulkhead,$(PROGRAM))

debug: ## -O0 -g3, in build/debug/
	+$(Q)$(MAKE) --no-print-directory VARIANT=debug build/debug/bulkhead

build/bulkhead: build/release/bulkhead
	$(Q)cp -f $< $@

$(PROGRAM): $(BUILD)/obj/main.o $(LIB)
	@echo "  LINK    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# For tests that turn the clock: its own clock.o comes before the archive, whose is then not taken.
$(CLOCK_PROG): $(BUILD)/obj/main.o $(BUILD)/tests/clock/test_clock.o $(LIB)
	@echo "  LINK    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/clock/test_clock.o: src/base/clock.c Makefile
	@echo "  CC      $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -DBULKHEAD_TEST_CLOCK $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(OBJECTS)
	@echo "  AR      $@"
	$(Q)rm -f $@ && ar rcsD $@ $^

# The object list is a prerequisite, so that a removed source leaves the archive too.
$(LIB): $(BUILD)/sources.list
$(BUILD)/sources.list: FORCE
	$(Q)mkdir -p $(@D); echo '$(SOURCES)' | cmp -s - $@ || echo '$(SOURCES)' > $@
.PHONY: FORCE
FORCE:

$(BUILD)/obj/%.o: src/%.c Makefile src/version.txt
	@echo "  CC      $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIB)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP -MF $@.d $(LDFLAGS) -o $@ $< $(LIB) $(LIBS) $(TEST_LIBS)

$(BUILD)/tests/replay/%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(LIB)
	@echo "  REPLAY  $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< tests/fuzz/replay.c $(LIB) $(LIBS)

$(BUILD)/tests/fuzz/%: tests/fuzz/fuzz_%.c $(LIB)
	@echo "  FUZZ    $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(LIB) $(LIBS)

$(BUILD)/tests/tools/%: tests/tools/%.c $(LIB)
	@echo "  TOOL    $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP -MF $@.d $(LDFLAGS) -o $@ $< $(LIB) $(LIBS) $(TEST_LIBS)

$(BUILD)/bench/%: bench/%.c $(LIB)
	@echo "  BENCH   $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -MF $@.d $(LDFLAGS) -o $@ $< $(LIB) $(LIBS)

$(BUILD)/bench/mixed: $(MIXED_SRC) $(wildcard bench/mixed/*.h) Makefile
	@echo "  BENCH   $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(MIXED_SRC) -lssl -lcrypto -lm

# The load generator is a program of several files; of the library it takes only base/.
$(LOAD_BIN): $(LOAD_OBJ) $(LIB)
	@echo "  BENCH   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lssl -lcrypto -lm

$(BUILD)/bench/obj/%.o: bench/%.c Makefile
	@echo "  CC      $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Ibench $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJECTS:.o=.d) $(LOAD_OBJ:.o=.d) $(BUILD)/obj/main.d $(BUILD)/tests/clock/test_clock.d $(addsuffix .d,$(UNIT_BIN) $(TOOL_BIN) $(BENCH_BIN))

test-programs: $(PROGRAM) $(CLOCK_PROG) $(UNIT_BIN) $(REPLAY_BIN) $(TOOL_BIN) $(LOAD_BIN)

test: ## unit tests, corpus replay, integration tests; T=name picks, VARIANT=asan and so on chooses the build
	$(Q).ci/deps test
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) test-programs $(if $(filter release,$(VARIANT)),build/bulkhead)
	$(Q)$(PYTHON) tests/run.py --build $(BUILD) --jobs $(TEST_JOBS) $(if $(T),--only '$(T)')

asan: ## all tests under ASan and UBSan, leaks are failures
	+$(Q)$(MAKE) --no-print-directory VARIANT=asan test

tsan: ## all tests under TSan
	+$(Q)$(MAKE) --no-print-directory VARIANT=tsan test

VALGRIND    := valgrind -q --error-exitcode=99 --leak-check=full --child-silent-after-fork=yes \
               --suppressions=$(CURDIR)/tests/valgrind.supp
valgrind: ## unit tests under valgrind
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) VARIANT=debug test-programs
	$(Q)$(PYTHON) tests/run.py --build build/debug --jobs $(JOBS) --unit-only \
	    --wrap '$(VALGRIND)'

coverage: ## line and branch coverage of src/, in build/coverage/
	+$(Q)$(MAKE) --no-print-directory VARIANT=coverage test
	$(Q)gcovr -r . --object-directory build/coverage --exclude-directories build/coverage/tests --filter 'src/' \
	    --branches --print-summary \
	    --gcov-ignore-parse-errors -o build/coverage/lines.txt -j $(JOBS)

F ?=
T ?=
fuzz: ## fuzz one target: make fuzz F=spiffe_id T=60 (seconds)
	$(Q)test -n '$(F)' || { echo "usage: make fuzz F=NAME [T=SECONDS]; names: $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)"; exit 2; }
	$(Q).ci/deps check
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) VARIANT=fuzz build/fuzz/tests/fuzz/$(F)
	$(Q)mkdir -p build/fuzz/corpus/$(F) tests/corpus/$(F)
	$(Q)build/fuzz/tests/fuzz/$(F) -max_total_time=$(or $(T),60) -timeout=10 -rss_limit_mb=2048 -artifact_prefix=build/fuzz/ \
	    -print_final_stats=1 build/fuzz/corpus/$(F) tests/corpus/$(F)

fmt: ## clang-format in place
	$(Q)clang-format -i $(C_FILES)

fmt-check: ## clang-format, differences only
	$(Q)clang-format --dry-run -Werror $(C_FILES)

layers: ## every #include against src/layers.txt
	$(Q)$(PYTHON) tests/layers.py

lint: ## clang-tidy, cppcheck, shellcheck, pyflakes
	$(Q)cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
	    --suppress=missingIncludeSystem -j $(JOBS) -Iinclude -Ibench -D_GNU_SOURCE \
	    -DBULKHEAD_VERSION='"$(VERSION)"' src bench/load
	$(Q)mkdir -p build && printf '%s\n' $(SOURCES) src/main.c $(LOAD_SRC) | xargs -P $(JOBS) -I FILE clang-tidy --quiet \
	    --warnings-as-errors='*' FILE -- $(CPPFLAGS) -Ibench -std=c11 > build/tidy.log 2> /dev/null || \
	    { cat build/tidy.log; exit 1; }
	$(Q)shellcheck $(SH_FILES)
	$(Q)pyflakes3 $(PY_FILES)

analyze: ## gcc -fanalyzer over src/ (noisy, not part of check)
	$(Q)for f in $(SOURCES); do gcc $(CPPFLAGS) -std=c11 -O1 -fanalyzer -c -o /dev/null $$f; done

werror:
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) VARIANT=werror-gcc build/werror-gcc/bulkhead
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) VARIANT=werror-gcc test-programs
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) VARIANT=werror-clang build/werror-clang/bulkhead
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) VARIANT=werror-clang test-programs

prometheus: ## Debian's Prometheus scrapes a known load for T seconds (3) and shows its numbers; promtool check metrics
	$(Q).ci/deps prometheus
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) build/bulkhead
	$(Q)$(PYTHON) tests/prometheus.py --build build/release $(if $(T),--seconds $(T))

check: ## what must pass before handing over: format, layers, lint, -Werror with gcc and clang, asan, tsan, prometheus, test
	$(Q).ci/deps check
	+$(Q)$(MAKE) --no-print-directory fmt-check layers
	+$(Q)mkdir -p build; $(MAKE) --no-print-directory check-static > build/static.log 2>&1 & \
	    tests=0; $(MAKE) --no-print-directory check-tests || tests=1; \
	    wait $$! || { cat build/static.log; echo "lint or -Werror failed: see above"; exit 1; }; exit $$tests

# These two run side by side: compilers and linters have the CPUs while tests wait.
check-static:
	+$(Q)$(MAKE) --no-print-directory lint
	+$(Q)$(MAKE) --no-print-directory werror

check-tests:
	+$(Q)$(MAKE) --no-print-directory asan
	+$(Q)$(MAKE) --no-print-directory tsan
	+$(Q)$(MAKE) --no-print-directory prometheus
	+$(Q)$(MAKE) --no-print-directory test

certs: ## the test credentials afresh, in build/certs/
	$(Q)rm -rf build/certs && certs/make.sh build/certs

demo: build ## a small shop: who is let through, who is refused, and why
	$(Q).ci/deps demo
	$(Q)$(PYTHON) tests/demo.py --bulkhead build/bulkhead

PEERS       ?=
CONGESTION  ?=
bench: ## bulkhead beside other proxies, about 10 minutes; QUICK=1: under 2; PEERS=nginx,hitch: only these; CONGESTION=bbr: TCP's
	$(Q).ci/deps bench
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) build/bulkhead $(addprefix $(BUILD)/bench/,load relay crypto_floor)
	$(Q)$(PYTHON) bench/run.py --bulkhead build/bulkhead --build $(BUILD) $(if $(PEERS),--peers $(PEERS)) \
	    $(if $(CONGESTION),--congestion $(CONGESTION))

bench-policy: ## what rules cost to load, to keep and to decide by, from 100 to 100,000 of them
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/bench/policy
	$(Q)$(BUILD)/bench/policy

bench-telemetry: ## what metrics and logs cost: all on against all off, CPU per handshake and per byte
	$(Q).ci/deps demo
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) build/bulkhead $(BUILD)/bench/telemetry $(BUILD)/bench/load
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) VARIANT=uncounted build/uncounted/bulkhead
	$(Q)$(BUILD)/bench/telemetry
	$(Q)$(PYTHON) bench/telemetry.py --on build/release/bulkhead --off build/uncounted/bulkhead \
	    --load $(BUILD)/bench/load

P ?=
soak: ## what must hold under load, about two minutes; P=bulk, stalled, slow, few, reload, quarantine, drain, rotate, churn, tails, workload or mixed (T=seconds, SEED=) picks, JSON=1 for machines
	$(Q).ci/deps test
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) build/bulkhead $(if $(filter mixed,$(P)),$(BUILD)/bench/mixed)
	$(Q)BULKHEAD=build/bulkhead BENCH_BUILD=$(BUILD) T='$(T)' SEED='$(SEED)' $(PYTHON) bench/soak.py $(if $(JSON),--json) $(P)

reference: ## config/REFERENCE.md, LOGS.md, REASONS.md, METRICS.md, the schemas and man/bulkhead.yaml.5 from the tables in the code
	+$(Q)$(MAKE) --no-print-directory $(addprefix $(BUILD)/tests/tools/,config_reference log_reference metrics_reference)
	$(Q)$(BUILD)/tests/tools/metrics_reference > config/METRICS.md
	$(Q)$(BUILD)/tests/tools/log_reference logs > config/LOGS.md
	$(Q)$(BUILD)/tests/tools/log_reference reasons > config/REASONS.md
	$(Q)$(BUILD)/tests/tools/config_reference markdown > config/REFERENCE.md
	$(Q)$(BUILD)/tests/tools/config_reference schema > config/bulkhead.schema.json
	$(Q)$(BUILD)/tests/tools/config_reference rules-schema > config/bulkhead-rules.schema.json
	$(Q)$(PYTHON) tests/tools/manual_page.py config/REFERENCE.md config/sidecar.yaml > config/man/bulkhead.yaml.5

compile_commands: ## compile_commands.json for clangd
	+$(Q)bear -- $(MAKE) --no-print-directory -B $(PROGRAM)

# What `make install` puts where: MODE:SOURCE:TARGET, with the target below $(DESTDIR)$(PREFIX).
DOC_DIR     ?= share/doc/bulkhead
ZSH_DIR     ?= share/zsh/site-functions
UNIT_DIR    ?= lib/systemd/system
INSTALLED   := 0755:build/bulkhead:bin/bulkhead \
    0644:config/man/bulkhead.1:share/man/man1/bulkhead.1 \
    0644:config/man/bulkhead.yaml.5:share/man/man5/bulkhead.yaml.5 \
    0644:config/completion/bulkhead.bash:share/bash-completion/completions/bulkhead \
    0644:config/completion/_bulkhead:$(ZSH_DIR)/_bulkhead \
    0644:config/completion/bulkhead.fish:share/fish/vendor_completions.d/bulkhead.fish \
    0644:config/bulkhead.sysusers:lib/sysusers.d/bulkhead.conf \
    0644:build/bulkhead.service:$(UNIT_DIR)/bulkhead.service \
    $(foreach f,bulkhead bulkhead-rules,0644:config/$(f).schema.json:share/bulkhead/$(f).schema.json) \
    0644:README.md:$(DOC_DIR)/README.md \
    $(foreach f,REFERENCE.md LOGS.md REASONS.md METRICS.md PROXY.md,0644:config/$(f):$(DOC_DIR)/$(f)) \
    $(foreach f,sidecar originate gateway spire,0644:config/$(f).yaml:$(DOC_DIR)/examples/$(f).yaml) \
    0644:config/rules.d/partner.yaml:$(DOC_DIR)/examples/rules.d/partner.yaml \
    0644:config/bulkhead.socket:$(DOC_DIR)/examples/bulkhead.socket

install: build ## install into $(DESTDIR)$(PREFIX): program, man pages, completion, systemd unit, examples
	$(Q)sed 's|/usr/local/bin/|$(PREFIX)/bin/|' config/bulkhead.service > build/bulkhead.service
	$(Q)for f in $(INSTALLED); do IFS=: read -r mode source target <<< "$$f" && \
	    install -D -m "$$mode" "$$source" "$(DESTDIR)$(PREFIX)/$$target" || exit 1; done

uninstall: ## remove what `make install` with the same DESTDIR and PREFIX put there
	$(Q)for f in $(INSTALLED); do rm -f "$(DESTDIR)$(PREFIX)/$${f##*:}"; done
	$(Q)cd "$(DESTDIR)$(PREFIX)" && rmdir --ignore-fail-on-non-empty $(DOC_DIR)/examples/rules.d $(DOC_DIR)/examples $(DOC_DIR) share/bulkhead 2> /dev/null || true

DEB_TREE    := build/deb/bulkhead
DEB_PARTS   := .ci Makefile LICENSE README.md config include src
deb: build/deb.made ## a Debian package, build/bulkhead_VERSION_ARCHITECTURE.deb, from config/debian
	$(Q)ls build/bulkhead_*.deb

build/deb.made: $(shell find $(DEB_PARTS) -type f)
	$(Q).ci/deps deb
	$(Q)rm -rf build/deb build/bulkhead_*.deb && mkdir -p $(DEB_TREE)
	$(Q)cp -a $(DEB_PARTS) $(DEB_TREE) && cp -a config/debian $(DEB_TREE)/debian
	$(Q)cd $(DEB_TREE) && env -u MAKEFLAGS -u MAKELEVEL -u MAKEOVERRIDES dpkg-buildpackage -b -us -uc -ui > ../build.log 2>&1 || \
	    { cat ../build.log; exit 1; }
	$(Q)mv build/deb/bulkhead_*.deb build/ && touch $@

dist: ## a source archive of HEAD, build/bulkhead-VERSION.tar.gz
	$(Q)mkdir -p build && git archive --prefix=bulkhead-$(VERSION)/ -o build/bulkhead-$(VERSION).tar.gz HEAD

clean: ## remove build/
	$(Q)rm -rf build
