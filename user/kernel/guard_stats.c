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
		[GUARD_DROP_SYN_RATE] = "drop_syn_rate",
		[GUARD_DROP_PACKET_RATE] = "drop_packet_rate",
		[GUARD_DROP_TLS_RATE] = "drop_tls_rate",
		[GUARD_DROP_UNKNOWN_SYN] = "drop_unknown_syn",
		[GUARD_FAIL_OPEN] = "pass_fail_open",
		[GUARD_EVENTS_LOST] = "events_lost",
		[GUARD_NOT_COUNTED] = "not_counted",
		[GUARD_WOULD_SYN_RATE] = "would_syn_rate",
		[GUARD_WOULD_PACKET_RATE] = "would_packet_rate",
		[GUARD_WOULD_TLS_RATE] = "would_tls_rate",
		[GUARD_WOULD_UNKNOWN_SYN] = "would_unknown_syn",
	};

	return names[index];
}

/* The guard counts what a ban drops at the ban alone, which is one look-up less for each packet. */
static void add_denied(struct guard_source *s, const struct guard_deny *deny)
{
	s->packets += deny->packets;
	s->bytes += deny->bytes;
	s->drops += deny->packets;
	if (!s->first_seen_ns)
		s->first_seen_ns = s->last_seen_ns = deny->banned_at_ns;
}

int guard_stats_source(const struct guard_maps *m, const struct guard_addr *addr,
		       struct guard_source *out)
{
	int fd = m->fd[addr->family == 4 ? GUARD_MAP_SOURCES_V4 : GUARD_MAP_SOURCES_V6];
	struct guard_deny deny;
	int rc = guard_deny_get(m, addr, &deny);

	if (rc && rc != -SL_ENOTFOUND)
		return rc;
	if (bpf_map_lookup_elem(fd, addr->bytes, out)) {
		if (rc || errno != ENOENT)
			return errno == ENOENT ? -SL_ENOTFOUND : -SL_ESYS;
		*out = (struct guard_source){0};
	}
	if (!rc)
		add_denied(out, &deny);
	return 0;
}

/* The bans of one family, in order of their addresses. */
struct denied_list {
	struct denied {
		uint8_t key[16];
		struct guard_deny deny;
		bool is_taken; /* its source had an entry */
	} * all;
	size_t n, n_room;
	size_t key_size;
};

static int denied_push(void *arg, const void *key, const void *value)
{
	struct denied_list *l = arg;
	struct denied *d;

	if (l->n == l->n_room) {
		size_t n_room = l->n_room ? l->n_room * 2 : 256;
		struct denied *all = realloc(l->all, n_room * sizeof *all);

		if (!all)
			return -SL_ENOMEM;
		l->all = all;
		l->n_room = n_room;
	}
	d = &l->all[l->n++];
	memset(d, 0, sizeof *d);
	memcpy(d->key, key, l->key_size);
	memcpy(&d->deny, value, sizeof d->deny);
	return 0;
}

static int compare_denied(const void *a, const void *b)
{
	return memcmp(((const struct denied *)a)->key, ((const struct denied *)b)->key,
		      sizeof((struct denied *)0)->key);
}

/* A heap whose first is the least of those kept, so that most sources cost one comparison. */
struct top {
	struct guard_source_entry *heap;
	size_t n;
	size_t n_max;
	uint8_t family;
	struct denied_list denied;
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

static void top_offer(struct top *t, const struct guard_source_entry *e)
{
	if (t->n == t->n_max && e->counts.packets <= t->heap[0].counts.packets)
		return;
	if (t->n < t->n_max) {
		t->heap[t->n++] = *e;
		top_sift_up(t);
	} else {
		t->heap[0] = *e;
		top_sift_down(t);
	}
}

static int top_take(void *arg, const void *key, const void *value)
{
	struct top *t = arg;
	struct guard_source_entry e = {.addr.family = t->family};
	struct denied wanted = {0}, *d = NULL;

	memcpy(&e.counts, value, sizeof e.counts);
	memcpy(e.addr.bytes, key, t->denied.key_size);
	memcpy(wanted.key, key, t->denied.key_size);
	if (t->denied.n)
		d = bsearch(&wanted, t->denied.all, t->denied.n, sizeof wanted, compare_denied);
	if (d) {
		add_denied(&e.counts, &d->deny);
		d->is_taken = true;
	}
	top_offer(t, &e);
	return 0;
}

/* All of one family: the sources that the guard counts, and the banned ones that it counts no more. */
static int top_family(struct top *t, const struct guard_maps *m, uint8_t family)
{
	bool is_v4 = family == 4;
	size_t key_size = is_v4 ? sizeof(struct guard_v4) : sizeof(struct guard_v6);
	int rc;

	t->family = family;
	t->denied = (struct denied_list){.key_size = key_size};
	rc = guard_maps_each(m->fd[is_v4 ? GUARD_MAP_DENY_V4 : GUARD_MAP_DENY_V6], key_size,
			     sizeof(struct guard_deny), GUARD_BATCH, denied_push, &t->denied);
	if (t->denied.n)
		qsort(t->denied.all, t->denied.n, sizeof *t->denied.all, compare_denied);
	if (!rc)
		rc = guard_maps_each(m->fd[is_v4 ? GUARD_MAP_SOURCES_V4 : GUARD_MAP_SOURCES_V6],
				     key_size, sizeof(struct guard_source), GUARD_BATCH, top_take,
				     t);
	for (size_t i = 0; i < t->denied.n && !rc; i++) {
		struct guard_source_entry e = {.addr.family = family};

		if (t->denied.all[i].is_taken || !t->denied.all[i].deny.packets)
			continue;
		memcpy(e.addr.bytes, t->denied.all[i].key, key_size);
		add_denied(&e.counts, &t->denied.all[i].deny);
		top_offer(t, &e);
	}
	free(t->denied.all);
	return rc;
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
	struct top t = {.heap = out, .n_max = n_max};
	int rc;

	if (!n_max)
		return 0;
	rc = top_family(&t, m, 4);
	if (!rc)
		rc = top_family(&t, m, 6);
	if (rc)
		return rc;
	qsort(out, t.n, sizeof *out, compare_entries);
	return (int)t.n;
}
