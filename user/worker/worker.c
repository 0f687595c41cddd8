/* SPDX-License-Identifier: BSD-2-Clause */
/* Accepts, listens to the master and to signals, and decides when this process has ended. What happens on
 * a connection is proxy's. */
#define _GNU_SOURCE
#include "worker/worker.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/log_conf.h"
#include "core/err.h"
#include "core/hash.h"
#include "core/title.h"
#include "policy/gate.h"
#include "proxy/access_log.h"
#include "proxy/auth_store.h"
#include "proxy/client.h"
#include "proxy/health.h"
#include "proxy/http_conf.h"
#include "proxy/names.h"
#include "proxy/ocsp.h"
#include "proxy/pool.h"
#include "proxy/slow.h"
#include "worker/load.h"

enum {
	EVENTS_PER_TURN = 512,
	ACCEPTS_PER_TURN = 64,
	QUEUE_MAX = 4096,
	ACCEPT_PAUSE_MS = 500, /* after EMFILE and its like, as nginx */
	COMPLAIN_MS = 1000,
	ORPHAN_MS =
		600 *
		1000, /* what is open without a master may go on for, unless worker_shutdown_timeout says */
	TRIM_MS = 2000,
	TRIM_FREE_MIN = 1 << 20,
};

struct accepter {
	struct io io;
	struct worker *w;
	const struct listener *listener;
	bool on;
};

struct worker {
	struct env env;
	const struct worker_params *p;
	struct accepter *accepters;
	uint32_t n_accepters;
	struct io signal_io, channel_io;
	struct timer accept_timer, shutdown_timer, trim_timer;
	struct load load;
	uint64_t complained_ms;
	bool master_gone;
};

static struct worker *of_env(struct env *env)
{
	return (struct worker *)((char *)env - offsetof(struct worker, env));
}

static void start_accepting(struct worker *w)
{
	for (uint32_t i = 0; i < w->n_accepters; i++) {
		struct accepter *a = &w->accepters[i];

		if (!a->on && a->listener->fd >= 0 && !w->env.draining)
			a->on = io_add(&w->env.loop, &a->io, a->listener->fd,
				       EPOLLIN | EPOLLEXCLUSIVE) == 0;
	}
}

static void stop_accepting(struct worker *w)
{
	for (uint32_t i = 0; i < w->n_accepters; i++) {
		if (w->accepters[i].on)
			io_del(&w->env.loop, &w->accepters[i].io);
		w->accepters[i].on = false;
	}
}

static void on_accept_timer(struct timer *t)
{
	start_accepting((struct worker *)((char *)t - offsetof(struct worker, accept_timer)));
}

static bool may_complain(struct worker *w)
{
	uint64_t now = w->env.loop.clock.mono_ms;

	if (w->complained_ms && now - w->complained_ms < COMPLAIN_MS)
		return false;
	w->complained_ms = now;
	return true;
}

static void reset_fd(int fd)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
}

static void take(struct worker *w, const struct listener *l, int fd, const struct addr *peer)
{
	/* The kernel drops these where the guard is on; where it is not they end here. */
	if (gate_refuses(w->env.conf, w->env.bans, peer, &w->env.loop.clock)) {
		w->env.stats->conns_refused_banned++;
		reset_fd(fd);
		return;
	}
	if (!pool_make_room(&w->env)) {
		w->env.stats->conns_refused_full++;
		if (may_complain(w))
			log_write(w->env.log, LOG_LVL_ALERT, 0,
				  "%u worker_connections are not enough, connections are closed",
				  w->env.conns_max);
		close(fd);
		return;
	}
	client_start(&w->env, l, fd, peer);
}

static void accept_failed(struct worker *w, int e)
{
	if (e == EAGAIN || e == ECONNABORTED || e == EINTR)
		return;
	if (may_complain(w))
		log_write(w->env.log, LOG_LVL_CRIT, 0, "accept4() failed (%d: %s), pausing%s", e,
			  strerror(e),
			  e == EMFILE ? ": raise worker_rlimit_nofile or lower worker_connections"
				      : "");
	stop_accepting(w);
	timer_set(&w->env.loop, &w->accept_timer, ACCEPT_PAUSE_MS);
}

static bool accept_one(struct accepter *a)
{
	struct addr peer = {.len = sizeof peer.un};
	int fd = accept4(a->listener->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0 && errno == EMFILE && pool_close_one(&a->w->env)) {
		peer.len = sizeof peer.un;
		fd = accept4(a->listener->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	if (fd < 0) {
		accept_failed(a->w, errno);
		return false;
	}
	take(a->w, a->listener, fd, &peer);
	return true;
}

static void on_accept(struct io *io, uint32_t events)
{
	struct accepter *a = (struct accepter *)io;
	int n = a->w->p->multi_accept ? ACCEPTS_PER_TURN : 1;

	while (n-- && accept_one(a))
		;
}

/* Ending. */

static void check_ended(struct env *env)
{
	if (env->draining && !env->clients)
		env->loop.stop = true;
}

static void on_shutdown_timer(struct timer *t)
{
	struct worker *w = (struct worker *)((char *)t - offsetof(struct worker, shutdown_timer));

	log_write(w->env.log, LOG_LVL_NOTICE, 0, "%s, open connections are closed",
		  w->p->shutdown_timeout_ms ? "worker_shutdown_timeout is over"
					    : "ten minutes without a master are over");
	client_close_all(&w->env);
	w->env.loop.stop = true;
}

/* The socket may end with this worker, and with it who waits there. */
static void take_queues(struct worker *w)
{
	for (uint32_t i = 0; i < w->n_accepters; i++) {
		struct accepter *a = &w->accepters[i];

		for (int n = 0; a->on && a->listener->n_fds > 1 && n < QUEUE_MAX; n++)
			if (!accept_one(a))
				break;
	}
}

/* No new connections; those that are open go on. QUIT: idle ones end now, and the rest after its
 * answer. */
static void drain(struct worker *w, bool quit)
{
	if (!w->env.draining) {
		if (w->p->takes_queue)
			take_queues(w);
		w->env.draining = true;
		stop_accepting(w);
		load_stop(&w->load);
		for (uint32_t i = 0; i < w->n_accepters; i++)
			if (w->p->channel_fd >= 0 && w->accepters[i].listener->fd >= 0)
				close(w->accepters[i].listener->fd);
		pool_close_idle(&w->env);
		health_stop(&w->env);
		ocsp_fini(&w->env);
		if (w->p->shutdown_timeout_ms)
			timer_set(&w->env.loop, &w->shutdown_timer, w->p->shutdown_timeout_ms);
		title_set("worker process is shutting down");
	}
	w->env.quitting |= quit;
	client_drain(&w->env, quit);
	check_ended(&w->env);
}

static void reopen(struct worker *w)
{
	access_log_flush(&w->env);
	log_conf_reopen(w->env.conf, w->env.log);
}

static void on_signal(struct io *io, uint32_t events)
{
	struct worker *w = (struct worker *)((char *)io - offsetof(struct worker, signal_io));
	struct signalfd_siginfo si;

	while (read(io->fd, &si, sizeof si) == (ssize_t)sizeof si) {
		switch (si.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			client_close_all(&w->env);
			w->env.loop.stop = true;
			break;
		case SIGQUIT:
			drain(w, true);
			break;
		case SIGUSR1:
			reopen(w);
			break;
		default:
			break;
		}
	}
}

/* Without a master nobody can ban, reload or replace this process: it finishes its work, so that a new
 * master can have the addresses. */
static void master_gone(struct worker *w)
{
	if (w->master_gone)
		return;
	w->master_gone = true;
	io_del(&w->env.loop, &w->channel_io);
	log_write(
		w->env.log, LOG_LVL_ALERT, 0,
		"the master process is gone: this worker takes no new connections and ends after the "
		"open ones");
	drain(w, true);
	if (!w->p->shutdown_timeout_ms)
		timer_set(&w->env.loop, &w->shutdown_timer, ORPHAN_MS);
}

static void on_ban(struct worker *w, const struct msg_ban *b)
{
	struct ban_net net = {.family = b->family, .prefix_len = b->prefix_len};

	memcpy(net.bytes, b->bytes, sizeof net.bytes);
	client_reset_banned(&w->env, ban_net_clean(&net) ? &net : NULL);
}

static void on_channel(struct io *io, uint32_t events)
{
	struct worker *w = (struct worker *)((char *)io - offsetof(struct worker, channel_io));
	struct msg m;
	int r;

	while ((r = msg_recv(io->fd, &m)) != -SL_EAGAIN) {
		if (r == -SL_ECLOSED) {
			master_gone(w);
			return;
		}
		if (r < 0)
			continue;
		if (m.type == MSG_BAN)
			on_ban(w, &m.ban);
		else if (m.type == MSG_DRAIN)
			drain(w, false);
		else if (m.type == MSG_QUIT)
			drain(w, true);
		else if (m.type == MSG_REOPEN)
			reopen(w);
	}
}

static void ask_ban(struct env *env, const struct msg *m)
{
	struct worker *w = of_env(env);

	if (w->p->channel_fd < 0)
		w->p->ban_here(w->p->data, m);
	else if (msg_send(w->p->channel_fd, m))
		log_write(env->log, LOG_LVL_CRIT, 0,
			  "the master does not take a ban now, it is lost");
}

static int open_signals(struct worker *w)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGHUP); /* the master's business: without effect here */
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	w->signal_io = (struct io){.fn = on_signal};
	return io_add(&w->env.loop, &w->signal_io, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC),
		      EPOLLIN);
}

/* A burst of handshakes leaves holes all over the heap: they go back to the system when they are a
 * noticeable part of it. */
static void on_trim_timer(struct timer *t)
{
	struct worker *w = (struct worker *)((char *)t - offsetof(struct worker, trim_timer));
	struct mallinfo2 heap = mallinfo2();

	if (heap.fordblks > TRIM_FREE_MIN && heap.fordblks > heap.uordblks / 16)
		malloc_trim(0);
	timer_set(&w->env.loop, &w->trim_timer, TRIM_MS);
}

/* Is there a variable whose name begins with NAME, in any case of its letters? */
static bool uses_variable(const struct conf *c, const char *name)
{
	for (const struct conf_source *s = c->sources; s; s = s->next) {
		struct slice rest = s->text;
		ptrdiff_t dollar;

		while ((dollar = slice_find(rest, '$')) >= 0) {
			rest = slice_skip(rest, (size_t)dollar + 1);
			if (slice_starts(rest, SLICE("{")))
				rest = slice_skip(rest, 1);
			if (rest.n >= strlen(name) && !strncasecmp(rest.p, name, strlen(name)))
				return true;
		}
	}
	return false;
}

static int setup(struct worker *w)
{
	struct env *env = &w->env;
	struct http_conf *h = env->http;

	if (loop_init(&env->loop, EVENTS_PER_TURN) || open_signals(w))
		return -SL_ESYS;
	timer_init(&w->accept_timer, on_accept_timer);
	timer_init(&w->shutdown_timer, on_shutdown_timer);
	timer_init(&w->trim_timer, on_trim_timer);
	timer_set(&env->loop, &w->trim_timer, TRIM_MS);
	if (w->p->channel_fd >= 0) {
		w->channel_io = (struct io){.fn = on_channel};
		if (io_add(&env->loop, &w->channel_io, w->p->channel_fd, EPOLLIN))
			return -SL_ESYS;
	}
	pool_setup(env);
	if (names_setup(env, w->p->resolves) || ocsp_setup(env, w->p->resolves))
		return -SL_ENOMEM;
	if (w->p->resolves)
		health_setup(env);
	access_log_setup(env);
	slow_start(env);
	w->n_accepters = h ? h->n_listeners : 0;
	w->accepters = calloc(w->n_accepters + 1, sizeof *w->accepters);
	if (!w->accepters)
		return -SL_ENOMEM;
	for (uint32_t i = 0; i < w->n_accepters; i++)
		w->accepters[i] = (struct accepter){
			.io = {.fn = on_accept, .fd = -1}, .w = w, .listener = &h->listeners[i]};
	start_accepting(w);
	load_start(&w->load, w->p->load, &env->loop, env->stats);
	return 0;
}

int worker_run(const struct worker_params *p)
{
	struct worker *w = calloc(1, sizeof *w);

	if (!w)
		return 2;
	w->p = p;
	w->env = (struct env){
		.conf = p->conf,
		.http = p->conf->http,
		.log = p->log,
		.stats = p->stats,
		.all_stats = p->all_stats,
		.bans = p->bans,
		.evidence = p->evidence,
		.relay = p->relay,
		.good = p->good,
		.ask_ban = ask_ban,
		.on_no_clients = check_ended,
		.slot = p->slot,
		.conns_max = p->conns_max,
		.keeps_bodies = uses_variable(p->conf, "request_body"),
		.keeps_tcp = uses_variable(p->conf, "upstream_tcp_"),
		.id_seed = hash_random_seed(),
	};
	if (setup(w)) {
		log_write(p->log, LOG_LVL_ALERT, 0, "the worker cannot start: %s", strerror(errno));
		free(w);
		return 2;
	}
	relay_mark_begin(p->relay, p->slot);
	loop_run(&w->env.loop);
	client_close_all(&w->env);
	access_log_flush(&w->env);
	health_stop(&w->env);
	ocsp_fini(&w->env);
	slow_stop(&w->env);
	names_fini(&w->env);
	auth_store_free(w->env.auth);
	pool_fini(&w->env);
	free(w->accepters);
	close(w->signal_io.fd);
	loop_fini(&w->env.loop);
	free(w);
	return 0;
}
