/* SPDX-License-Identifier: BSD-2-Clause */
/* Bans, in the only process that writes them: one call changes the table that workers read and the
 * kernel's maps, so that both always say the same. What the kernel has no room for holds in userspace, and
 * goes to the kernel once there is room. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "core/msg.h"
#include "master/master.h"
#include "policy/ban_conf.h"

enum {
	NAME_MAX_BYTES = GUARD_ADDR_TEXT_MAX + 4,
	SAVE_RETRY_MS = 5000,
	IMPORT_SLACK_MS = 2000, /* times in files are of whole seconds */
};

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

static struct guard_cidr cidr_of(const struct ban_net *n)
{
	struct guard_cidr c = {.addr.family = n->family, .prefix_len = n->prefix_len};

	memcpy(c.addr.bytes, n->bytes, sizeof c.addr.bytes);
	return c;
}

static struct ban_net net_of(const struct guard_cidr *c)
{
	struct ban_net n = {.family = c->addr.family, .prefix_len = c->prefix_len};

	memcpy(n.bytes, c->addr.bytes, sizeof n.bytes);
	return n;
}

static const char *name_of(const struct ban_net *n, char out[static NAME_MAX_BYTES])
{
	struct guard_cidr c = cidr_of(n);
	size_t at = strlen(guard_addr_to_text(&c.addr, out));

	if (!ban_net_is_single(n))
		snprintf(out + at, NAME_MAX_BYTES - at, "/%d", n->prefix_len);
	return out;
}

/* ---- the kernel ---- */

/* A network on trial stays out: in an LPM it would hide the one in force around it. An address that is on
 * trial only gives way to its ban in force. */
static bool is_for_kernel(const struct master *m, const struct ban_entry *e)
{
	struct ban_net other = e->net;
	struct ban_entry in_force;

	if (!m->guard || e->indirect || e->is_past)
		return false;
	if (!e->net.is_trial)
		return true;
	other.is_trial = 0;
	return ban_net_is_single(&e->net) && !ban_find(m->bans, &other, &in_force);
}

static int kernel_put(struct master *m, const struct ban_entry *e)
{
	struct guard_ban ban = {.expires_ns = e->until_mono_ms * 1000000u,
				.rule_id = e->rule_id,
				.flags = e->net.is_trial ? GUARD_DENY_DRY_RUN : 0};
	struct guard_cidr c = cidr_of(&e->net);

	return guard_deny_add_net(guard_maps(m->guard), &c, e->in_kernel, &ban, clock_mono_ns());
}

static void kernel_del(struct master *m, const struct ban_entry *e)
{
	struct ban_net other = e->net;
	struct guard_cidr c = cidr_of(&e->net);
	struct ban_entry in_force;

	if (!m->guard)
		return;
	other.is_trial = 0;
	if (e->net.is_trial && ban_find(m->bans, &other, &in_force) && in_force.in_kernel)
		return;
	guard_deny_del_net(guard_maps(m->guard), &c);
}

/* E into the kernel if that is its place; says where it holds. */
static void place(struct master *m, struct ban_entry *e)
{
	char name[NAME_MAX_BYTES];
	int r;

	if (!is_for_kernel(m, e)) {
		/* It was there while it was another ban. */
		if (e->in_kernel)
			kernel_del(m, e);
		e->in_kernel = 0;
		return;
	}
	r = kernel_put(m, e);
	e->in_kernel = r == 0;
	if (r == 0 || e->net.is_trial)
		return;
	m->n_waiting++;
	m->stats->n_bans_userspace_only++;
	log_write(
		log_of(m), LOG_LVL_CRIT, 0,
		"the ban of %s did not reach the kernel (%s), it holds in userspace until there is "
		"room",
		name_of(&e->net, name), r == -SL_ELIMIT ? "the map is full" : strerror(errno));
}

/* One bit for each of the kernel's maps. */
static unsigned map_of(const struct ban_net *n)
{
	return 1u << (2 * (n->family == 6) + ban_net_is_single(n));
}

/* Those that found no room, as long as there is some. */
static void push_waiting(struct master *m)
{
	struct ban_entry e;
	uint32_t at = 0, n = 0;
	unsigned full = 0;
	int r;

	while (m->n_waiting && ban_next(m->bans, &at, &e)) {
		if (e.in_kernel || e.net.is_trial || !is_for_kernel(m, &e))
			continue;
		n++;
		if (full & map_of(&e.net))
			continue;
		r = kernel_put(m, &e);
		if (r)
			full |= r == -SL_ELIMIT ? map_of(&e.net) : 0;
		if (r)
			continue;
		n--;
		e.in_kernel = 1;
		ban_put(m->bans, &e);
	}
	m->n_waiting = n;
}

/* ---- ban, unban ---- */

static bool is_known_net(const struct msg_ban *b, struct ban_net *out)
{
	*out = (struct ban_net){
		.family = b->family, .prefix_len = b->prefix_len, .is_trial = b->dry_run};
	memcpy(out->bytes, b->bytes, sizeof out->bytes);
	return ban_net_clean(out);
}

static void tell_workers(struct master *m, const struct ban_entry *e)
{
	struct msg tell = {.type = MSG_BAN,
			   .ban = {.family = e->net.family, .prefix_len = e->net.prefix_len}};

	memcpy(tell.ban.bytes, e->net.bytes, sizeof tell.ban.bytes);
	if (e->net.is_trial)
		return;
	for (struct child *c = m->children; c; c = c->next)
		if (c->kind == CHILD_WORKER && c->io.fd >= 0 && msg_send(c->io.fd, &tell))
			c->missed_bans = true;
}

/* Where a worker's queue was full: it is to look for itself. */
static void tell_missed(struct master *m)
{
	struct msg tell = {.type = MSG_BAN};

	for (struct child *c = m->children; c; c = c->next)
		if (c->missed_bans && c->io.fd >= 0 && msg_send(c->io.fd, &tell) == 0)
			c->missed_bans = false;
}

static bool is_dry_run(const struct master *m, const struct ban_entry *e)
{
	const struct xdp_conf *x = xdp_conf_get(&m->cycle->conf);

	return e->net.is_trial || (x && x->dry_run);
}

/* "1h", "90s"; 0 is for ever. */
static void put_duration(uint64_t ms, char *to, size_t room)
{
	static const struct {
		uint64_t ms;
		const char *unit;
	} units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
	size_t i = 0;

	while (ms % units[i].ms)
		i++;
	if (ms)
		snprintf(to, room, "%llu%s", (unsigned long long)(ms / units[i].ms), units[i].unit);
	else
		snprintf(to, room, "ever");
}

static void log_ban(struct master *m, const struct ban_entry *e)
{
	uint64_t ms = e->until_wall_ms ? e->until_wall_ms - e->since_wall_ms : 0;
	char name[NAME_MAX_BYTES], lasts[32], times[32] = "";

	put_duration(ms, lasts, sizeof lasts);
	if (e->n_times > 1)
		snprintf(times, sizeof times, ", %u in a row", e->n_times);
	log_write(log_of(m), LOG_LVL_WARN, 0, "%s %s for %s%s%s%s: %s (rule %08x)",
		  e->net.is_trial ? "would ban" : "banned", name_of(&e->net, name), lasts, times,
		  e->in_kernel && !e->net.is_trial ? ", in the kernel" : "",
		  is_dry_run(m, e) ? ", dry run" : "", e->reason[0] ? e->reason : "by hand",
		  e->rule_id);
}

static void count_ban(struct master *m, const struct ban_entry *e)
{
	struct ban_counts *c = ban_counts_of(m->evidence, e->rule_id);

	if (c)
		__atomic_fetch_add(e->net.is_trial ? &c->would_bans : &c->bans, 1,
				   __ATOMIC_RELAXED);
}

/* By hand: as it is said, whatever was before. */
static void set_times(struct ban_entry *e, const struct clock *now, uint64_t for_ms)
{
	e->since_wall_ms = now->wall_ms;
	e->until_wall_ms = for_ms ? now->wall_ms + for_ms : 0;
	e->until_mono_ms = for_ms ? now->mono_ms + for_ms : 0;
}

int banning_ban(struct master *m, const struct msg_ban *b, char *text, size_t room)
{
	const struct clock *now = &m->loop.clock;
	struct ban_entry e = {.manual = b->manual, .indirect = b->indirect, .rule_id = b->rule_id};
	struct ban_entry known;
	char name[NAME_MAX_BYTES];
	const char *why;
	bool is_known;
	int r;

	text[0] = 0;
	if (!is_known_net(b, &e.net)) {
		snprintf(text, room, "no address or network");
		return -SL_EINVAL;
	}
	name_of(&e.net, name);
	why = listing_why_allowed(m, &e.net);
	if (why) {
		snprintf(text, room, "%s is in %s and is never banned", name, why);
		log_write(log_of(m), LOG_LVL_WARN, 0, "%s", text);
		return -SL_EPERM;
	}
	snprintf(e.reason, sizeof e.reason, "%s", b->reason);
	is_known = ban_find(m->bans, &e.net, &known);
	if (b->is_import && is_known && !ban_is_over(&known, now->mono_ms) &&
	    (!known.until_mono_ms ||
	     (b->for_ms && known.until_mono_ms + IMPORT_SLACK_MS >= now->mono_ms + b->for_ms)))
		return -SL_EEXIST;
	if (b->manual || b->is_import)
		set_times(&e, now, b->for_ms);
	else if (!ban_renew(&e, is_known ? &known : NULL, b->for_ms, b->max_ms, now->mono_ms,
			    now->wall_ms))
		return 0;
	e.in_kernel = is_known && known.in_kernel;
	place(m, &e);
	r = ban_put(m->bans, &e);
	if (r) {
		if (e.in_kernel)
			kernel_del(m, &e);
		snprintf(text, room, "the table of bans is full");
		log_write(log_of(m), LOG_LVL_CRIT, 0, "%s is not banned: %s", name, text);
		return r;
	}
	log_ban(m, &e);
	count_ban(m, &e);
	eventing_ban(m, EVENT_BAN, &e, is_dry_run(m, &e));
	tell_workers(m, &e);
	m->bans_dirty = true;
	return 0;
}

static int lift(struct master *m, const struct ban_net *n)
{
	struct ban_entry e;
	char name[NAME_MAX_BYTES];
	bool was_past;

	if (!ban_find(m->bans, n, &e))
		return -SL_ENOTFOUND;
	was_past = ban_is_over(&e, m->loop.clock.mono_ms);
	ban_remove(m->bans, n);
	kernel_del(m, &e);
	m->bans_dirty = true;
	if (was_past)
		return -SL_ENOTFOUND;
	log_write(log_of(m), LOG_LVL_NOTICE, 0, "ban of %s lifted", name_of(n, name));
	eventing_ban(m, EVENT_BAN_LIFTED, &e, n->is_trial);
	return 0;
}

/* With it goes what is remembered of it, and what is on trial. */
int banning_unban(struct master *m, const struct msg_ban *b)
{
	struct ban_net n, trial;
	int r, t;

	if (!is_known_net(b, &n))
		return -SL_EINVAL;
	trial = n;
	trial.is_trial = 1;
	t = lift(m, &trial);
	r = lift(m, &n);
	return t == 0 ? 0 : r;
}

/* ---- their end ---- */

static void on_expired(void *data, const struct ban_entry *e)
{
	struct master *m = data;
	char name[NAME_MAX_BYTES];

	kernel_del(m, e);
	log_write(log_of(m), LOG_LVL_NOTICE, 0, "%s %s is over",
		  e->net.is_trial ? "dry run of the ban of" : "ban of", name_of(&e->net, name));
	eventing_ban(m, EVENT_BAN_OVER, e, e->net.is_trial);
	m->bans_dirty = true;
}

void banning_sweep(struct master *m)
{
	ban_sweep(m->bans, m->loop.clock.mono_ms, on_expired, m);
	push_waiting(m);
	tell_missed(m);
	/* A new binary has the file in its care. */
	if (m->bans_dirty && !m->new_binary && m->loop.clock.mono_ms >= m->bans_retry_ms)
		banning_save(m);
}

/* Bans of what is in the allow list by now. */
void banning_lift_allowed(struct master *m)
{
	struct ban_entry e;
	uint32_t at = 0;

	while (ban_next(m->bans, &at, &e))
		if (listing_why_allowed(m, &e.net))
			lift(m, &e.net);
}

/* ---- file and start ---- */

void banning_save(struct master *m)
{
	m->bans_dirty = ban_save(m->bans, m->bans_path) != 0;
	if (m->bans_dirty) {
		m->bans_retry_ms = m->loop.clock.mono_ms + SAVE_RETRY_MS;
		if (!m->said_unsaved)
			log_write(
				log_of(m), LOG_LVL_ERROR, 0,
				"bans cannot be saved to \"%s\" (%d: %s): until they can be they end "
				"with this process",
				m->bans_path, errno, strerror(errno));
	} else if (m->said_unsaved) {
		log_write(log_of(m), LOG_LVL_NOTICE, 0, "bans are saved to \"%s\" again",
			  m->bans_path);
	}
	m->said_unsaved = m->bans_dirty;
}

void banning_load(struct master *m)
{
	uint32_t n_bad = 0;

	if (ban_load(m->bans, m->bans_path, m->loop.clock.mono_ms, m->loop.clock.wall_ms, &n_bad) &&
	    errno != ENOENT)
		log_write(log_of(m), LOG_LVL_ERROR, 0, "bans of an earlier run: \"%s\" (%d: %s)",
			  m->bans_path, errno, strerror(errno));
	if (n_bad)
		log_write(log_of(m), LOG_LVL_WARN, 0,
			  "\"%s\" has %u lines that are no bans, or more than there is room for",
			  m->bans_path, n_bad);
}

/* A ban that the kernel has. One that nobody else knows: the last master was killed before it wrote its
 * file. */
static int adopt_net(void *data, const struct guard_cidr *c, const struct guard_net *d)
{
	struct master *m = data;
	uint64_t now_ns = clock_mono_ns();
	struct ban_entry e = {.net = net_of(c),
			      .in_kernel = 1,
			      .rule_id = d->rule_id,
			      .manual = d->rule_id == 0,
			      .since_wall_ms = m->loop.clock.wall_ms};
	struct ban_entry known;

	e.net.is_trial = (d->flags & GUARD_DENY_DRY_RUN) != 0;
	if (ban_find(m->bans, &e.net, &known) && !ban_is_over(&known, m->loop.clock.mono_ms)) {
		known.in_kernel = 1;
		ban_put(m->bans, &known);
		return 0;
	}
	if (d->expires_ns && d->expires_ns <= now_ns) {
		guard_deny_del_net(guard_maps(m->guard), c);
		return 0;
	}
	if (d->expires_ns) {
		e.until_mono_ms = d->expires_ns / 1000000u;
		e.until_wall_ms = m->loop.clock.wall_ms + (d->expires_ns - now_ns) / 1000000u;
	}
	snprintf(e.reason, sizeof e.reason, "found in the kernel's map");
	ban_put(m->bans, &e);
	return 0;
}

static int adopt(void *data, const struct guard_addr *a, const struct guard_deny *d)
{
	struct guard_cidr c = {.addr = *a, .prefix_len = a->family == 4 ? 32 : 128};
	struct guard_net n = {
		.expires_ns = d->expires_ns, .rule_id = d->rule_id, .flags = d->flags};

	return adopt_net(data, &c, &n);
}

void banning_adopt(struct master *m)
{
	if (!m->guard)
		return;
	guard_deny_each(guard_maps(m->guard), adopt, m);
	guard_deny_each_net(guard_maps(m->guard), adopt_net, m);
}

/* Each ban as the table has it into a kernel that may know some of them. */
void banning_push(struct master *m)
{
	struct ban_entry e;
	uint32_t at = 0;

	m->n_waiting = 0;
	while (ban_next(m->bans, &at, &e)) {
		if (e.is_past)
			continue;
		place(m, &e);
		ban_put(m->bans, &e);
	}
}

void banning_leave_kernel(struct master *m)
{
	struct ban_entry e;
	uint32_t at = 0;

	m->n_waiting = 0;
	while (ban_next(m->bans, &at, &e)) {
		e.in_kernel = 0;
		ban_put(m->bans, &e);
	}
}

void banning_stop(struct master *m)
{
	m->bans_dirty = true;
	m->bans_retry_ms = 0;
	banning_sweep(m);
}
