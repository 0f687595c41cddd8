/* SPDX-License-Identifier: BSD-2-Clause */
/* `sockmap on`: bytes between a worker and an upstream on this host go from one socket into the other's receive
 * queue, past TCP (bpf/relay.bpf.c, docs/sockmap.md). The master loads it; a worker marks connections and needs
 * no privilege for that. Nothing is pinned: it ends with the master, while pairs that there are stay paired.
 * Needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, a cgroup v2 hierarchy, and a kernel without CVE-2025-38165. */
#ifndef SL_KERNEL_RELAY_H
#define SL_KERNEL_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/detour.h"

enum {
	RELAY_ERR_MAX = 256,
	RELAY_NAME_MAX = 128,
	RELAY_LIMIT_MIN_BYTES = 16 * 1024,
	RELAY_LIMIT_MAX_BYTES = 64 * 1024 * 1024,
};

struct relay;

/* Of one group, since the master's start; see struct relay_totals of the ABI. */
struct relay_counts {
	uint64_t n_pairs, n_request_bytes, n_answer_bytes;
	uint64_t n_requests_latched, n_answers_latched;
};

/* In the master. Loads, attaches, and proves with a connection of its own that this kernel does what is needed.
 * On failure *OUT is NULL and ERR (RELAY_ERR_MAX) says why: -SL_EPERM, -SL_ENOTFOUND (no cgroup v2),
 * -SL_EINVAL (a kernel with the panic), -SL_ESYS. */
int relay_open(struct relay **out, char *err, size_t err_size);
/* New connections are no longer relayed; those that are go on. NULL is allowed. */
void relay_close(struct relay *r);
/* After a fork: programs, the link and most maps are given back. MARKS: this child may still relay_mark(). */
void relay_close_in_child(struct relay *r, bool marks);
/* The number of a group, the same for the same name; -SL_ELIMIT when there are too many. */
int relay_group(struct relay *r, const char *name, size_t n);
void relay_counts(const struct relay *r, int group, struct relay_counts *out);
/* The worker in this slot of struct stats is dead: what it held is free again. */
void relay_mark_worker_gone(struct relay *r, unsigned worker);

/* In a worker, or in a master that is one. WORKER is its slot in struct stats. */
void relay_mark_begin(struct relay *r, unsigned worker);
/* Before FD connects: what it sends and gets is to go by the relay. LIMIT_BYTES of answers may lie unread; that no
 * more does of requests is the caller's care (core/detour.h). Returns what it shares with the kernel, due to relay_mark_release() once FD is closed; NULL: it
 * goes by TCP. */
struct detour *relay_mark(struct relay *r, int fd, int group, uint32_t limit_bytes);
void relay_mark_release(struct relay *r, struct detour *d);

/* 0, or -SL_EINVAL with the reason: does the kernel of uname(2)'s RELEASE and VERSION panic on large redirects
 * (CVE-2025-38165)? Of a distribution's kernel whose number does not tell, its own is taken where it is said. */
int relay_kernel_check(const char *release, const char *version, char *err, size_t err_size);

#endif
