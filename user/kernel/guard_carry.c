/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the way of content from maps of another layout (an older or newer sluice's, or of another size)
 * into new ones: value by value, field by field, by the names that BTF has for both. What the new layout
 * does not know is left behind; what the old one did not know is zero. Only what nobody else would write
 * again is carried: bans, counters, sources. Lists of the configuration are not. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "guard.skel.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define FIELDS_MAX 32
#define VALUE_MAX 512

static const enum guard_map carried[] = {
	GUARD_MAP_DENY_V4,    GUARD_MAP_DENY_V6,    GUARD_MAP_BAN_NET_V4,  GUARD_MAP_BAN_NET_V6,
	GUARD_MAP_SOURCES_V4, GUARD_MAP_SOURCES_V6, GUARD_MAP_PREFIXES_V6, GUARD_MAP_TOTALS,
};

struct field {
	uint32_t from, to, bytes;
};

struct carry {
	int to_fd;
	uint32_t key_size, from_size;
	struct field fields[FIELDS_MAX];
	size_t n_fields;
	unsigned n_entries;
};

static const struct btf_type *struct_of(const struct btf *btf, uint32_t id)
{
	const struct btf_type *t = btf__type_by_id(btf, id);

	return t && btf_is_struct(t) ? t : NULL;
}

/* Of the same size, or numbers of two sizes, of which the lesser is carried (little endian). */
static bool fits(int64_t *bytes, int64_t was)
{
	if (*bytes == was)
		return was > 0;
	if (*bytes < 1 || was < 1 || *bytes > 8 || was > 8)
		return false;
	*bytes = was < *bytes ? was : *bytes;
	return true;
}

/* Fields of the same name. */
static int match_fields(struct carry *c, const struct btf *from, uint32_t from_id,
			const struct btf *to, uint32_t to_id)
{
	const struct btf_type *old = struct_of(from, from_id), *new = struct_of(to, to_id);

	if (!old || !new || new->size > VALUE_MAX)
		return -SL_EINVAL;
	for (uint32_t i = 0; i < btf_vlen(new); i++) {
		const struct btf_member *m = &btf_members(new)[i];
		const char *name = btf__name_by_offset(to, m->name_off);

		for (uint32_t k = 0; k < btf_vlen(old) && c->n_fields < FIELDS_MAX; k++) {
			const struct btf_member *o = &btf_members(old)[k];
			int64_t bytes = btf__resolve_size(to, m->type);
			int64_t was = btf__resolve_size(from, o->type);

			if (strcmp(btf__name_by_offset(from, o->name_off), name) != 0 ||
			    !fits(&bytes, was))
				continue;
			c->fields[c->n_fields++] =
				(struct field){o->offset / 8, m->offset / 8, (uint32_t)bytes};
		}
	}
	return 0;
}

static void convert(const struct carry *c, const void *from, void *to)
{
	for (size_t i = 0; i < c->n_fields; i++)
		memcpy((char *)to + c->fields[i].to, (const char *)from + c->fields[i].from,
		       c->fields[i].bytes);
}

static int put_entry(void *arg, const void *key, const void *value)
{
	struct carry *c = arg;
	char to[VALUE_MAX] = {0};

	convert(c, value, to);
	/* What is there already came from a layout nearer to ours. */
	if (bpf_map_update_elem(c->to_fd, key, to, BPF_NOEXIST) == 0)
		c->n_entries++;
	return 0;
}

/* Indices of totals keep their meaning from schema to schema. */
static void put_totals(struct carry *c, int from_fd, uint32_t n, uint32_t value_size, int n_cpus)
{
	char *from = calloc((size_t)n_cpus, value_size);
	struct guard_total *to = calloc((size_t)n_cpus, sizeof *to);

	for (uint32_t i = 0; from && to && i < n && i < GUARD_N_TOTALS; i++) {
		if (bpf_map_lookup_elem(from_fd, &i, from) ||
		    bpf_map_lookup_elem(c->to_fd, &i, to) || to[0].packets)
			continue;
		for (int cpu = 0; cpu < n_cpus; cpu++)
			convert(c, from + (size_t)cpu * value_size, &to[cpu]);
		if (bpf_map_update_elem(c->to_fd, &i, to, BPF_ANY) == 0)
			c->n_entries++;
	}
	free(from);
	free(to);
}

static void carry_map(struct guard *g, enum guard_map which, int from_fd)
{
	const struct bpf_map *map = guard_pins_map(g, which);
	struct carry c = {.to_fd = g->maps.fd[which], .key_size = bpf_map__key_size(map)};
	struct bpf_map_info info = {0};
	uint32_t len = sizeof info;
	struct btf *btf;

	if (bpf_obj_get_info_by_fd(from_fd, &info, &len) || info.key_size != c.key_size ||
	    info.type != (uint32_t)bpf_map__type(map))
		return;
	btf = btf__load_from_kernel_by_id(info.btf_id);
	if (!btf)
		return;
	if (match_fields(&c, btf, info.btf_value_type_id, bpf_object__btf(g->skel->obj),
			 bpf_map__btf_value_type_id(map)) == 0) {
		if (which == GUARD_MAP_TOTALS)
			put_totals(&c, from_fd, info.max_entries, info.value_size, g->maps.n_cpus);
		else
			guard_maps_each(from_fd, info.key_size, info.value_size, GUARD_BATCH,
					put_entry, &c);
	}
	btf__free(btf);
	g->status.n_entries_carried += c.n_entries;
}

static void carry_folder(void *arg, const char *dir)
{
	struct guard *g = arg;

	for (size_t i = 0; i < sizeof carried / sizeof carried[0]; i++) {
		char path[GUARD_PIN_PATH_MAX];
		int fd;

		if (g->is_kept[carried[i]])
			continue;
		guard_pins_path(dir, carried[i], path);
		fd = bpf_obj_get(path);
		if (fd < 0)
			continue;
		carry_map(g, carried[i], fd);
		close(fd);
	}
}

void guard_carry_all(struct guard *g)
{
	carry_folder(g, g->map_dir);
	guard_pins_each_other(g, carry_folder, g);
}
