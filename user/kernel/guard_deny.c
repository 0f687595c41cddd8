/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the entries of deny_v4 and deny_v6, and of ban_net_v4 and ban_net_v6: the bans as the kernel has
 * them. Who is banned, why and for how long is decided elsewhere. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

/* Where a ban is: an address or a network, as the map has it. */
struct place {
	int fd;
	bool is_net;
	uint8_t family;
	union {
		struct guard_cidr_v6 cidr; /* the IPv4 key is its first 8 bytes */
		uint8_t addr[16];
	} key;
};

_Static_assert(sizeof(struct guard_net) == sizeof(struct guard_deny), "one code for both");
_Static_assert(offsetof(struct guard_net, rule_id) == offsetof(struct guard_deny, rule_id), "");

static bool is_single(const struct guard_cidr *net)
{
	return net->prefix_len == (net->addr.family == 4 ? 32 : 128);
}

static struct place place_of(const struct guard_maps *m, const struct guard_cidr *net)
{
	bool is_v4 = net->addr.family == 4;
	struct place p = {.is_net = !is_single(net), .family = net->addr.family};

	if (p.is_net) {
		p.fd = m->fd[is_v4 ? GUARD_MAP_BAN_NET_V4 : GUARD_MAP_BAN_NET_V6];
		p.key.cidr.prefix_len = net->prefix_len;
		memcpy(p.key.cidr.addr, net->addr.bytes, is_v4 ? 4 : 16);
	} else {
		p.fd = m->fd[is_v4 ? GUARD_MAP_DENY_V4 : GUARD_MAP_DENY_V6];
		memcpy(p.key.addr, net->addr.bytes, 16);
	}
	return p;
}

static struct guard_cidr single(const struct guard_addr *addr)
{
	return (struct guard_cidr){.addr = *addr, .prefix_len = addr->family == 4 ? 32 : 128};
}

static int look_up(const struct place *p, struct guard_deny *out)
{
	if (bpf_map_lookup_elem(p->fd, &p->key, out) == 0)
		return 0;
	return errno == ENOENT ? -SL_ENOTFOUND : -SL_ESYS;
}

static bool has_ended(const struct guard_deny *deny, uint64_t now_ns)
{
	return deny->expires_ns && deny->expires_ns <= now_ns;
}

static uint32_t *count_of(struct guard_settings *set, const struct place *p)
{
	return p->family == 4 ? &set->n_ban_net_v4 : &set->n_ban_net_v6;
}

/* The program skips a map of which settings say that it is empty. */
static int raise_count(const struct guard_maps *m, const struct place *p)
{
	struct guard_settings set;
	int rc = guard_maps_get_settings(m, &set);

	if (rc)
		return rc;
	++*count_of(&set, p);
	return guard_maps_set_settings(m, &set);
}

static void lower_count(const struct guard_maps *m, const struct place *p)
{
	struct guard_cidr_v6 first;
	struct guard_settings set;
	uint32_t *n;

	if (guard_maps_get_settings(m, &set))
		return;
	n = count_of(&set, p);
	if (bpf_map_get_next_key(p->fd, NULL, &first) && errno == ENOENT)
		*n = 0;
	else if (*n > 1)
		--*n;
	guard_maps_set_settings(m, &set);
}

static int put(const struct place *p, struct guard_deny *deny, const struct guard_ban *ban)
{
	deny->expires_ns = ban->expires_ns;
	deny->rule_id = ban->rule_id;
	deny->flags = (uint16_t)ban->flags;
	if (bpf_map_update_elem(p->fd, &p->key, deny, BPF_ANY) == 0)
		return 0;
	return errno == E2BIG || errno == ENOSPC ? -SL_ELIMIT : -SL_ESYS;
}

int guard_deny_add_net(const struct guard_maps *m, const struct guard_cidr *net, bool is_there,
		       const struct guard_ban *ban, uint64_t now_ns)
{
	struct place p = place_of(m, net);
	struct guard_deny deny;
	int rc = -SL_ENOTFOUND, saved;

	/* In an LPM a network that is not there is answered with the one around it. */
	if (!p.is_net || is_there)
		rc = look_up(&p, &deny);
	if (rc && rc != -SL_ENOTFOUND)
		return rc;
	if (rc || has_ended(&deny, now_ns))
		deny = (struct guard_deny){.banned_at_ns = now_ns};
	deny.prefix_len = p.is_net ? net->prefix_len : 0;
	guard_filter_add(m, net, false);
	if (!p.is_net)
		return put(&p, &deny, ban);
	rc = is_there ? 0 : raise_count(m, &p);
	if (rc)
		return rc;
	rc = put(&p, &deny, ban);
	saved = errno;
	if (rc && !is_there)
		lower_count(m, &p);
	errno = saved;
	return rc;
}

int guard_deny_del_net(const struct guard_maps *m, const struct guard_cidr *net)
{
	struct place p = place_of(m, net);

	if (bpf_map_delete_elem(p.fd, &p.key))
		return errno == ENOENT ? -SL_ENOTFOUND : -SL_ESYS;
	if (p.is_net)
		lower_count(m, &p);
	return 0;
}

int guard_deny_get_net(const struct guard_maps *m, const struct guard_cidr *net,
		       struct guard_deny *out)
{
	struct place p = place_of(m, net);

	return look_up(&p, out);
}

int guard_deny_get(const struct guard_maps *m, const struct guard_addr *addr,
		   struct guard_deny *out)
{
	struct guard_cidr net = single(addr);

	return guard_deny_get_net(m, &net, out);
}

int guard_deny_add(const struct guard_maps *m, const struct guard_addr *addr,
		   const struct guard_ban *ban, uint64_t now_ns)
{
	struct guard_cidr net = single(addr);

	return guard_deny_add_net(m, &net, false, ban, now_ns);
}

int guard_deny_del(const struct guard_maps *m, const struct guard_addr *addr)
{
	struct guard_cidr net = single(addr);

	return guard_deny_del_net(m, &net);
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

int guard_deny_each_net(const struct guard_maps *m,
			int (*fn)(void *arg, const struct guard_cidr *net,
				  const struct guard_net *ban),
			void *arg)
{
	return guard_maps_each_net(m, GUARD_MAP_BAN_NET_V4, GUARD_MAP_BAN_NET_V6, fn, arg);
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
