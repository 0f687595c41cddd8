/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the table of map descriptors: their names, read-only copies for children, the settings, and
 * reading a map in batches. What the entries of a map mean is for the files beside it. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define BATCH_MAX (1u << 20)

const char *guard_maps_name(enum guard_map map)
{
	static const char *const names[GUARD_N_MAPS] = {
		[GUARD_MAP_ALLOW_V4] = "allow_v4",
		[GUARD_MAP_ALLOW_V6] = "allow_v6",
		[GUARD_MAP_DENY_V4] = "deny_v4",
		[GUARD_MAP_DENY_V6] = "deny_v6",
		[GUARD_MAP_DENY_NET_V4] = "deny_net_v4",
		[GUARD_MAP_DENY_NET_V6] = "deny_net_v6",
		[GUARD_MAP_SOURCES_V4] = "sources_v4",
		[GUARD_MAP_SOURCES_V6] = "sources_v6",
		[GUARD_MAP_BAN_NET_V4] = "ban_net_v4",
		[GUARD_MAP_BAN_NET_V6] = "ban_net_v6",
		[GUARD_MAP_PREFIXES_V6] = "prefixes_v6",
		[GUARD_MAP_HEARTBEAT] = "heartbeat",
		[GUARD_MAP_GOOD] = "good",
		[GUARD_MAP_EVENTS] = "events",
		[GUARD_MAP_SKETCH] = "sketch",
		[GUARD_MAP_FILTER] = "filter",
		[GUARD_MAP_KNOWN] = "known",
		[GUARD_MAP_STATE] = "state",
		[GUARD_MAP_CPU] = "cpu",
		[GUARD_MAP_TOTALS] = "totals",
		[GUARD_MAP_SETTINGS] = "settings",
	};

	return names[map];
}

int guard_maps_open_reader(const struct guard *g, struct guard_maps *out, char *err,
			   size_t err_size)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = BPF_F_RDONLY);
	char path[GUARD_PIN_PATH_MAX];

	for (int i = 0; i < GUARD_N_MAPS; i++)
		out->fd[i] = -1;
	out->n_cpus = g->maps.n_cpus;
	out->filter = NULL;
	out->seed = g->maps.seed;
	for (int i = 0; i < GUARD_N_MAPS; i++) {
		guard_pins_path(g->map_dir, i, path);
		out->fd[i] = bpf_obj_get_opts(path, &opts);
		if (out->fd[i] < 0) {
			int saved = errno;

			guard_maps_close(out);
			errno = saved;
			return guard_fail(-SL_ESYS, err, err_size,
					  "cannot open the pinned map %s: %s", path,
					  strerror(saved));
		}
	}
	return 0;
}

void guard_maps_close(struct guard_maps *m)
{
	for (int i = 0; i < GUARD_N_MAPS; i++) {
		if (m->fd[i] >= 0)
			close(m->fd[i]);
		m->fd[i] = -1;
	}
}

int guard_maps_get_settings(const struct guard_maps *m, struct guard_settings *out)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(m->fd[GUARD_MAP_SETTINGS], &zero, out) ? -SL_ESYS : 0;
}

int guard_maps_set_settings(const struct guard_maps *m, const struct guard_settings *set)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(m->fd[GUARD_MAP_SETTINGS], &zero, set, BPF_ANY) ? -SL_ESYS : 0;
}

int guard_maps_set_flags(const struct guard_maps *m, bool dry_run, bool count_sources)
{
	struct guard_settings set;
	int rc = guard_maps_get_settings(m, &set);

	if (rc)
		return rc;
	set.dry_run = dry_run;
	set.count_sources = count_sources;
	return guard_maps_set_settings(m, &set);
}

int guard_maps_set_fail(const struct guard_maps *m, uint64_t after_ns, bool is_open)
{
	struct guard_settings set;
	int rc = guard_maps_get_settings(m, &set);

	if (rc)
		return rc;
	set.fail_after_ns = after_ns;
	set.fail_open = is_open;
	return guard_maps_set_settings(m, &set);
}

int guard_maps_beat(const struct guard_maps *m, uint64_t now_ns)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(m->fd[GUARD_MAP_HEARTBEAT], &zero, &now_ns, BPF_ANY) ? -SL_ESYS
											: 0;
}

struct batch {
	uint8_t *keys;
	uint8_t *values;
	uint32_t n_max;
};

static int batch_resize(struct batch *b, size_t key_size, size_t value_size, uint32_t n_max)
{
	uint8_t *keys, *values;

	keys = realloc(b->keys, n_max * key_size);
	if (!keys)
		return -SL_ENOMEM;
	b->keys = keys;
	values = realloc(b->values, n_max * value_size);
	if (!values)
		return -SL_ENOMEM;
	b->values = values;
	b->n_max = n_max;
	return 0;
}

int guard_maps_each(int fd, size_t key_size, size_t value_size, uint32_t n_batch,
		    int (*fn)(void *arg, const void *key, const void *value), void *arg)
{
	struct batch b = {0};
	uint8_t token[2][32]; /* an opaque place in the map: at most a key long */
	bool is_first = true, is_last = false;
	int rc = batch_resize(&b, key_size, value_size, n_batch);

	while (!rc && !is_last) {
		uint32_t n = b.n_max;

		if (bpf_map_lookup_batch(fd, is_first ? NULL : token[0], token[1], b.keys, b.values,
					 &n, NULL)) {
			/* A bucket of the hash holds more than a batch: ask again with more room.
			 */
			if (errno == ENOSPC && b.n_max < BATCH_MAX) {
				rc = batch_resize(&b, key_size, value_size, b.n_max * 2);
				continue;
			}
			if (errno != ENOENT) {
				rc = -SL_ESYS;
				break;
			}
			is_last = true;
		}
		for (uint32_t i = 0; i < n && !rc; i++)
			rc = fn(arg, b.keys + i * key_size, b.values + i * value_size);
		memcpy(token[0], token[1], sizeof token[0]);
		is_first = false;
	}
	free(b.keys);
	free(b.values);
	return rc;
}

struct each_net {
	int (*fn)(void *arg, const struct guard_cidr *net, const struct guard_net *value);
	void *arg;
	uint8_t family;
};

static size_t cidr_bytes(uint8_t family)
{
	return family == 4 ? sizeof(struct guard_cidr_v4) : sizeof(struct guard_cidr_v6);
}

static int each_net(void *arg, const void *key, const void *value)
{
	const struct each_net *e = arg;
	struct guard_cidr net = {.addr.family = e->family};
	struct guard_cidr_v6 cidr = {0};
	struct guard_net copy;

	memcpy(&cidr, key, cidr_bytes(e->family));
	net.prefix_len = (uint8_t)cidr.prefix_len;
	memcpy(net.addr.bytes, cidr.addr, sizeof cidr.addr);
	memcpy(&copy, value, sizeof copy);
	return e->fn(e->arg, &net, &copy);
}

int guard_maps_each_net(const struct guard_maps *m, enum guard_map v4, enum guard_map v6,
			int (*fn)(void *arg, const struct guard_cidr *net,
				  const struct guard_net *value),
			void *arg)
{
	struct each_net e = {.fn = fn, .arg = arg, .family = 4};
	int rc = guard_maps_each(m->fd[v4], cidr_bytes(4), sizeof(struct guard_net), GUARD_BATCH,
				 each_net, &e);

	if (rc)
		return rc;
	e.family = 6;
	return guard_maps_each(m->fd[v6], cidr_bytes(6), sizeof(struct guard_net), GUARD_BATCH,
			       each_net, &e);
}
