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
struct net_key {
	struct guard_cidr_v6 cidr;
};

struct net_list {
	struct net_key *keys;
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
	struct guard_net value;
};

static int net_list_push(struct net_list *l, const void *key)
{
	if (l->n == l->n_room) {
		size_t n_room = l->n_room ? l->n_room * 2 : 64;
		struct net_key *keys = realloc(l->keys, n_room * sizeof *keys);

		if (!keys)
			return -SL_ENOMEM;
		l->keys = keys;
		l->n_room = n_room;
	}
	memset(&l->keys[l->n], 0, sizeof l->keys[l->n]);
	memcpy(&l->keys[l->n++], key, l->key_size);
	return 0;
}

static int push_entry(void *arg, const void *key, const void *value)
{
	(void)value;
	return net_list_push(arg, key);
}

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct net_key));
}

static bool net_list_has(const struct net_list *l, const struct net_key *key)
{
	return l->n && bsearch(key, l->keys, l->n, sizeof *key, compare_keys);
}

static void net_list_sort_unique(struct net_list *l)
{
	size_t n = 0;

	if (l->n)
		qsort(l->keys, l->n, sizeof *l->keys, compare_keys);
	for (size_t i = 0; i < l->n; i++)
		if (i == 0 || compare_keys(&l->keys[i], &l->keys[n - 1]) != 0)
			l->keys[n++] = l->keys[i];
	l->n = n;
}

static int wanted_list(struct net_list *l, const struct guard_cidr *nets, size_t n_nets,
		       uint8_t family)
{
	for (size_t i = 0; i < n_nets; i++) {
		struct guard_cidr_v6 cidr = {.prefix_len = nets[i].prefix_len};
		int rc;

		if (nets[i].addr.family != family)
			continue;
		memcpy(cidr.addr, nets[i].addr.bytes, l->key_size - sizeof cidr.prefix_len);
		rc = net_list_push(l, &cidr);
		if (rc)
			return rc;
	}
	net_list_sort_unique(l);
	return 0;
}

static int set_count(const struct target *t, uint32_t count)
{
	struct guard_settings set;
	int rc = guard_maps_get_settings(t->maps, &set);

	if (rc)
		return rc;
	memcpy((char *)&set + t->count_offset, &count, sizeof count);
	return guard_maps_set_settings(t->maps, &set);
}

static int add_and_delete(const struct target *t, const struct net_list *have,
			  const struct net_list *want)
{
	int fd = t->maps->fd[t->map];

	/* Those that stay are written too: their value may have changed. */
	for (size_t i = 0; i < want->n; i++) {
		struct guard_net value = t->value;

		value.prefix_len = (uint16_t)want->keys[i].cidr.prefix_len;
		if (bpf_map_update_elem(fd, &want->keys[i], &value, BPF_ANY))
			return errno == ENOSPC ? -SL_ELIMIT : -SL_ESYS;
	}
	for (size_t i = 0; i < have->n; i++) {
		if (net_list_has(want, &have->keys[i]))
			continue;
		if (bpf_map_delete_elem(fd, &have->keys[i]) && errno != ENOENT)
			return -SL_ESYS;
	}
	return 0;
}

static int set_one(const struct target *t, const struct guard_cidr *nets, size_t n_nets)
{
	size_t key_size =
		t->family == 4 ? sizeof(struct guard_cidr_v4) : sizeof(struct guard_cidr_v6);
	struct net_list have = {.key_size = key_size}, want = {.key_size = key_size};
	int saved, rc;

	rc = wanted_list(&want, nets, n_nets, t->family);
	if (!rc)
		rc = guard_maps_each(t->maps->fd[t->map], key_size, sizeof(struct guard_net),
				     GUARD_BATCH, push_entry, &have);
	if (!rc && have.n + want.n)
		rc = set_count(t, (uint32_t)(have.n + want.n));
	if (!rc)
		rc = add_and_delete(t, &have, &want);
	if (!rc)
		rc = set_count(t, (uint32_t)want.n);
	saved = errno;
	free(have.keys);
	free(want.keys);
	errno = saved;
	return rc;
}

static int set_both(const struct target targets[2], const struct guard_cidr *nets, size_t n_nets,
		    char *err, size_t err_size)
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

int guard_nets_set_allow(const struct guard_maps *m, const struct guard_cidr *nets, size_t n_nets,
			 char *err, size_t err_size)
{
	const struct target targets[2] = {
		{.maps = m,
		 .map = GUARD_MAP_ALLOW_V4,
		 .count_offset = offsetof(struct guard_settings, n_allow_v4),
		 .family = 4},
		{.maps = m,
		 .map = GUARD_MAP_ALLOW_V6,
		 .count_offset = offsetof(struct guard_settings, n_allow_v6),
		 .family = 6},
	};

	return set_both(targets, nets, n_nets, err, err_size);
}

int guard_nets_set_deny(const struct guard_maps *m, const struct guard_cidr *nets, size_t n_nets,
			uint32_t rule_id, char *err, size_t err_size)
{
	const struct target targets[2] = {
		{.maps = m,
		 .map = GUARD_MAP_DENY_NET_V4,
		 .count_offset = offsetof(struct guard_settings, n_deny_net_v4),
		 .family = 4,
		 .value = {.rule_id = rule_id}},
		{.maps = m,
		 .map = GUARD_MAP_DENY_NET_V6,
		 .count_offset = offsetof(struct guard_settings, n_deny_net_v6),
		 .family = 6,
		 .value = {.rule_id = rule_id}},
	};

	return set_both(targets, nets, n_nets, err, err_size);
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
