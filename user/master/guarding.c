/* SPDX-License-Identifier: BSD-2-Clause */
/* Bans and the guard, in the only process that writes them: one call changes the table that workers read
 * and the kernel's map, so that both always say the same. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "core/msg.h"
#include "master/master.h"
#include "net/addr.h"
#include "policy/ban_conf.h"

#define CONF_RULE_ID 0xffffffffu /* of `deny` lines of the xdp block */

static const struct guard_addr *to_guard(const struct msg_ban *b, struct guard_addr *out)
{
	*out = (struct guard_addr){.family = b->family};
	memcpy(out->bytes, b->bytes, b->family == 4 ? 4 : 16);
	return out;
}

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

static int kernel_put(struct master *m, const struct guard_addr *a, const struct ban_entry *e)
{
	struct guard_ban ban = {.expires_ns = e->until_mono_ms * 1000000u, .rule_id = e->rule_id};

	return guard_deny_add(guard_maps(m->guard), a, &ban, clock_mono_ns());
}

int guarding_ban(struct master *m, const struct msg_ban *b, char *text, size_t room)
{
	const struct xdp_conf *x = xdp_conf_get(&m->cycle->conf);
	struct clock *now = &m->loop.clock;
	struct ban_entry e = {.family = b->family,
			      .manual = b->manual,
			      .indirect = b->indirect,
			      .rule_id = b->rule_id,
			      .since_wall_ms = now->wall_ms};
	struct ban_entry known;
	char name[GUARD_ADDR_TEXT_MAX];
	struct guard_addr a;
	struct msg tell = {.type = MSG_BAN, .ban = *b};
	int r;

	text[0] = 0;
	if (b->family != 4 && b->family != 6) {
		snprintf(text, room, "no address family");
		return -SL_EINVAL;
	}
	guard_addr_to_text(to_guard(b, &a), name);
	if (xdp_conf_allows(x, &a)) {
		snprintf(text, room, "%s is in the allow list and is never banned", name);
		log_write(log_of(m), LOG_LVL_WARN, 0, "%s", text);
		return -SL_EPERM;
	}
	memcpy(e.bytes, a.bytes, sizeof e.bytes);
	if (b->for_ms) {
		e.until_wall_ms = now->wall_ms + b->for_ms;
		e.until_mono_ms = now->mono_ms + b->for_ms;
	}
	snprintf(e.reason, sizeof e.reason, "%s", b->reason);
	/* Who was banned for what it sent itself stays so in the kernel, too. */
	if (e.indirect && ban_find(m->bans, e.family, e.bytes, &known) && !known.indirect)
		e.indirect = 0;
	r = m->guard && !e.indirect ? kernel_put(m, &a, &e) : -SL_ENOTFOUND;
	e.in_kernel = r == 0;
	if (m->guard && !e.indirect && r)
		log_write(log_of(m), LOG_LVL_CRIT, 0,
			  "the ban of %s did not reach the kernel (%s), it holds in userspace",
			  name, r == -SL_ELIMIT ? "the deny map is full" : strerror(errno));
	r = ban_put(m->bans, &e);
	if (r) {
		snprintf(text, room, "the table of bans is full");
		log_write(log_of(m), LOG_LVL_CRIT, 0, "%s is not banned: %s", name, text);
		return r;
	}
	log_write(log_of(m), LOG_LVL_WARN, 0, "banned %s for %llu ms%s%s: %s", name,
		  (unsigned long long)b->for_ms, e.in_kernel ? ", in the kernel" : "",
		  x && x->dry_run ? ", dry run" : "", e.reason);
	eventing_ban(m, EVENT_BAN, &e, x && x->dry_run);
	for (struct child *c = e.indirect ? NULL : m->children; c; c = c->next)
		if (c->kind == CHILD_WORKER && c->io.fd >= 0)
			msg_send(c->io.fd, &tell);
	m->bans_dirty = true;
	return 0;
}

int guarding_unban(struct master *m, const struct msg_ban *b)
{
	char name[GUARD_ADDR_TEXT_MAX];
	struct ban_entry known = {.family = b->family};
	struct guard_addr a;
	int r;

	ban_find(m->bans, b->family, b->bytes, &known);
	r = ban_remove(m->bans, b->family, b->bytes);

	guard_addr_to_text(to_guard(b, &a), name);
	if (m->guard)
		guard_deny_del(guard_maps(m->guard), &a);
	if (r == 0) {
		log_write(log_of(m), LOG_LVL_NOTICE, 0, "ban of %s lifted", name);
		eventing_ban(m, EVENT_BAN_LIFTED, &known, false);
		m->bans_dirty = true;
	}
	return r;
}

static void on_expired(void *data, const struct ban_entry *e)
{
	struct master *m = data;
	char name[GUARD_ADDR_TEXT_MAX];
	struct guard_addr a = {.family = e->family};

	memcpy(a.bytes, e->bytes, sizeof a.bytes);
	if (m->guard)
		guard_deny_del(guard_maps(m->guard), &a);
	log_write(log_of(m), LOG_LVL_NOTICE, 0, "ban of %s is over", guard_addr_to_text(&a, name));
	eventing_ban(m, EVENT_BAN_OVER, e, false);
	m->bans_dirty = true;
}

void guarding_sweep(struct master *m)
{
	if (m->guard)
		guard_maps_beat(guard_maps(m->guard), clock_mono_ns());
	ban_sweep(m->bans, m->loop.clock.mono_ms, on_expired, m);
	/* A new binary has the file in its care. */
	if (m->bans_dirty && !m->new_binary)
		guarding_save(m);
}

void guarding_save(struct master *m)
{
	m->bans_dirty = false;
	if (ban_save(m->bans, m->bans_path))
		log_write(log_of(m), LOG_LVL_ERROR, 0,
			  "bans cannot be saved to \"%s\" (%d: %s): they end with this process",
			  m->bans_path, errno, strerror(errno));
}

/* A ban that only the kernel knew (the last master was killed before it wrote its file). */
static int adopt(void *data, const struct guard_addr *a, const struct guard_deny *d)
{
	struct master *m = data;
	uint64_t now_ns = clock_mono_ns();
	struct ban_entry e = {.family = a->family,
			      .in_kernel = 1,
			      .rule_id = d->rule_id,
			      .manual = d->rule_id == 0,
			      .since_wall_ms = m->loop.clock.wall_ms};
	struct ban_entry known;

	if (d->expires_ns && d->expires_ns <= now_ns) {
		guard_deny_del(guard_maps(m->guard), a);
		return 0;
	}
	memcpy(e.bytes, a->bytes, sizeof e.bytes);
	if (ban_find(m->bans, a->family, a->bytes, &known))
		return 0;
	if (d->expires_ns) {
		e.until_mono_ms = d->expires_ns / 1000000u;
		e.until_wall_ms = m->loop.clock.wall_ms + (d->expires_ns - now_ns) / 1000000u;
	}
	snprintf(e.reason, sizeof e.reason, "found in the kernel's map");
	ban_put(m->bans, &e);
	return 0;
}

/* Bans of the file that the kernel does not know go there. */
static void push_bans(struct master *m)
{
	struct ban_entry e;
	uint32_t at = 0;

	while (ban_next(m->bans, &at, &e)) {
		struct guard_addr a = {.family = e.family};

		if (e.indirect)
			continue;
		memcpy(a.bytes, e.bytes, sizeof a.bytes);
		e.in_kernel = kernel_put(m, &a, &e) == 0;
		ban_put(m->bans, &e);
	}
}

static void set_mode_text(struct master *m)
{
	const struct guard_attachment *list;
	size_t n = m->guard ? guard_attach_list(m->guard, &list) : 0, at = 0;
	char *to = m->stats->guard_mode;

	m->stats->guard_on = n > 0;
	to[0] = 0;
	for (size_t i = 0; i < n && at < sizeof m->stats->guard_mode; i++)
		at += (size_t)snprintf(to + at, sizeof m->stats->guard_mode - at, "%s%s %s",
				       i ? ", " : "", list[i].ifname,
				       guard_attach_mode_name(list[i].mode));
	if (!n)
		snprintf(to, sizeof m->stats->guard_mode, "%.95s", m->guard_off_why);
}

static int attach_one(struct master *m, const struct xdp_conf *x, const char *name,
		      struct guard_attachment *at, char err[GUARD_ERR_MAX])
{
	enum guard_mode mode = (enum guard_mode)x->mode;

	if (x->is_libxdp)
		return guard_attach_share(m->guard, name, mode, x->priority, at, err,
					  GUARD_ERR_MAX);
	return guard_attach(m->guard, name, mode, at, err, GUARD_ERR_MAX);
}

static void attach_all(struct master *m, const struct xdp_conf *x)
{
	const char *names[GUARD_INTERFACES_MAX];
	char err[GUARD_ERR_MAX];
	uint32_t n =
		x->n_interfaces < GUARD_INTERFACES_MAX ? x->n_interfaces : GUARD_INTERFACES_MAX;

	for (uint32_t i = 0; i < n; i++) {
		struct guard_attachment at;

		names[i] = x->interfaces[i].name;
		if (attach_one(m, x, names[i], &at, err)) {
			log_write(log_of(m), LOG_LVL_WARN, 0, "the guard is not on %s: %s",
				  names[i], err);
			log_stderr(LOG_LVL_WARN, "the guard is not on %s: %s", names[i], err);
			snprintf(m->guard_off_why, sizeof m->guard_off_why, "%s", err);
			eventing_guard(m, EVENT_GUARD_OFF, names[i], "%s", err);
			continue;
		}
		if (!at.is_takeover || !m->stats->guard_on)
			eventing_guard(m, EVENT_GUARD_ON, names[i], "%s mode%s%s",
				       guard_attach_mode_name(at.mode), at.reason[0] ? ": " : "",
				       at.reason);
		log_write(log_of(m), at.reason[0] ? LOG_LVL_WARN : LOG_LVL_NOTICE, 0,
			  "the guard is on %s, %s mode%s%s", at.ifname,
			  guard_attach_mode_name(at.mode), at.reason[0] ? ": " : "", at.reason);
		if (at.is_libxdp && !at.is_shared)
			log_write(
				log_of(m), LOG_LVL_WARN, 0,
				"libxdp has no dispatcher on this kernel (it needs freplace): the guard "
				"is alone on %s, nothing else can be attached beside it",
				at.ifname);
	}
	guard_attach_only(m->guard, names, n);
}

static void turn_off(struct master *m, const char *why, enum guard_close_how how)
{
	struct ban_entry e;
	uint32_t at = 0;

	if (m->guard) {
		eventing_guard_gone(m);
		eventing_guard(m, EVENT_GUARD_OFF, "", "%s", why);
		guard_close(m->guard, how);
		guard_maps_close(&m->reader);
		while (ban_next(m->bans, &at, &e)) {
			e.in_kernel = 0;
			ban_put(m->bans, &e);
		}
	}
	m->guard = NULL;
	snprintf(m->guard_off_why, sizeof m->guard_off_why, "%s", why);
}

static void say_carried(struct master *m)
{
	const struct guard_status *s = guard_status(m->guard);

	if (s->n_maps_replaced || s->n_entries_carried)
		log_write(log_of(m), LOG_LVL_NOTICE, 0,
			  "the guard's maps of an earlier layout: %u entries were carried over",
			  s->n_entries_carried);
}

static void turn_on(struct master *m, const struct xdp_conf *x)
{
	struct guard_options o = {.pin_dir = x->pin_dir.p, .lock_fd = m->inherited.guard_lock_fd};
	char err[GUARD_ERR_MAX] = "";

	m->inherited.guard_lock_fd = -1;
	if (guard_open(&m->guard, &o, err, sizeof err)) {
		m->guard = NULL;
	} else if (guard_maps_open_reader(m->guard, &m->reader, err, sizeof err)) {
		guard_close(m->guard, GUARD_CLOSE_REMOVE);
		m->guard = NULL;
	}
	if (!m->guard) {
		snprintf(m->guard_off_why, sizeof m->guard_off_why, "%s", err);
		log_write(log_of(m), LOG_LVL_WARN, 0,
			  "there is no guard in the kernel, bans hold in userspace: %s", err);
		log_stderr(LOG_LVL_WARN,
			   "there is no guard in the kernel, bans hold in userspace: %s", err);
		eventing_guard(m, EVENT_GUARD_OFF, "", "%s", err);
		return;
	}
	say_carried(m);
	guard_deny_each(guard_maps(m->guard), adopt, m);
	push_bans(m);
	eventing_guard_come(m);
}

/* Bans of addresses that are in the allow list by now. */
static void lift_allowed(struct master *m, const struct xdp_conf *x)
{
	struct ban_entry e;
	uint32_t at = 0;

	while (ban_next(m->bans, &at, &e)) {
		struct msg_ban b = {.family = e.family};
		struct guard_addr a;

		memcpy(b.bytes, e.bytes, sizeof b.bytes);
		if (xdp_conf_allows(x, to_guard(&b, &a)))
			guarding_unban(m, &b);
	}
}

/* Once a run: a reload changes nothing about it. */
static void say_userspace(struct master *m)
{
	static const char text[] =
		"there is no xdp block: bans hold in userspace, where connections are closed at accept";

	if (m->said_userspace || !ban_conf_rules(&m->cycle->conf))
		return;
	m->said_userspace = true;
	log_write(log_of(m), LOG_LVL_WARN, 0, "%s", text);
	log_stderr(LOG_LVL_WARN, "%s", text);
}

static int set_rates(struct master *m, const struct xdp_conf *x)
{
	struct guard_rates r;

	xdp_conf_rates(x, &r);
	return guard_rates_set(guard_maps(m->guard), &r);
}

void guarding_apply(struct master *m)
{
	const struct xdp_conf *x = xdp_conf_get(&m->cycle->conf);
	char err[GUARD_ERR_MAX];

	if (!x) {
		turn_off(m, "off: the configuration has no xdp block", GUARD_CLOSE_REMOVE);
		say_userspace(m);
	} else if (!m->guard) {
		turn_on(m, x);
	}
	lift_allowed(m, x);
	if (x && m->guard) {
		if (guard_nets_set_allow(guard_maps(m->guard), x->allow, x->n_allow, err,
					 sizeof err) ||
		    guard_nets_set_deny(guard_maps(m->guard), x->deny, x->n_deny, CONF_RULE_ID, err,
					sizeof err))
			log_write(log_of(m), LOG_LVL_ERROR, 0, "the guard's lists: %s", err);
		if (guard_maps_set_flags(guard_maps(m->guard), x->dry_run, true) ||
		    guard_maps_beat(guard_maps(m->guard), clock_mono_ns()) ||
		    guard_maps_set_fail(guard_maps(m->guard), (uint64_t)x->fail_after_ms * 1000000u,
					x->fail_open) ||
		    set_rates(m, x))
			log_write(log_of(m), LOG_LVL_ERROR, 0, "the guard's settings: %s",
				  strerror(errno));
		attach_all(m, x);
	}
	set_mode_text(m);
}

static void load_file(struct master *m)
{
	uint32_t n_bad = 0;

	if (ban_load(m->bans, m->bans_path, m->loop.clock.mono_ms, m->loop.clock.wall_ms, &n_bad) &&
	    errno != ENOENT)
		log_write(log_of(m), LOG_LVL_ERROR, 0, "bans of an earlier run: \"%s\" (%d: %s)",
			  m->bans_path, errno, strerror(errno));
	if (n_bad)
		log_write(log_of(m), LOG_LVL_WARN, 0, "\"%s\" has %u lines that are no bans",
			  m->bans_path, n_bad);
}

void guarding_start(struct master *m)
{
	load_file(m);
	guarding_apply(m);
}

void guarding_stop(struct master *m, bool keep)
{
	m->bans_dirty = true;
	guarding_sweep(m);
	turn_off(m, "off", keep ? GUARD_CLOSE_KEEP : GUARD_CLOSE_REMOVE);
}

void guarding_take_back(struct master *m)
{
	load_file(m);
	turn_off(m, "off", GUARD_CLOSE_KEEP);
	guarding_apply(m);
}

void guarding_adopt(struct master *m)
{
	if (m->guard)
		guard_deny_each(guard_maps(m->guard), adopt, m);
}
