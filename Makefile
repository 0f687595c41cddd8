# sluice: build, test, install. `make help` lists what there is.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc/sluice
CC = gcc
CLANG ?= clang-14
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PYTHON = /usr/bin/python3
OPT ?= -O2
JOBS ?= $(shell nproc)
SAN ?=

WARN = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wwrite-strings -Wno-unused-parameter
CFLAGS = -std=gnu11 $(OPT) -g $(WARN) -fno-omit-frame-pointer $(SAN) -Iuser -I. -I$(BUILD)/skel
LDFLAGS = $(SAN)
# `make` as installed: -DSLUICE_PREFIX only where it is used, so that other objects do not depend on it.
PREFIX_DEF = -DSLUICE_PREFIX='"$(SYSCONFDIR)/"'
LIBS = -lssl -lcrypto -lxdp -lbpf -lelf -lz -lcares -lnghttp2 -lxxhash -lcrypt -lpcre2-8 -lcap -lseccomp -lpcap -lmicrohttpd -ljansson -lpthread

# A line for each file; `make V=1` shows the commands.
Q = $(if $(V),,@)
say = $(if $(V),,@printf '%-8s %s\n' $(1) $@)

# Folders in the order of their rank: each may use those before it.
FOLDERS = core conf net http kernel tls h2 policy proxy worker admin master
srcs = $(sort $(wildcard user/$(1)/*.c))
objs = $(patsubst %.c,$(BUILD)/obj/%.o,$(call srcs,$(1)))
ALL_OBJS = $(foreach f,$(FOLDERS),$(call objs,$(f)))
ARCHIVES = $(FOLDERS:%=$(BUILD)/lib/%.a)
SKELETON = $(patsubst bpf/%.bpf.c,$(BUILD)/skel/%.skel.h,$(wildcard bpf/*.bpf.c))

PROGRAMS = $(BUILD)/sluice $(BUILD)/sluicectl $(BUILD)/mock-llm $(BUILD)/sl-load $(BUILD)/sl-flood
UNIT_SRCS = $(sort $(wildcard tests/unit/*/test_*.c) $(wildcard tests/bpf/test_*.c))
UNIT_BINS = $(UNIT_SRCS:%.c=$(BUILD)/%)

.PHONY: all
all: $(PROGRAMS) ## build everything into build/

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 22

# --- programs -------------------------------------------------------------------------------------

$(BUILD)/obj/user/main.o: CFLAGS += $(PREFIX_DEF)
$(call objs,kernel) $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bpf/*.c)): | $(SKELETON)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

define archive
$(BUILD)/lib/$(1).a: $(call objs,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call say,AR)
	$$(Q)ar rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call archive,$(f))))

$(BUILD)/sluice: $(BUILD)/obj/user/main.o $(BUILD)/obj/user/modules.o $(ALL_OBJS)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LIBS)

tool_objs = $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard tools/$(1))))

$(BUILD)/sluicectl: $(call tool_objs,sluicectl/*.c) $(BUILD)/lib/core.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ -ljansson -lxxhash

$(BUILD)/mock-llm: $(call tool_objs,mock_llm/*.c)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ -lssl -lcrypto

$(BUILD)/sl-load: $(call tool_objs,bench/load*.c)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ -lssl -lcrypto

$(BUILD)/sl-flood: $(call tool_objs,bench/flood.c)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ -lssl -lcrypto

# --- the kernel's side ----------------------------------------------------------------------------

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h)
	@mkdir -p $(@D)
	$(call say,BPF)
	$(Q)$(CLANG) -O2 -g -target bpf -mcpu=v3 -Wall -Werror -I. -I/usr/include/$(shell uname -m)-linux-gnu \
		-c $< -o $@

$(BUILD)/skel/%.skel.h: $(BUILD)/bpf/%.bpf.o
	@mkdir -p $(@D)
	$(call say,SKEL)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf > $@.tmp && mv $@.tmp $@

# All of them, for who looks at each.
$(BUILD)/skel/all.skel.h: $(SKELETON)
	@for s in $(^F); do echo "#include \"$$s\""; done > $@
	@echo "#define ALL_SKELETONS(X)$(patsubst %.skel.h, X(%),$(^F))" >> $@

$(BUILD)/tests/bpf/test_budget: $(BUILD)/skel/all.skel.h

# --- tests ----------------------------------------------------------------------------------------

.SECONDEXPANSION:
$(BUILD)/tests/%: tests/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,TEST)
	$(Q)$(CC) $(CFLAGS) -MMD -MP $(LDFLAGS) $< -o $@ -Wl,--start-group $(ARCHIVES) -Wl,--end-group \
		-lcmocka $(LIBS)

# The kept corpora, run without libFuzzer.
FUZZ_REPLAYS = $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(FUZZ_REPLAYS): $(BUILD)/tests/fuzz/%: tests/fuzz/%.c tests/fuzz/replay.c tests/fuzz/fuzz.h \
		$(BUILD)/obj/user/modules.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,TEST)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(filter %.c %.o,$^) -o $@ -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS)

.PHONY: unit-tests
unit-tests: $(UNIT_BINS) $(FUZZ_REPLAYS)

.PHONY: test
test: ## everything that must pass; the last line is "N passed, N failed"
	tools/deps.sh
	$(MAKE) -j$(JOBS) all unit-tests
	$(PYTHON) tests/run.py --build $(BUILD)

.PHONY: test-unprivileged
test-unprivileged: ## what needs neither root nor the kernel's BPF
	tools/deps.sh
	$(MAKE) -j$(JOBS) all unit-tests
	$(PYTHON) tests/run.py --build $(BUILD) --unprivileged

.PHONY: test-vm
test-vm: ## what depends on the kernel, on Debian's own under qemu
	tools/deps.sh
	$(MAKE) -j$(JOBS) all unit-tests
	$(PYTHON) tests/vm/run.py --build $(BUILD)

.PHONY: test-asan
test-asan: ## unit and end-to-end tests under ASan and UBSan
	tools/deps.sh
	$(MAKE) -j$(JOBS) BUILD=$(BUILD)-asan OPT=-O1 \
		SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined" all unit-tests
	$(PYTHON) tests/run.py --build $(BUILD)-asan --asan

FUZZERS = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60
FUZZ_SAN = address,undefined

# Everything is built a second time, with clang and its instrumentation.
$(BUILD)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/fuzz.h $(BUILD)/obj/user/modules.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,FUZZ)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer $< $(BUILD)/obj/user/modules.o -o $@ \
		-Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS)

.PHONY: fuzzers
fuzzers: $(FUZZERS:%=$(BUILD)/fuzz/%)

.PHONY: fuzz
fuzz: ## libFuzzer on all parsers, FUZZ_SECONDS each
	$(MAKE) -j$(JOBS) BUILD=$(BUILD)-fuzz CC=$(CLANG) WARN= OPT=-O1 SAN=-fsanitize=$(FUZZ_SAN),fuzzer-no-link fuzzers
	@for f in $(FUZZERS); do \
		mkdir -p $(BUILD)/fuzz/new/$$f && \
		$(BUILD)-fuzz/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) $(BUILD)/fuzz/new/$$f \
			tests/fuzz/corpus/$${f#fuzz_} || exit 1; \
	done

.PHONY: bench
bench: ## sluice beside Debian's nginx: CPU a request, memory a stream, ratios
	tools/deps.sh
	$(MAKE) -j$(JOBS) all
	$(PYTHON) tools/bench/run.py --build $(BUILD)
	$(PYTHON) tools/bench/sockmap.py --build $(BUILD)

.PHONY: bench-sockmap
bench-sockmap: ## an upstream on this host, `sockmap on` against off: CPU a request, requests a second
	tools/deps.sh
	$(MAKE) -j$(JOBS) all
	$(PYTHON) tools/bench/sockmap.py --build $(BUILD)

.PHONY: bench-attack
bench-attack: ## what a good client feels while floods come, sluice beside nginx; as root
	tools/deps.sh
	$(MAKE) -j$(JOBS) all
	$(PYTHON) tools/bench/attack.py --build $(BUILD)

.PHONY: bench-h2-abuse
bench-h2-abuse: ## what one abusive HTTP/2 peer costs: the worker's memory, another client's latency
	tools/deps.sh
	$(MAKE) -j$(JOBS) all
	$(PYTHON) tools/bench/h2_abuse.py --build $(BUILD)

.PHONY: fuzz-guard
fuzz-guard: $(BUILD)/tests/bpf/test_guard_model ## the XDP program against its model in C, over three million mutated packets
	$< 3000000 $$(date +%s)

.PHONY: bench-xdp
bench-xdp: $(BUILD)/tests/bpf/bench_xdp ## what a packet costs in the guard, in ns above an empty program
	$<

# --- people ---------------------------------------------------------------------------------------

.PHONY: deps
deps: ## install (apt, npm) what building and testing needs; safe to repeat
	tools/deps.sh

.PHONY: demo
demo: ## the whole thing in a minute: TLS, a stream, an attack, the guard
	tools/deps.sh demo
	$(MAKE) -j$(JOBS) all
	$(PYTHON) tools/demo.py --build $(BUILD)

.PHONY: docs
docs: $(BUILD)/sluice ## make docs/directives.md anew from the directive tables
	$(BUILD)/sluice --directives > docs/directives.md

C_FILES = $(shell git ls-files '*.c' '*.h')

.PHONY: format
format: ## clang-format in place
	clang-format -i $(C_FILES)

.PHONY: lint
lint: ## layers, format, cppcheck
	tools/check_layers.sh
	clang-format --dry-run -Werror $(C_FILES)
	cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability \
		--suppress=missingIncludeSystem -Iuser -I. \
		"-DLIBBPF_OPTS(type,name,...)=struct type name = {__VA_ARGS__}" user tools

.PHONY: install
install: all ## into DESTDIR and PREFIX
	install -D -m 755 $(BUILD)/sluice $(DESTDIR)$(PREFIX)/sbin/sluice
	install -D -m 755 $(BUILD)/sluicectl $(DESTDIR)$(PREFIX)/bin/sluicectl
	install -D -m 755 $(BUILD)/mock-llm $(DESTDIR)$(PREFIX)/bin/mock-llm
	install -d $(DESTDIR)$(SYSCONFDIR)
	test -e $(DESTDIR)$(SYSCONFDIR)/sluice.conf || \
		sed 's|/etc/sluice|$(SYSCONFDIR)|g' conf/sluice.conf > $(DESTDIR)$(SYSCONFDIR)/sluice.conf
	install -m 644 conf/mime.types $(DESTDIR)$(SYSCONFDIR)/mime.types
	install -d $(DESTDIR)/var/log/sluice $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local|$(PREFIX)|' conf/sluice.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/sluice.service
	install -d $(DESTDIR)$(PREFIX)/share/doc/sluice/docs $(DESTDIR)$(PREFIX)/share/doc/sluice/conf
	install -m 644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/sluice/
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/sluice/docs/
	install -m 644 conf/ai-proxy*.conf $(DESTDIR)$(PREFIX)/share/doc/sluice/conf/
	install -D -m 644 conf/sluicectl.bash-completion \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/sluicectl

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-fuzz

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
