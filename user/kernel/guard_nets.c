/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the LPM maps: the networks that the configuration allows and denies. Brings the kernel's
 * list to the wanted one by difference and keeps the counts in settings, by which the program skips
 * an empty map: never lower than what the map holds. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

/* A key as the kernel has it; the IPv4 key is its first 8 bytes. */
struct net_item {
	struct guard_cidr_v6 key;
	struct guard_net value;
};

struct net_list {
	struct net_item *v;
	size_t n;
	size_t n_room;
	size_t key_size;
};

/* One map and where its count is in settings. */
struct target {
	const struct guard_maps *maps;
	enum guard_map map;
	size_t count_offset;
	uint8_t family;
	struct guard_nets_change *change;
};

static int net_list_push(struct net_list *l, const void *key, const struct guard_net *value)
{
	if (l->n == l->n_room) {
		size_t n_room = l->n_room ? l->n_room * 2 : 64;
		struct net_item *v = realloc(l->v, n_room * sizeof *v);

		if (!v)
			return -SL_ENOMEM;
		l->v = v;
		l->n_room = n_room;
	}
	memset(&l->v[l->n], 0, sizeof l->v[l->n]);
	memcpy(&l->v[l->n].key, key, l->key_size);
	l->v[l->n++].value = *value;
	return 0;
}

static int push_entry(void *arg, const void *key, const void *value)
{
	struct guard_net net;

	memcpy(&net, value, sizeof net);
	return net_list_push(arg, key, &net);
}

static int compare_items(const void *x, const void *y)
{
	const struct net_item *a = x, *b = y;

	return memcmp(&a->key, &b->key, sizeof a->key);
}

static void net_list_sort_unique(struct net_list *l)
{
	size_t n = 0;

	if (l->n)
		qsort(l->v, l->n, sizeof *l->v, compare_items);
	for (size_t i = 0; i < l->n; i++)
		if (i == 0 || compare_items(&l->v[i], &l->v[n - 1]) != 0)
			l->v[n++] = l->v[i];
	l->n = n;
}

static int wanted_list(struct net_list *l, const struct guard_net_want *want, size_t n_want,
		       uint8_t family)
{
	for (size_t i = 0; i < n_want; i++) {
		struct guard_cidr_v6 cidr = {.prefix_len = want[i].net.prefix_len};
		struct guard_net value = {.expires_ns = want[i].expires_ns,
					  .rule_id = want[i].rule_id};
		int rc;

		if (want[i].net.addr.family != family)
			continue;
		memcpy(cidr.addr, want[i].net.addr.bytes, l->key_size - sizeof cidr.prefix_len);
		rc = net_list_push(l, &cidr, &value);
		if (rc)
			return rc;
	}
	net_list_sort_unique(l);
	return 0;
}

static int set_count(const struct target *t, uint32_t count)
{
	struct guard_settings set;
	uint32_t *at = (uint32_t *)((char *)&set + t->count_offset);
	int rc = guard_maps_get_settings(t->maps, &set);

	if (rc || *at == count)
		return rc;
	*at = count;
	return guard_maps_set_settings(t->maps, &set);
}

static void add_to_filter(const struct target *t, const struct guard_cidr_v6 *key)
{
	struct guard_cidr net = {.addr.family = t->family, .prefix_len = (uint8_t)key->prefix_len};

	memcpy(net.addr.bytes, key->addr, sizeof net.addr.bytes);
	guard_filter_add(t->maps, &net,
			 t->map == GUARD_MAP_ALLOW_V4 || t->map == GUARD_MAP_ALLOW_V6);
}

/* An end comes from the wall clock, so that it differs a little each time. */
static bool is_same(const struct guard_net *have, const struct guard_net *want)
{
	uint64_t a = have->expires_ns, b = want->expires_ns;

	return have->rule_id == want->rule_id && (a == 0) == (b == 0) &&
	       (a > b ? a - b : b - a) < 1000000000u;
}

static int put_item(const struct target *t, const struct net_item *have,
		    const struct net_item *want)
{
	struct guard_net value = want->value;

	add_to_filter(t, &want->key);
	if (have && is_same(&have->value, &want->value))
		return 0;
	if (have) {
		value = have->value;
		value.expires_ns = want->value.expires_ns;
		value.rule_id = want->value.rule_id;
	}
	value.prefix_len = (uint16_t)want->key.prefix_len;
	if (bpf_map_update_elem(t->maps->fd[t->map], &want->key, &value, BPF_ANY))
		return errno == ENOSPC ? -SL_ELIMIT : -SL_ESYS;
	t->change->n_added += !have;
	t->change->n_changed += have != NULL;
	return 0;
}

/* Both are sorted. What is new comes before what goes. */
static int add_and_delete(const struct target *t, const struct net_list *have,
			  const struct net_list *want)
{
	int fd = t->maps->fd[t->map], rc;

	for (size_t h = 0, w = 0; w < want->n; w++) {
		while (h < have->n && compare_items(&have->v[h], &want->v[w]) < 0)
			h++;
		rc = put_item(t,
			      h < have->n && !compare_items(&have->v[h], &want->v[w]) ? &have->v[h]
										      : NULL,
			      &want->v[w]);
		if (rc)
			return rc;
	}
	for (size_t h = 0, w = 0; h < have->n; h++) {
		while (w < want->n && compare_items(&want->v[w], &have->v[h]) < 0)
			w++;
		if (w < want->n && !compare_items(&want->v[w], &have->v[h]))
			continue;
		if (bpf_map_delete_elem(fd, &have->v[h].key) && errno != ENOENT)
			return -SL_ESYS;
		t->change->n_deleted++;
	}
	return 0;
}

static int set_one(const struct target *t, const struct guard_net_want *nets, size_t n_nets)
{
	size_t key_size =
		t->family == 4 ? sizeof(struct guard_cidr_v4) : sizeof(struct guard_cidr_v6);
	struct net_list have = {.key_size = key_size}, want = {.key_size = key_size};
	int saved, rc;

	rc = wanted_list(&want, nets, n_nets, t->family);
	if (!rc)
		rc = guard_maps_each(t->maps->fd[t->map], key_size, sizeof(struct guard_net),
				     GUARD_BATCH, push_entry, &have);
	if (!rc)
		net_list_sort_unique(&have);
	if (!rc && want.n && !have.n)
		rc = set_count(t, (uint32_t)want.n);
	if (!rc)
		rc = add_and_delete(t, &have, &want);
	if (!rc)
		rc = set_count(t, (uint32_t)want.n);
	saved = errno;
	free(have.v);
	free(want.v);
	errno = saved;
	return rc;
}

static int set_both(const struct target targets[2], const struct guard_net_want *nets,
		    size_t n_nets, char *err, size_t err_size)
{
	for (int i = 0; i < 2; i++) {
		const char *name = guard_maps_name(targets[i].map);
		int rc = set_one(&targets[i], nets, n_nets);

		if (rc == -SL_ELIMIT)
			return guard_fail(
				rc, err, err_size,
				"too many networks for the kernel map %s: shorten the list", name);
		if (rc == -SL_ENOMEM)
			return guard_fail(rc, err, err_size, "no memory for the networks of %s",
					  name);
		if (rc)
			return guard_fail(rc, err, err_size, "cannot change the kernel map %s: %s",
					  name, strerror(errno));
	}
	return 0;
}

static struct guard_net_want *wants_new(const struct guard_cidr *nets, size_t n, uint32_t rule_id)
{
	struct guard_net_want *v = calloc(n + 1, sizeof *v);

	for (size_t i = 0; v && i < n; i++)
		v[i] = (struct guard_net_want){.net = nets[i], .rule_id = rule_id};
	return v;
}

int guard_nets_set_allow(const struct guard_maps *m, const struct guard_cidr *nets, size_t n_nets,
			 char *err, size_t err_size)
{
	struct guard_nets_change change = {0};
	const struct target targets[2] = {
		{.maps = m,
		 .map = GUARD_MAP_ALLOW_V4,
		 .count_offset = offsetof(struct guard_settings, n_allow_v4),
		 .family = 4,
		 .change = &change},
		{.maps = m,
		 .map = GUARD_MAP_ALLOW_V6,
		 .count_offset = offsetof(struct guard_settings, n_allow_v6),
		 .family = 6,
		 .change = &change},
	};
	struct guard_net_want *want = wants_new(nets, n_nets, 0);
	int rc;

	if (!want)
		return guard_fail(-SL_ENOMEM, err, err_size, "no memory for the allow list");
	rc = set_both(targets, want, n_nets, err, err_size);
	free(want);
	return rc;
}

int guard_nets_set_denied(const struct guard_maps *m, const struct guard_net_want *want,
			  size_t n_want, struct guard_nets_change *change, char *err,
			  size_t err_size)
{
	const struct target targets[2] = {
		{.maps = m,
		 .map = GUARD_MAP_DENY_NET_V4,
		 .count_offset = offsetof(struct guard_settings, n_deny_net_v4),
		 .family = 4,
		 .change = change},
		{.maps = m,
		 .map = GUARD_MAP_DENY_NET_V6,
		 .count_offset = offsetof(struct guard_settings, n_deny_net_v6),
		 .family = 6,
		 .change = change},
	};

	*change = (struct guard_nets_change){0};
	return set_both(targets, want, n_want, err, err_size);
}

int guard_nets_set_deny(const struct guard_maps *m, const struct guard_cidr *nets, size_t n_nets,
			uint32_t rule_id, char *err, size_t err_size)
{
	struct guard_nets_change change;
	struct guard_net_want *want = wants_new(nets, n_nets, rule_id);
	int rc;

	if (!want)
		return guard_fail(-SL_ENOMEM, err, err_size, "no memory for the deny list");
	rc = guard_nets_set_denied(m, want, n_nets, &change, err, err_size);
	free(want);
	return rc;
}

int guard_nets_each_denied(const struct guard_maps *m,
			   int (*fn)(void *arg, const struct guard_cidr *net,
				     const struct guard_net *value),
			   void *arg)
{
	return guard_maps_each_net(m, GUARD_MAP_DENY_NET_V4, GUARD_MAP_DENY_NET_V6, fn, arg);
}

static int count_entry(void *arg, const void *key, const void *value)
{
	(void)key;
	(void)value;
	++*(uint32_t *)arg;
	return 0;
}

int guard_nets_count(const struct guard_maps *m, struct guard_settings *set)
{
	const struct {
		enum guard_map map;
		uint32_t *count;
	} all[] = {
		{GUARD_MAP_ALLOW_V4, &set->n_allow_v4},
		{GUARD_MAP_ALLOW_V6, &set->n_allow_v6},
		{GUARD_MAP_DENY_NET_V4, &set->n_deny_net_v4},
		{GUARD_MAP_DENY_NET_V6, &set->n_deny_net_v6},
		{GUARD_MAP_BAN_NET_V4, &set->n_ban_net_v4},
		{GUARD_MAP_BAN_NET_V6, &set->n_ban_net_v6},
	};

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		bool is_v4 = i % 2 == 0;
		int rc;

		*all[i].count = 0;
		rc = guard_maps_each(
			m->fd[all[i].map],
			is_v4 ? sizeof(struct guard_cidr_v4) : sizeof(struct guard_cidr_v6),
			sizeof(struct guard_net), GUARD_BATCH, count_entry, all[i].count);
		if (rc)
			return rc;
	}
	return 0;
}
