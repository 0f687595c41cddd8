/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the guard share: a world of their own (network and mount namespaces, so nothing
 * is left behind however a test ends), packets built from a line of words, and BPF_PROG_RUN. */
#ifndef SL_TESTS_BPF_RIG_H
#define SL_TESTS_BPF_RIG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* unshare(2); include this file first */
#endif

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define RIG_PACKET_MAX 4096

static char rig_pin_dir[64];
static char rig_err[GUARD_ERR_MAX];

/* Without BPF the tests fail: there is no way to pass or to skip them. */
static inline void rig_enter(void)
{
	snprintf(rig_pin_dir, sizeof rig_pin_dir, "/sys/fs/bpf/sl-test-%d", (int)getpid());
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		fprintf(stderr, "tests/bpf need root and namespaces: %s\n", strerror(errno));
		exit(1);
	}
	/* Whatever the machine has there stays out of sight; the guard mounts its own. */
	while (umount2("/sys/fs/bpf", MNT_DETACH) == 0)
		;
}

/* How much longer than usual things may take here; harness.py knows it too. */
static inline int rig_slow(void)
{
	const char *text = getenv("SLUICE_SLOW");

	return text ? atoi(text) : 1;
}

/* Before 6.8 the verifier takes a constant on the stack for a spilled pointer, and without
 * CAP_PERFMON lets nobody overwrite half of it. */
static inline bool rig_needs_perfmon(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	assert_int_equal(uname(&u), 0);
	assert_int_equal(sscanf(u.release, "%d.%d", &major, &minor), 2);
	return major < 6 || (major == 6 && minor < 8);
}

static inline void rig_sh(const char *cmd)
{
	if (system(cmd) != 0)
		fail_msg("failed: %s", cmd);
}

/* What CMD prints. */
static inline void rig_read(const char *cmd, char *out, size_t out_size)
{
	FILE *p = popen(cmd, "r");
	size_t n;

	assert_non_null(p);
	n = fread(out, 1, out_size - 1, p);
	out[n] = '\0';
	assert_int_equal(pclose(p), 0);
}

/* DENY_MAX 0: the usual. */
static inline struct guard *rig_open(uint32_t deny_max)
{
	const struct guard_options opt = {.pin_dir = rig_pin_dir, .deny_max = deny_max};
	struct guard *g;

	if (guard_open(&g, &opt, rig_err, sizeof rig_err))
		fail_msg("guard_open: %s", rig_err);
	return g;
}

static inline struct guard_addr rig_addr_of(const char *text)
{
	struct guard_addr a;

	assert_int_equal(guard_addr_from_text(&a, text), 0);
	return a;
}

static inline void rig_ban(const struct guard *g, const char *text, uint64_t expires_ns)
{
	const struct guard_ban b = {.expires_ns = expires_ns, .rule_id = 3};
	struct guard_addr a = rig_addr_of(text);

	assert_int_equal(guard_deny_add(guard_maps(g), &a, &b, clock_mono_ns()), 0);
}

static inline bool rig_is_banned(const struct guard *g, const char *text)
{
	struct guard_addr a = rig_addr_of(text);
	struct guard_deny d;

	return guard_deny_get(guard_maps(g), &a, &d) == 0;
}

/* ---- interfaces ---- */

static inline void rig_attach(struct guard *g, const char *ifname, enum guard_mode mode,
			      struct guard_attachment *out)
{
	if (guard_attach(g, ifname, mode, out, rig_err, sizeof rig_err))
		fail_msg("guard_attach %s: %s", ifname, rig_err);
}

static inline uint32_t rig_attached_id(const char *ifname, uint8_t *mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	assert_int_equal(bpf_xdp_query((int)if_nametoindex(ifname), 0, &q), 0);
	if (mode)
		*mode = q.attach_mode;
	return q.prog_id;
}

static inline int rig_make_links(void **state)
{
	rig_sh("ip link set lo up");
	rig_sh("ip link add sl-a type veth peer name sl-b");
	rig_sh("ip link set sl-a up && ip link set sl-b up");
	/* Named as a VLAN would be; bridges have no native XDP either. */
	rig_sh("ip link add sl-a.5 type bridge && ip link set sl-a.5 up");
	rig_sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
	return 0;
}

static inline void rig_delete_interfaces(void)
{
	rig_sh("ip link del sl-a && ip link del sl-a.5");
}

static inline int rig_delete_links(void **state)
{
	struct stat st;

	rig_delete_interfaces();
	/* Whatever the test found wrong, the next one starts with nothing. */
	if (stat(rig_pin_dir, &st) == 0) {
		struct guard *g = rig_open(0);

		guard_close(g, GUARD_CLOSE_REMOVE);
	}
	return 0;
}

static inline void rig_assert_no_trace(void)
{
	struct stat st;

	assert_int_equal(stat(rig_pin_dir, &st), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(rig_attached_id("sl-a", NULL), 0);
}

static inline int rig_load_foreign(uint32_t *id)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "sl_foreign", "Dual BSD/GPL", pass, 2, NULL);

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	*id = info.id;
	return fd;
}

/* ---- packets ---- */

struct rig_packet {
	uint8_t bytes[RIG_PACKET_MAX];
	size_t n;
	size_t l3_at;	/* where the IP header is; 0 without one */
	int l3_family;	/* 4, 6 or 0 */
	size_t type_at; /* where the type of what comes next goes */
	int type_bytes; /* 2: an ethertype; 1: an IP protocol */
};

static const uint8_t rig_v4[4] = {192, 0, 2, 77};
static const uint8_t rig_v6[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 77};

static inline struct guard_addr rig_addr(int family)
{
	struct guard_addr a = {.family = (uint8_t)family};

	memcpy(a.bytes, family == 4 ? rig_v4 : rig_v6, family == 4 ? 4 : 16);
	return a;
}

static inline void rig_next_type(struct rig_packet *p, unsigned type)
{
	if (p->type_bytes == 2)
		p->bytes[p->type_at] = (uint8_t)(type >> 8);
	p->bytes[p->type_at + (size_t)p->type_bytes - 1] = (uint8_t)type;
}

/* Appends a header of SIZE, zero, whose own "what comes next" is at NEXT_AT in it. */
static inline uint8_t *rig_header(struct rig_packet *p, unsigned type, size_t size, size_t next_at,
				  int next_bytes)
{
	uint8_t *h = p->bytes + p->n;

	assert_true(p->n + size <= sizeof p->bytes);
	if (p->n)
		rig_next_type(p, type);
	p->type_at = p->n + next_at;
	p->type_bytes = next_bytes;
	p->n += size;
	return h;
}

static inline void rig_ip4(struct rig_packet *p, size_t option_bytes, unsigned frag)
{
	uint8_t *h;

	p->l3_at = p->n;
	p->l3_family = 4;
	h = rig_header(p, 0x0800, 20 + option_bytes, 9, 1);
	h[0] = (uint8_t)(0x40 | (5 + option_bytes / 4));
	h[6] = (uint8_t)(frag >> 8);
	h[7] = (uint8_t)frag;
	h[8] = 64;
	memcpy(h + 12, rig_v4, 4);
	memset(h + 20, 1, option_bytes); /* no-operation */
}

static inline void rig_ip6(struct rig_packet *p)
{
	uint8_t *h;

	p->l3_at = p->n;
	p->l3_family = 6;
	h = rig_header(p, 0x86dd, 40, 6, 1);
	h[0] = 0x60;
	h[7] = 64;
	memcpy(h + 8, rig_v6, 16);
}

static inline void rig_tcp(struct rig_packet *p, const char *flags)
{
	uint8_t *h = rig_header(p, 6, 20, 0, 1);

	h[12] = 0x50;
	h[13] = (uint8_t)((strchr(flags, 'S') ? 0x02 : 0) | (strchr(flags, 'A') ? 0x10 : 0) |
			  (strchr(flags, 'R') ? 0x04 : 0));
}

static inline void rig_word(struct rig_packet *p, const char *word)
{
	unsigned v = 0;

	if (strcmp(word, "q") == 0)
		rig_header(p, 0x8100, 4, 2, 2);
	else if (strcmp(word, "ad") == 0)
		rig_header(p, 0x88a8, 4, 2, 2);
	else if (sscanf(word, "type=%x", &v) == 1)
		rig_header(p, v, 46, 0, 2);
	else if (strcmp(word, "ip4") == 0)
		rig_ip4(p, 0, 0);
	else if (sscanf(word, "ip4opt=%u", &v) == 1)
		rig_ip4(p, v, 0);
	else if (sscanf(word, "ip4frag=%x", &v) == 1)
		rig_ip4(p, 0, v);
	else if (strcmp(word, "ip6") == 0)
		rig_ip6(p);
	else if (sscanf(word, "hop=%u", &v) == 1)
		rig_header(p, 0, 8 + 8 * v, 0, 1)[1] = (uint8_t)v;
	else if (sscanf(word, "route=%u", &v) == 1)
		rig_header(p, 43, 8 + 8 * v, 0, 1)[1] = (uint8_t)v;
	else if (sscanf(word, "dst=%u", &v) == 1)
		rig_header(p, 60, 8 + 8 * v, 0, 1)[1] = (uint8_t)v;
	else if (sscanf(word, "mobility=%u", &v) == 1)
		rig_header(p, 135, 8 + 8 * v, 0, 1)[1] = (uint8_t)v;
	else if (sscanf(word, "ah=%u", &v) == 1)
		rig_header(p, 51, 8 + 4 * v, 0, 1)[1] = (uint8_t)v;
	else if (sscanf(word, "frag=%x", &v) == 1)
		memcpy(rig_header(p, 44, 8, 0, 1) + 2, &(uint16_t){htons((uint16_t)v)}, 2);
	else if (strncmp(word, "tcp=", 4) == 0)
		rig_tcp(p, word + 4);
	else if (strcmp(word, "udp") == 0)
		rig_header(p, 17, 8, 0, 1);
	else if (sscanf(word, "proto=%u", &v) == 1)
		rig_header(p, v, 16, 0, 1);
	else if (sscanf(word, "data=%u", &v) == 1)
		p->n += v;
	else
		fail_msg("no such word: %s", word);
}

/* Ethernet, then WORDS; the IP header's length is set in the end, LENGTH_OFF more than true. */
static inline void rig_build(struct rig_packet *p, const char *words, int length_off)
{
	char copy[256], *save = NULL, *word;

	memset(p, 0, sizeof *p);
	rig_header(p, 0, 14, 12, 2);
	snprintf(copy, sizeof copy, "%s", words);
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		rig_word(p, word);
	if (p->l3_family) {
		size_t skip = p->l3_family == 4 ? 0 : 40;
		uint16_t len = htons((uint16_t)((int)(p->n - p->l3_at - skip) + length_off));

		memcpy(p->bytes + p->l3_at + (p->l3_family == 4 ? 2 : 4), &len, 2);
	}
}

/* Returns the verdict; fails when the program changed the packet. */
static inline unsigned rig_run(const struct guard *g, const void *bytes, size_t n)
{
	static uint8_t out[16384];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = bytes, .data_size_in = (uint32_t)n,
		    .data_out = out, .data_size_out = sizeof out, .repeat = 1);

	if (bpf_prog_test_run_opts(g->prog_fd, &o))
		fail_msg("BPF_PROG_RUN with %zu bytes: %s", n, strerror(errno));
	assert_int_equal(o.data_size_out, n);
	assert_memory_equal(out, bytes, n);
	return o.retval;
}

#endif
