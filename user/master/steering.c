/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps the steering programs of `listen ... reuseport` in line with sockets and workers: who accepts from which
 * socket, over reloads, deaths and new binaries. Where BPF is not permitted the kernel's hash does it alone. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/err.h"
#include "kernel/steer.h"
#include "master/master.h"
#include "proxy/http_conf.h"

_Static_assert(STEER_WORKERS_MAX >= STATS_WORKERS_MAX, "a slot for each worker");

struct steered {
	struct steered *next;
	struct addr addr;
	struct steer_group *group;
	bool attached; /* the kernel asks it, and so moves queues */
};

struct steering {
	struct steer *steer; /* NULL: not possible */
	struct steered *first;
	bool released; /* another master steers */
};

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

static bool is_wanted(const struct listener *l)
{
	return l->opts.reuseport && !l->shares && l->n_fds;
}

static struct steered *find(const struct steering *s, const struct addr *a)
{
	struct steered *d = s ? s->first : NULL;

	while (d && !addr_eq(&d->addr, a))
		d = d->next;
	return d;
}

static const struct listener *listener_of(const struct cycle *c, const struct addr *a)
{
	const struct http_conf *h = c->conf.http;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		if (is_wanted(&h->listeners[i]) && addr_eq(&h->listeners[i].addr, a))
			return &h->listeners[i];
	return NULL;
}

static void say_not(struct master *m, const struct listener *l, const char *why)
{
	char text[ADDR_TEXT_MAX];

	addr_text(&l->addr, text);
	if (l->opts.steer)
		log_write(
			log_of(m), LOG_LVL_WARN, 0,
			"%s: steer=load is not possible, the kernel's hash chooses a worker for each "
			"connection: %s",
			text, why);
	else if (sysctls_read("/proc/sys/net/ipv4/tcp_migrate_req") != 1)
		log_write(log_of(m), LOG_LVL_NOTICE, 0,
			  "%s: a reload with fewer workers may lose handshakes under way, unless "
			  "sysctl -w net.ipv4.tcp_migrate_req=1: %s",
			  text, why);
}

/* 0, or -SL_E... with ERR. */
static int begin(struct master *m, const struct listener *l, char *err)
{
	struct steering *s = m->steering;
	struct steered *d = find(s, &l->addr);
	int r;

	if (!s->steer && (r = steer_open(&s->steer, err, STEER_ERR_MAX)))
		return r;
	if (d)
		return 0;
	d = calloc(1, sizeof *d);
	if (!d)
		return -SL_ENOMEM;
	d->addr = l->addr;
	r = steer_group_open(s->steer, &d->group, err, STEER_ERR_MAX);
	if (r) {
		free(d);
		return r;
	}
	d->next = s->first;
	s->first = d;
	return 0;
}

/* The kernel's own copy of the program stays while sockets of the group end. */
static void end_unwanted(struct master *m)
{
	struct steered **at = &m->steering->first, *d;

	while ((d = *at)) {
		if (listener_of(m->cycle, &d->addr)) {
			at = &d->next;
			continue;
		}
		*at = d->next;
		steer_group_close(d->group);
		free(d);
	}
}

/* Who accepts from socket INDEX: a worker of the present configuration, or the one before until that is there. */
static const struct child *worker_at(const struct master *m, unsigned index)
{
	const struct child *best = NULL;

	for (const struct child *c = m->children; c; c = c->next)
		if (c->kind == CHILD_WORKER && c->index == index && !c->leaving &&
		    (!best || best->retiring))
			best = c;
	return best;
}

static void sync_one(struct master *m, struct steered *d, const struct listener *l)
{
	enum steer_how how = l->opts.steer ? STEER_LOAD : STEER_HASH;
	struct steer_place place[STEER_WORKERS_MAX];
	unsigned n = 0;
	int r = 0;

	for (unsigned i = 0; i < l->n_fds && i < STEER_WORKERS_MAX && r == 0; i++) {
		const struct child *c = worker_at(m, i);

		if (!c)
			continue;
		r = steer_group_put(d->group, i, l->fds[i]);
		place[n++] = (struct steer_place){.socket = i, .slot = c->slot};
	}
	if (r == 0)
		r = steer_group_set(d->group, how, place, n);
	if (r == 0)
		return;
	say_not(m, l,
		r == -SL_EEXIST ? "another master's program has the sockets" : strerror(errno));
	steer_group_set(d->group, STEER_KERNEL, NULL, 0);
}

void steering_sync(struct master *m)
{
	if (!m->steering || m->steering->released)
		return;
	for (struct steered *d = m->steering->first; d; d = d->next) {
		const struct listener *l = listener_of(m->cycle, &d->addr);

		if (l)
			sync_one(m, d, l);
	}
}

void steering_apply(struct master *m)
{
	const struct http_conf *h = m->cycle->conf.http;
	char err[STEER_ERR_MAX] = "";
	struct steered *d;

	if (!m->steering)
		m->steering = calloc(1, sizeof *m->steering);
	if (!m->steering || m->steering->released)
		return;
	end_unwanted(m);
	for (uint32_t i = 0; h && i < h->n_listeners; i++) {
		const struct listener *l = &h->listeners[i];

		if (!is_wanted(l))
			continue;
		if (begin(m, l, err)) {
			say_not(m, l, err);
			continue;
		}
		d = find(m->steering, &l->addr);
		d->attached = steer_group_attach(d->group, l->fds[0]) == 0;
		if (!d->attached)
			say_not(m, l, strerror(errno));
	}
	steering_sync(m);
}

bool steering_migrates(const struct master *m)
{
	const struct http_conf *h = m->cycle->conf.http;
	const struct steered *d;

	for (uint32_t i = 0; h && i < h->n_listeners; i++) {
		if (!is_wanted(&h->listeners[i]))
			continue;
		d = find(m->steering, &h->listeners[i].addr);
		if (!d || !d->attached)
			return false;
	}
	return true;
}

static bool listens(int fd)
{
	int yes = 0;
	socklen_t n = sizeof yes;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &n) == 0 && yes;
}

void steering_before_worker(struct master *m, unsigned index, unsigned slot)
{
	const char *what;

	if (!m->steering || !m->steering->steer)
		return;
	steer_loads(m->steering->steer)[slot] = (struct steer_load){0};
	for (struct steered *d = m->steering->first; d; d = d->next) {
		const struct listener *l = listener_of(m->cycle, &d->addr);

		if (!l || index >= l->n_fds || listens(l->fds[index]))
			continue;
		if (listen_tune(l->fds[index], &l->addr, &l->opts, &what))
			log_write(log_of(m), LOG_LVL_ALERT, 0, "%s failed (%d: %s)", what, errno,
				  strerror(errno));
	}
}

static bool others_serve(const struct master *m, unsigned index)
{
	for (const struct child *c = m->children; c; c = c->next)
		if (c->kind == CHILD_WORKER && !c->leaving && c->index != index)
			return true;
	return false;
}

void steering_worker_died(struct master *m, unsigned index)
{
	if (!m->steering || m->steering->released)
		return;
	steering_sync(m);
	if (worker_at(m, index) || !others_serve(m, index))
		return;
	for (struct steered *d = m->steering->first; d; d = d->next) {
		const struct listener *l = listener_of(m->cycle, &d->addr);

		if (l && d->attached && index < l->n_fds)
			shutdown(l->fds[index], SHUT_RD);
	}
}

void steering_release(struct master *m)
{
	if (!m->steering)
		return;
	for (struct steered *d = m->steering->first; d; d = d->next)
		steer_group_release(d->group);
	m->steering->released = true;
}

void steering_take_back(struct master *m)
{
	if (!m->steering)
		return;
	m->steering->released = false;
	steering_apply(m);
}

static void free_all(struct steering *s)
{
	struct steered *d;

	while ((d = s->first)) {
		s->first = d->next;
		free(d);
	}
	free(s);
}

static bool steers_by_load(const struct cycle *c)
{
	const struct http_conf *h = c->conf.http;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		if (is_wanted(&h->listeners[i]) && h->listeners[i].opts.steer)
			return true;
	return false;
}

struct steer_load *steering_close_in_worker(struct master *m, unsigned slot)
{
	struct steer_load *at;

	if (!m->steering)
		return NULL;
	at = steer_close_in_worker(m->steering->steer, slot);
	free_all(m->steering);
	m->steering = NULL;
	return steers_by_load(m->cycle) ? at : NULL;
}

void steering_close(struct master *m)
{
	if (!m->steering)
		return;
	steer_close(m->steering->steer);
	free_all(m->steering);
	m->steering = NULL;
}
