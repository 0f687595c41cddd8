/* SPDX-License-Identifier: BSD-2-Clause */
/* Copies of what other processes write, for the endpoints to print at leisure. Changes nothing in
 * shared memory but the lock of a balance group, which it holds for one slot at a time. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin_impl.h"
#include "core/clock.h"

/* ---- text ---- */

/* Length of the UTF-8 sequence at P (RFC 3629 4), 0 for none. */
static size_t utf8_len(const unsigned char *p)
{
	size_t n = p[0] < 0x80	 ? 1
		   : p[0] < 0xc2 ? 0
		   : p[0] < 0xe0 ? 2
		   : p[0] < 0xf0 ? 3
		   : p[0] < 0xf5 ? 4
				 : 0;

	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* C0, DEL, and C1, which some terminals obey. */
static bool is_control(const unsigned char *p)
{
	return p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0);
}

const char *view_utf8(const char *in, char *out, size_t room)
{
	size_t o = 0;

	while (*in) {
		size_t n = utf8_len((const unsigned char *)in);

		if (o + (n ? n : 1) >= room)
			break;
		if (n == 0 || is_control((const unsigned char *)in)) {
			out[o++] = '?';
			in += n ? n : 1;
			continue;
		}
		memcpy(out + o, in, n);
		o += n;
		in += n;
	}
	out[o] = 0;
	return out;
}

const char *view_guard_off(const struct admin *a, char *out, size_t room)
{
	char mode[sizeof a->env->stats->guard_mode];

	if (a->env->guard)
		return NULL;
	memcpy(mode, a->env->stats->guard_mode, sizeof mode);
	mode[sizeof mode - 1] = 0;
	if (a->env->stats->guard_on)
		return view_utf8("the admin process has no access to the maps", out, room);
	if (strncmp(mode, "off: ", 5) == 0)
		return view_utf8(mode + 5, out, room);
	return view_utf8(mode[0] ? mode : "there is no xdp block", out, room);
}

/* ---- upstreams ---- */

static const char *peer_state(const struct balance_server *s, const struct balance_peer *p,
			      uint64_t now_s)
{
	if (s->down)
		return s->drain ? "draining" : "down";
	if (p->gone)
		return "gone";
	if (p->sick)
		return "unhealthy";
	if (p->unchecked)
		return "checking";
	if (p->unavailable_since_ms)
		return p->probing ? "probing" : "failed";
	if (balance_is_up(s, p, now_s))
		return p->slow_since_ms ? "starting" : "up";
	return s->max_conns && p->conns >= s->max_conns ? "full" : "failed";
}

/* False when memory is short. */
static bool copy_group(struct view_group *v, struct balance_group *g)
{
	uint64_t now_s = clock_mono_ms() / 1000;
	uint32_t room = g->peers_room < BALANCE_PEERS_MAX ? g->peers_room : BALANCE_PEERS_MAX;

	v->servers = calloc(BALANCE_SERVERS_MAX, sizeof *v->servers);
	v->peers = calloc((size_t)room + 1, sizeof *v->peers);
	if (!v->servers || !v->peers)
		return false;
	while (v->n_servers < BALANCE_SERVERS_MAX &&
	       balance_get_server(g, v->n_servers, &v->servers[v->n_servers]))
		v->n_servers++;
	for (uint32_t i = 0; i < room; i++) {
		struct view_peer *p = &v->peers[v->n_peers];

		if (!balance_get_peer(g, i, &p->peer) || p->peer.server >= v->n_servers)
			continue;
		p->state = peer_state(&v->servers[p->peer.server], &p->peer, now_s);
		v->n_peers++;
	}
	return true;
}

/* An implicit group may have the name of another one, with another port. */
static void name_group(struct view_group *groups, size_t i)
{
	struct view_group *v = &groups[i];
	char name[BALANCE_NAME_MAX + 1];
	size_t n = v->conf->name.n < sizeof name ? v->conf->name.n : sizeof name - 1;

	memcpy(name, v->conf->name.p, n);
	name[n] = 0;
	view_utf8(name, v->name, sizeof name);
	for (size_t j = 0; j < i; j++) {
		if (strcmp(groups[j].name, v->name))
			continue;
		n = strlen(v->name);
		snprintf(v->name + n, sizeof v->name - n, "#%" PRIu32, v->conf->index);
		return;
	}
}

struct view_group *view_groups_new(const struct admin *a, size_t *n)
{
	struct view_group *groups;
	size_t room = 0;

	*n = 0;
	for (const struct upstream_conf *u = a->env->upstreams; u; u = u->next)
		room++;
	groups = room ? calloc(room, sizeof *groups) : NULL;
	if (!groups)
		return NULL;
	for (const struct upstream_conf *u = a->env->upstreams; u; u = u->next) {
		struct view_group *v = &groups[*n];

		if (!u->group)
			continue;
		v->conf = u;
		++*n;
		if (!copy_group(v, u->group)) {
			view_groups_free(groups, *n);
			*n = 0;
			return NULL;
		}
		name_group(groups, *n - 1);
	}
	return groups;
}

void view_groups_free(struct view_group *groups, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(groups[i].servers);
		free(groups[i].peers);
	}
	free(groups);
}

/* ---- counters ---- */

bool view_worker_runs(const struct stats_worker *w)
{
	return __atomic_load_n(&w->pid, __ATOMIC_RELAXED) > 0;
}

static uint64_t counter_at(const struct stats_worker *w, size_t offset)
{
	const void *at = (const char *)w + offset;

	return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
}

uint64_t view_sum(const struct stats *s, size_t offset, bool is_gauge)
{
	uint64_t sum = is_gauge ? 0 : counter_at(&s->retired, offset);

	for (int i = 0; i < STATS_WORKERS_MAX; i++)
		if (!is_gauge || view_worker_runs(&s->worker[i]))
			sum += counter_at(&s->worker[i], offset);
	return sum;
}

/* ---- bans ---- */

static int newest_first(const void *a, const void *b)
{
	const struct ban_entry *x = a, *y = b;

	if (x->since_wall_ms != y->since_wall_ms)
		return x->since_wall_ms > y->since_wall_ms ? -1 : 1;
	return memcmp(&x->net, &y->net, sizeof x->net);
}

struct ban_entry *view_bans_new(const struct ban_table *t, size_t *n, struct view_bans *sums)
{
	uint64_t now_ms = clock_mono_ms();
	/* Some may come while the table is read. */
	size_t room = (size_t)ban_n(t) + 64;
	struct ban_entry *bans = calloc(room, sizeof *bans);
	uint32_t at = 0;

	*n = 0;
	*sums = (struct view_bans){0};
	while (bans && *n < room && ban_next(t, &at, &bans[*n])) {
		struct ban_entry *e = &bans[*n];

		if (ban_is_over(e, now_ms))
			continue;
		e->reason[sizeof e->reason - 1] = 0;
		++*n;
		if (e->net.is_trial) {
			sums->n_dry_run++;
			continue;
		}
		sums->n_active++;
		sums->n_networks += !ban_net_is_single(&e->net);
		sums->n_indirect += e->indirect != 0;
		sums->n_in_kernel += e->in_kernel != 0;
	}
	if (*n)
		qsort(bans, *n, sizeof *bans, newest_first);
	return bans;
}

/* ---- processes ---- */

bool view_process(int pid, struct view_process *out)
{
	char path[32], line[1024], *at;
	unsigned long long utime, stime;
	long rss_pages;
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	f = pid > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	n = fread(line, 1, sizeof line - 1, f);
	fclose(f);
	line[n] = 0;
	/* The name in parentheses may hold anything; fields are counted from behind it (proc(5)).
	 */
	at = strrchr(line, ')');
	if (!at || sscanf(at + 1,
			  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
			  "%*d %*d %*u %*u %ld",
			  &utime, &stime, &rss_pages) != 3)
		return false;
	out->cpu_s = (double)(utime + stime) / (double)sysconf(_SC_CLK_TCK);
	out->rss_bytes = (uint64_t)rss_pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}
