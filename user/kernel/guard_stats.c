/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of the guard's counters. Works on read-only descriptors, in a process without
 * any privilege; changes nothing. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

int guard_stats_totals(const struct guard_maps *m, struct guard_total out[static GUARD_N_TOTALS])
{
	struct guard_total *per_cpu = calloc((size_t)m->n_cpus, sizeof *per_cpu);
	int rc = 0;

	if (!per_cpu)
		return -SL_ENOMEM;
	memset(out, 0, GUARD_N_TOTALS * sizeof *out);
	for (uint32_t i = 0; i < GUARD_N_TOTALS && !rc; i++) {
		if (bpf_map_lookup_elem(m->fd[GUARD_MAP_TOTALS], &i, per_cpu)) {
			rc = -SL_ESYS;
			break;
		}
		for (int cpu = 0; cpu < m->n_cpus; cpu++) {
			out[i].packets += per_cpu[cpu].packets;
			out[i].bytes += per_cpu[cpu].bytes;
		}
	}
	free(per_cpu);
	return rc;
}

const char *guard_stats_total_name(enum guard_total_index index)
{
	static const char *const names[GUARD_N_TOTALS] = {
		[GUARD_PASS] = "pass",
		[GUARD_PASS_ALLOW] = "pass_allow",
		[GUARD_DROP_DENY] = "drop_deny",
		[GUARD_DROP_NET] = "drop_net",
		[GUARD_WOULD_DROP] = "would_drop",
		[GUARD_EXPIRED] = "pass_expired",
		[GUARD_MALFORMED] = "pass_malformed",
		[GUARD_VLAN_DEEP] = "pass_vlan_deep",
		[GUARD_NOT_IP] = "pass_not_ip",
	};

	return names[index];
}

int guard_stats_source(const struct guard_maps *m, const struct guard_addr *addr,
		       struct guard_source *out)
{
	int fd = m->fd[addr->family == 4 ? GUARD_MAP_SOURCES_V4 : GUARD_MAP_SOURCES_V6];

	if (bpf_map_lookup_elem(fd, addr->bytes, out) == 0)
		return 0;
	return errno == ENOENT ? -SL_ENOTFOUND : -SL_ESYS;
}

/* A heap whose first is the least of those kept, so that most sources cost one comparison. */
struct top {
	struct guard_source_entry *heap;
	size_t n;
	size_t n_max;
	uint8_t family;
};

static void top_sift_down(struct top *t)
{
	struct guard_source_entry moved = t->heap[0];
	size_t at = 0;

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= t->n)
			break;
		if (child + 1 < t->n &&
		    t->heap[child + 1].counts.packets < t->heap[child].counts.packets)
			child++;
		if (moved.counts.packets <= t->heap[child].counts.packets)
			break;
		t->heap[at] = t->heap[child];
		at = child;
	}
	t->heap[at] = moved;
}

static void top_sift_up(struct top *t)
{
	size_t at = t->n - 1;
	struct guard_source_entry moved = t->heap[at];

	while (at) {
		size_t parent = (at - 1) / 2;

		if (t->heap[parent].counts.packets <= moved.counts.packets)
			break;
		t->heap[at] = t->heap[parent];
		at = parent;
	}
	t->heap[at] = moved;
}

static int top_take(void *arg, const void *key, const void *value)
{
	struct top *t = arg;
	struct guard_source_entry e = {.addr.family = t->family};

	memcpy(&e.counts, value, sizeof e.counts);
	if (t->n == t->n_max && e.counts.packets <= t->heap[0].counts.packets)
		return 0;
	memcpy(e.addr.bytes, key, t->family == 4 ? 4 : 16);
	if (t->n < t->n_max) {
		t->heap[t->n++] = e;
		top_sift_up(t);
	} else {
		t->heap[0] = e;
		top_sift_down(t);
	}
	return 0;
}

static int compare_entries(const void *a, const void *b)
{
	const struct guard_source_entry *x = a, *y = b;

	if (x->counts.packets != y->counts.packets)
		return x->counts.packets > y->counts.packets ? -1 : 1;
	return memcmp(&x->addr, &y->addr, sizeof x->addr);
}

int guard_stats_top(const struct guard_maps *m, struct guard_source_entry *out, size_t n_max)
{
	struct top t = {.heap = out, .n_max = n_max, .family = 4};
	int rc;

	if (!n_max)
		return 0;
	rc = guard_maps_each(m->fd[GUARD_MAP_SOURCES_V4], sizeof(struct guard_v4),
			     sizeof(struct guard_source), GUARD_BATCH, top_take, &t);
	if (rc)
		return rc;
	t.family = 6;
	rc = guard_maps_each(m->fd[GUARD_MAP_SOURCES_V6], sizeof(struct guard_v6),
			     sizeof(struct guard_source), GUARD_BATCH, top_take, &t);
	if (rc)
		return rc;
	qsort(out, t.n, sizeof *out, compare_entries);
	return (int)t.n;
}
