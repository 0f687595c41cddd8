/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the entries of deny_v4 and deny_v6: the bans as the kernel has them. Who is banned, why and
 * for how long is decided elsewhere. */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

/* The key of an address is its bytes, of which the map takes as many as its family has. */
static int fd_of(const struct guard_maps *m, const struct guard_addr *addr)
{
	return m->fd[addr->family == 4 ? GUARD_MAP_DENY_V4 : GUARD_MAP_DENY_V6];
}

static bool has_ended(const struct guard_deny *deny, uint64_t now_ns)
{
	return deny->expires_ns && deny->expires_ns <= now_ns;
}

int guard_deny_get(const struct guard_maps *m, const struct guard_addr *addr,
		   struct guard_deny *out)
{
	if (bpf_map_lookup_elem(fd_of(m, addr), addr->bytes, out) == 0)
		return 0;
	return errno == ENOENT ? -SL_ENOTFOUND : -SL_ESYS;
}

int guard_deny_add(const struct guard_maps *m, const struct guard_addr *addr,
		   const struct guard_ban *ban, uint64_t now_ns)
{
	struct guard_deny deny;
	int rc = guard_deny_get(m, addr, &deny);

	if (rc && rc != -SL_ENOTFOUND)
		return rc;
	if (rc || has_ended(&deny, now_ns))
		deny = (struct guard_deny){.banned_at_ns = now_ns};
	deny.expires_ns = ban->expires_ns;
	deny.rule_id = ban->rule_id;
	deny.flags = ban->flags;
	if (bpf_map_update_elem(fd_of(m, addr), addr->bytes, &deny, BPF_ANY) == 0)
		return 0;
	return errno == E2BIG ? -SL_ELIMIT : -SL_ESYS;
}

int guard_deny_del(const struct guard_maps *m, const struct guard_addr *addr)
{
	if (bpf_map_delete_elem(fd_of(m, addr), addr->bytes) == 0)
		return 0;
	return errno == ENOENT ? -SL_ENOTFOUND : -SL_ESYS;
}

struct each {
	int (*fn)(void *arg, const struct guard_addr *addr, const struct guard_deny *deny);
	void *arg;
	uint8_t family;
};

static int each_entry(void *arg, const void *key, const void *value)
{
	const struct each *e = arg;
	struct guard_addr addr = {.family = e->family};
	struct guard_deny deny;

	memcpy(addr.bytes, key, e->family == 4 ? 4 : 16);
	memcpy(&deny, value, sizeof deny);
	return e->fn(e->arg, &addr, &deny);
}

int guard_deny_each(const struct guard_maps *m,
		    int (*fn)(void *arg, const struct guard_addr *addr,
			      const struct guard_deny *deny),
		    void *arg)
{
	struct each e = {.fn = fn, .arg = arg, .family = 4};
	int rc = guard_maps_each(m->fd[GUARD_MAP_DENY_V4], sizeof(struct guard_v4),
				 sizeof(struct guard_deny), GUARD_BATCH, each_entry, &e);

	if (rc)
		return rc;
	e.family = 6;
	return guard_maps_each(m->fd[GUARD_MAP_DENY_V6], sizeof(struct guard_v6),
			       sizeof(struct guard_deny), GUARD_BATCH, each_entry, &e);
}

struct sweep {
	const struct guard_maps *maps;
	uint64_t now_ns;
	int n_deleted;
};

static int sweep_entry(void *arg, const struct guard_addr *addr, const struct guard_deny *deny)
{
	struct sweep *s = arg;
	int rc;

	if (!has_ended(deny, s->now_ns))
		return 0;
	rc = guard_deny_del(s->maps, addr);
	if (!rc)
		s->n_deleted++;
	return rc == -SL_ENOTFOUND ? 0 : rc;
}

int guard_deny_sweep(const struct guard_maps *m, uint64_t now_ns)
{
	struct sweep s = {.maps = m, .now_ns = now_ns};
	int rc = guard_deny_each(m, sweep_entry, &s);

	return rc ? rc : s.n_deleted;
}
