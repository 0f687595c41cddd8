/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the loop of the admin process: listeners, connections' ages, signals, and the questions that
 * wait for the master. Knows nothing of what is asked over HTTP, and never shuts a listening socket
 * down: the master and later admin processes have the same one. */
#define _GNU_SOURCE
#include "admin/admin.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin/admin_impl.h"
#include "core/clock.h"
#include "core/err.h"

enum {
	TICK_MS = 250, /* how exactly timeouts are kept while somebody is connected */
	DRAIN_MS = 1000,
	ACCEPT_REST_MS = 500, /* after accept() failed for want of descriptors or memory */
	ACCEPTS_MAX = 16,     /* in one turn */
	EVENTS_MAX = 16,
	WATCH_TICK_MS = 100, /* how soon watchers hear of an event */
};

/* epoll's data: one of these, or ON_LISTEN + index. */
enum { ON_SIGNAL, ON_CHANNEL, ON_DAEMON, ON_LISTEN };

static int watch(struct admin *a, int fd, uint32_t tag)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = tag};

	return epoll_ctl(a->epoll_fd, EPOLL_CTL_ADD, fd, &e) ? -SL_ESYS : 0;
}

static void drain(struct admin *a)
{
	if (a->is_draining)
		return;
	a->is_draining = true;
	a->drain_deadline_ms = clock_mono_ms() + DRAIN_MS;
}

static void reopen_logs(struct admin *a)
{
	for (struct log_sink *s = a->env->sinks; s; s = s->next)
		if (s->path && log_sink_open(s))
			log_write(a->env->log, LOG_LVL_ERROR, 0,
				  "admin: cannot open log \"%s\": %s", s->path, strerror(errno));
}

/* ---- questions to the master ---- */

static void wait_end(struct admin_wait *w, const struct msg *reply, bool is_gone)
{
	struct request *rq = w->rq;

	w->id = 0;
	rq->is_waiting = false;
	rq->client->is_waiting = false;
	rq->client->since_ms = clock_mono_ms();
	rq->is_replied = reply != NULL;
	rq->is_gone = is_gone;
	if (reply)
		rq->reply = *reply;
	MHD_resume_connection(rq->conn);
}

enum MHD_Result admin_ask(struct request *rq, const struct msg *m, uint32_t timeout_ms,
			  admin_answer_fn answer)
{
	struct admin *a = rq->admin;
	struct admin_wait *w = NULL;
	int r;

	for (int i = 0; i < ADMIN_WAITS_MAX && !w; i++)
		if (!a->waits[i].id)
			w = &a->waits[i];
	if (!w)
		return serve_error(rq, 503, "busy", "too many requests wait for the master");
	rq->asked = *m;
	if (++a->last_id == 0)
		a->last_id = 1;
	rq->asked.id = a->last_id;
	r = a->is_cut ? -SL_ECLOSED : msg_send(a->env->channel_fd, &rq->asked);
	if (r == -SL_EAGAIN)
		return serve_error(rq, 503, "busy", "the master is busy, try again");
	if (r)
		return serve_error(rq, 503, "master_gone", "the master cannot be asked");
	*w = (struct admin_wait){a->last_id, rq, clock_mono_ms() + timeout_ms};
	rq->answer = answer;
	rq->is_waiting = true;
	rq->client->is_waiting = true;
	MHD_suspend_connection(rq->conn);
	return MHD_YES;
}

/* Who still waits near the end is answered, so that no connection closes without a word. */
static void waits_sweep(struct admin *a, uint64_t now_ms)
{
	bool is_end =
		a->is_cut || (a->is_draining && now_ms + DRAIN_MS / 2 >= a->drain_deadline_ms);

	for (int i = 0; i < ADMIN_WAITS_MAX; i++)
		if (a->waits[i].id && (is_end || now_ms >= a->waits[i].deadline_ms))
			wait_end(&a->waits[i], NULL, is_end);
}

static void on_message(struct admin *a, const struct msg *m)
{
	if (m->type == MSG_REOPEN)
		reopen_logs(a);
	else if (m->type == MSG_QUIT || m->type == MSG_DRAIN)
		drain(a);
	if (m->type != MSG_REPLY || !m->id)
		return;
	for (int i = 0; i < ADMIN_WAITS_MAX; i++)
		if (a->waits[i].id == m->id)
			wait_end(&a->waits[i], m, false);
}

static void on_channel(struct admin *a)
{
	struct msg m;
	int r;

	while ((r = msg_recv(a->env->channel_fd, &m)) != -SL_EAGAIN) {
		if (r > 0) {
			on_message(a, &m);
			continue;
		}
		if (r == -SL_EINVAL) {
			log_write(a->env->log, LOG_LVL_ALERT, 0,
				  "admin: a message of a wrong size from the master");
			continue;
		}
		epoll_ctl(a->epoll_fd, EPOLL_CTL_DEL, a->env->channel_fd, NULL);
		a->is_cut = true;
		drain(a);
		return;
	}
}

static void on_signal(struct admin *a)
{
	struct signalfd_siginfo si;

	while (read(a->signal_fd, &si, sizeof si) == (ssize_t)sizeof si) {
		if (si.ssi_signo == SIGUSR1)
			reopen_logs(a);
		else if (si.ssi_signo == SIGQUIT)
			drain(a);
		else
			a->is_over = true;
	}
}

/* ---- connections ---- */

static struct admin_side *side_of(struct admin *a, int listener)
{
	return &a->sides[a->env->listens[listener].is_unix ? 0 : 1];
}

static void on_accept(struct admin *a, int listener)
{
	struct admin_side *side = side_of(a, listener);

	for (int i = 0; i < ACCEPTS_MAX && side->n_clients < a->limits.max_clients; i++) {
		struct addr peer = {.len = sizeof peer.un};
		int fd = accept4(a->env->listens[listener].fd, &peer.sa, &peer.len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			    errno == ENOBUFS)
				a->accept_rest_ms = clock_mono_ms() + ACCEPT_REST_MS;
			return;
		}
		MHD_add_connection(side->daemon, fd, &peer.sa, peer.len);
	}
}

/* Somebody shut the socket down: listeners_arm() cannot bring it back. */
static void listener_drop(struct admin *a, int listener)
{
	log_write(a->env->log, LOG_LVL_ALERT, 0, "admin: listener %d is broken", listener);
	epoll_ctl(a->epoll_fd, EPOLL_CTL_DEL, a->env->listens[listener].fd, NULL);
	a->armed[listener] = false;
}

/* Listeners are watched while there is room for one more connection. */
static void listeners_arm(struct admin *a, uint64_t now_ms)
{
	for (int i = 0; i < a->env->n_listens; i++) {
		struct epoll_event e = {.data.u32 = (uint32_t)(ON_LISTEN + i)};
		bool want = !a->is_draining && now_ms >= a->accept_rest_ms &&
			    side_of(a, i)->n_clients < a->limits.max_clients;

		if (want == a->armed[i])
			continue;
		e.events = want ? EPOLLIN : 0;
		if (epoll_ctl(a->epoll_fd, EPOLL_CTL_MOD, a->env->listens[i].fd, &e) == 0)
			a->armed[i] = want;
	}
}

/* libmicrohttpd's own timeout starts anew with each byte; this one does not. */
static void clients_sweep(struct admin *a, uint64_t now_ms)
{
	for (int i = 0; i < 2; i++)
		for (struct admin_client *c = a->sides[i].clients; c; c = c->next)
			if (!c->is_waiting && !c->is_watching &&
			    now_ms >= c->since_ms + a->limits.request_timeout_ms)
				shutdown(c->fd, SHUT_RDWR);
}

/* ---- life ---- */

static int signals_open(void)
{
	sigset_t set;

	/* The terminal sends these to the whole group; the master decides. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGWINCH, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGUSR1);
	if (sigprocmask(SIG_SETMASK, &set, NULL))
		return -1;
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int start_sides(struct admin *a)
{
	const union MHD_DaemonInfo *info;

	for (int i = 0; i < a->env->n_listens; i++) {
		struct admin_side *side = side_of(a, i);

		if (watch(a, a->env->listens[i].fd, (uint32_t)(ON_LISTEN + i)))
			return -SL_ESYS;
		a->armed[i] = true;
		if (side->daemon)
			continue;
		side->daemon = serve_start(side);
		info = side->daemon ? MHD_get_daemon_info(side->daemon, MHD_DAEMON_INFO_EPOLL_FD)
				    : NULL;
		if (!info || watch(a, info->epoll_fd, ON_DAEMON))
			return -SL_ESYS;
	}
	return 0;
}

static int start(struct admin *a)
{
	const struct admin_limits *l = &a->env->limits;

	a->limits.max_clients = l->max_clients ? l->max_clients : 64;
	a->limits.request_timeout_ms = l->request_timeout_ms ? l->request_timeout_ms : 30000;
	a->limits.master_timeout_ms = l->master_timeout_ms ? l->master_timeout_ms : 5000;
	a->limits.reload_timeout_ms = l->reload_timeout_ms ? l->reload_timeout_ms : 60000;
	a->limits.max_watchers = l->max_watchers ? l->max_watchers : 16;
	a->limits.heartbeat_ms = l->heartbeat_ms ? l->heartbeat_ms : 10000;
	for (int i = 0; i < 2; i++) {
		a->sides[i].admin = a;
		a->sides[i].is_unix = i == 0;
	}
	a->armed = calloc((size_t)a->env->n_listens + 1, sizeof *a->armed);
	a->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	a->signal_fd = signals_open();
	if (!a->armed || a->epoll_fd < 0 || a->signal_fd < 0 || watch(a, a->signal_fd, ON_SIGNAL) ||
	    watch(a, a->env->channel_fd, ON_CHANNEL))
		return -SL_ESYS;
	return start_sides(a);
}

static void stop(struct admin *a)
{
	a->is_cut = true;
	waits_sweep(a, 0);
	a->is_draining = true;
	api_events_wake(a, 0);
	for (int i = 0; i < 2; i++)
		if (a->sides[i].daemon)
			MHD_stop_daemon(a->sides[i].daemon);
	if (a->epoll_fd >= 0)
		close(a->epoll_fd);
	if (a->signal_fd >= 0)
		close(a->signal_fd);
	free(a->armed);
}

static int timeout_ms(struct admin *a)
{
	int timeout = a->is_draining || a->sides[0].n_clients || a->sides[1].n_clients ||
				      a->accept_rest_ms > clock_mono_ms()
			      ? TICK_MS
			      : -1;

	if (a->n_watchers)
		timeout = WATCH_TICK_MS;
	for (int i = 0; i < 2; i++) {
		MHD_UNSIGNED_LONG_LONG ms;

		if (a->sides[i].daemon && MHD_get_timeout(a->sides[i].daemon, &ms) == MHD_YES &&
		    (timeout < 0 || ms < (unsigned)timeout))
			timeout = (int)ms;
	}
	return timeout;
}

/* Who was let in and has not asked yet cannot know that somebody else serves by now. */
static bool is_wanted(const struct admin *a)
{
	if (a->n_requests)
		return true;
	for (int i = 0; i < 2; i++)
		for (const struct admin_client *c = a->sides[i].clients; c; c = c->next)
			if (!c->has_asked)
				return true;
	return false;
}

static void turn(struct admin *a)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(a->epoll_fd, events, EVENTS_MAX, timeout_ms(a));
	uint64_t now_ms;

	for (int i = 0; i < n; i++) {
		uint32_t tag = events[i].data.u32;

		if (tag == ON_SIGNAL)
			on_signal(a);
		else if (tag == ON_CHANNEL)
			on_channel(a);
		else if (tag >= ON_LISTEN && events[i].events & (EPOLLHUP | EPOLLERR))
			listener_drop(a, (int)(tag - ON_LISTEN));
		else if (tag >= ON_LISTEN && a->armed[tag - ON_LISTEN])
			on_accept(a, (int)(tag - ON_LISTEN));
	}
	now_ms = clock_mono_ms();
	waits_sweep(a, now_ms);
	clients_sweep(a, now_ms);
	api_events_wake(a, now_ms);
	for (int i = 0; i < 2; i++)
		if (a->sides[i].daemon)
			MHD_run(a->sides[i].daemon);
	listeners_arm(a, now_ms);
	if (a->is_draining && (!is_wanted(a) || now_ms >= a->drain_deadline_ms))
		a->is_over = true;
}

static void on_panic(void *cls, const char *file, unsigned line, const char *reason)
{
	const struct admin_env *env = cls;

	log_write(env->log, LOG_LVL_ALERT, 0, "admin: libmicrohttpd gave up (%s:%u): %s", file,
		  line, reason ? reason : "no reason given");
	abort();
}

int admin_run(const struct admin_env *env)
{
	struct admin a = {.env = env, .epoll_fd = -1, .signal_fd = -1};
	int r;

	MHD_set_panic_func(on_panic, (void *)(uintptr_t)env);
	r = start(&a);
	if (r)
		log_write(env->log, LOG_LVL_EMERG, 0, "admin: cannot start: %s", strerror(errno));
	while (!r && !a.is_over)
		turn(&a);
	stop(&a);
	return r ? 1 : 0;
}
