/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes, tells and buries the child processes. A child begins by giving up everything of the master's that
 * it does not need. */
#include "master/master.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/admin.h"
#include "core/err.h"
#include "core/msg.h"
#include "core/title.h"
#include "master/confine.h"
#include "policy/limit_conn_conf.h"
#include "policy/upstream_conf.h"
#include "proxy/http_conf.h"
#include "version.h"
#include "worker/worker.h"

enum { RESPAWN_MIN_MS = 1000 };

static const char *kind_name(enum child_kind k)
{
	return k == CHILD_WORKER ? "worker" : "admin";
}

static int free_slot(const struct stats *s)
{
	for (int i = 0; i < STATS_WORKERS_MAX; i++)
		if (s->worker[i].pid == 0)
			return i;
	return -1;
}

static int reload_for(struct master *m, struct msg *reply)
{
	return master_reload(m, reply->text, sizeof reply->text);
}

static void answer(struct child *c, const struct msg *m)
{
	struct master *master = c->m;
	struct msg reply = {.type = MSG_REPLY, .id = m->id};

	/* A worker bans by rules only: what "an operator said" is the admin process's to say. */
	if (m->type == MSG_BAN && c->kind == CHILD_WORKER &&
	    (m->ban.manual || m->ban.is_import || !m->ban.for_ms))
		reply.result = -SL_EPERM;
	else if (m->type == MSG_BAN)
		reply.result = banning_ban(master, &m->ban, reply.text, sizeof reply.text);
	else if (m->type == MSG_UNBAN && c->kind == CHILD_ADMIN)
		reply.result = banning_unban(master, &m->ban);
	else if (m->type == MSG_ADMIN_PEER && c->kind == CHILD_ADMIN)
		listing_admin(master, &m->ban);
	else if (m->type == MSG_RELOAD && c->kind == CHILD_ADMIN)
		reply.result = reload_for(master, &reply);
	else
		reply.result = -SL_EINVAL;
	if (m->id)
		msg_send(c->io.fd, &reply);
}

static void on_channel(struct io *io, uint32_t events)
{
	struct child *c = (struct child *)io;
	struct msg m;
	int r;

	while ((r = msg_recv(io->fd, &m)) != -SL_EAGAIN) {
		if (r == -SL_ECLOSED) { /* SIGCHLD tells the rest */
			io_del(&c->m->loop, io);
			close(io->fd);
			io->fd = -1;
			return;
		}
		if (r > 0)
			answer(c, &m);
	}
}

/* Runs in the child: only the channel FD, the listening sockets and shared memory stay. */
static void leave_master(struct master *m, struct child *self, const char *title)
{
	for (struct child *c = m->children; c; c = c->next)
		if (c != self && c->io.fd >= 0)
			close(c->io.fd);
	close(self->io.fd);
	close(m->signal_io.fd);
	close(m->loop.epoll_fd);
	eventing_close_in_child(m);
	if (m->old_cycle)
		sockets_close_in_child(m->old_cycle, m->cycle);
	/* A start in the background is over when nobody holds the starter's terminal or pipes any more. */
	if (m->null_fd >= 0)
		dup2(m->null_fd, STDERR_FILENO);
	if (m->null_fd > STDERR_FILENO)
		close(m->null_fd);
	if (m->ready_fd >= 0)
		close(m->ready_fd);
	title_set(title);
}

static void set_environment(const struct core_conf *core)
{
	const char *outer, *tz = getenv("TZ");
	char *values[64], *own_tz = tz ? strdup(tz) : NULL;
	const struct core_env *e;
	int n = 0;

	for (e = core->env; e && n < 64; e = e->next) {
		outer = e->value ? e->value : getenv(e->name);
		values[n++] = outer ? strdup(outer) : NULL;
	}
	clearenv();
	if (own_tz)
		setenv("TZ", own_tz, 1);
	free(own_tz);
	for (n = 0, e = core->env; e && n < 64; e = e->next, n++) {
		if (values[n])
			setenv(e->name, values[n], 1);
		free(values[n]);
	}
}

static void become_unprivileged(struct master *m, enum confine_role role, const char *what)
{
	const struct core_conf *core = m->cycle->core;
	char err[256];

	if (privileges_drop(core, m->is_root, err, sizeof err) == 0 &&
	    confine_enter(role, (enum confine_mode)core->seccomp, err, sizeof err) == 0)
		return;
	log_write(&m->cycle->log, LOG_LVL_EMERG, 0, "the %s process cannot start: %s", what, err);
	_exit(2);
}

/* The end of a child: its copy of the configuration holds keys. */
static void leave(struct master *m, struct child *self, int code)
{
	free(self);
	confine_leave();
	cycle_free(m->cycle);
	exit(code);
}

static void worker_main(struct master *m, struct child *c, int fd)
{
	const struct core_conf *core = m->cycle->core;
	const struct core_conf *events = core_conf_events(&m->cycle->conf);
	struct worker_params p = {
		.conf = &m->cycle->conf,
		.log = &m->cycle->log,
		.stats = &m->stats->worker[c->slot],
		.all_stats = m->stats,
		.slot = c->slot,
		.resolves = c->resolves,
		.bans = m->bans,
		.evidence = m->evidence,
		.relay = m->relay,
		.channel_fd = fd,
		.conns_max = (uint32_t)events->worker_connections,
		.multi_accept = events->multi_accept,
		.shutdown_timeout_ms = (uint64_t)core->worker_shutdown_timeout_ms,
		.takes_queue = !steering_migrates(m),
	};

	leave_master(m, c, "worker process");
	p.load = steering_close_in_worker(m, c->slot);
	if (m->guard)
		guard_maps_close(&m->reader);
	p.good = guard_good_take(m->guard);
	guard_close_in_child(m->guard);
	relay_close_in_child(m->relay, true);
	sockets_choose(m->cycle, c->index);
	for (int i = 0; i < m->cycle->n_admin_fds; i++)
		close(m->cycle->admin_fds[i].fd);
	admin_conf_wipe(&m->cycle->conf);
	set_environment(core);
	privileges_raise_nofile(m->cycle);
	privileges_bind_cpu(core, c->index, &m->cycle->log);
	become_unprivileged(m, CONFINE_WORKER, "worker");
	leave(m, c, worker_run(&p));
}

static void admin_main(struct master *m, struct child *c, int fd)
{
	struct upstream_main *up = upstream_conf_main(&m->cycle->conf);
	struct admin_env env = {
		.conf = admin_conf_get(&m->cycle->conf),
		.upstreams = up ? up->groups : NULL,
		.limit_zones = limit_conf_zones(&m->cycle->conf),
		.stats = m->stats,
		.config = &m->cycle->conf,
		.bans = m->bans,
		.events = m->eventing.ring,
		.evidence = m->evidence,
		.guard = m->guard ? &m->reader : NULL,
		.relay = m->relay,
		.relay_off_why = m->relay_off_why,
		.listens = m->cycle->admin_fds,
		.n_listens = m->cycle->n_admin_fds,
		.channel_fd = fd,
		.log = &m->cycle->log,
		.sinks = m->cycle->conf.sinks,
		.version = SLUICE_VERSION,
	};

	if (env.conf)
		env.limits.max_watchers = (unsigned)env.conf->watchers;
	leave_master(m, c, "admin process");
	steering_close(m);
	guard_close_in_child(m->guard);
	relay_close_in_child(m->relay, false);
	sockets_close_http(m->cycle);
	set_environment(m->cycle->core);
	become_unprivileged(m, CONFINE_ADMIN, "admin");
	leave(m, c, admin_run(&env));
}

static void say_not_started(const struct master *m, const struct child *c, int error)
{
	const char *hint = error == EMFILE   ? ": too low a limit of open files (ulimit -n)"
			   : error == EAGAIN ? ": a limit of processes (ulimit -u, TasksMax)"
					     : "";

	log_write(&m->cycle->log, LOG_LVL_ALERT, 0, "the %s process cannot be started (%d: %s)%s",
		  kind_name(c->kind), error, strerror(error), hint);
	log_stderr(LOG_LVL_ALERT, "the %s process cannot be started (%d: %s)%s", kind_name(c->kind),
		   error, strerror(error), hint);
}

static int spawn(struct master *m, struct child *c)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		goto fail;
	c->m = m;
	c->io = (struct io){.fn = on_channel, .fd = pair[0]};
	c->started_ms = m->loop.clock.mono_ms;
	c->pid = fork();
	if (c->pid == 0) {
		if (c->kind == CHILD_WORKER)
			worker_main(m, c, pair[1]);
		else
			admin_main(m, c, pair[1]);
	}
	close(pair[1]);
	if (c->pid < 0 || io_add(&m->loop, &c->io, pair[0], EPOLLIN)) {
		close(pair[0]);
		goto fail;
	}
	c->next = m->children;
	m->children = c;
	log_write(&m->cycle->log, LOG_LVL_NOTICE, 0, "start %s process %d", kind_name(c->kind),
		  (int)c->pid);
	return 0;
fail:
	say_not_started(m, c, errno);
	free(c);
	return -SL_ESYS;
}

static int spawn_worker(struct master *m, unsigned index)
{
	struct child *c = calloc(1, sizeof *c);
	int slot = free_slot(m->stats);

	if (!c || slot < 0) {
		log_write(&m->cycle->log, LOG_LVL_ALERT, 0,
			  "too many workers are still ending: no new one can be started now");
		free(c);
		return -SL_ELIMIT;
	}
	c->kind = CHILD_WORKER;
	c->slot = (unsigned)slot;
	c->index = index;
	c->resolves = index == 0;
	m->stats->worker[slot].pid = -1; /* taken; the process id follows */
	m->stats->worker[slot].generation = m->stats->generation;
	steering_before_worker(m, index, c->slot);
	if (spawn(m, c)) {
		m->stats->worker[slot].pid = 0;
		return -SL_ESYS;
	}
	m->stats->worker[slot].pid = c->pid;
	return 0;
}

static int spawn_admin(struct master *m)
{
	struct child *c;

	if (!m->cycle->n_admin_fds)
		return 0;
	c = calloc(1, sizeof *c);
	if (!c)
		return -SL_ENOMEM;
	c->kind = CHILD_ADMIN;
	return spawn(m, c);
}

int spawn_all(struct master *m)
{
	unsigned n = core_conf_n_workers(m->cycle->core);
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++)
		r = spawn_worker(m, i);
	steering_sync(m);
	if (r == 0)
		r = spawn_admin(m);
	return r;
}

void spawn_retire(struct master *m)
{
	for (struct child *c = m->children; c; c = c->next) {
		struct msg msg = {.type = c->kind == CHILD_WORKER ? MSG_DRAIN : MSG_QUIT};

		if (!c->retiring || c->leaving)
			continue;
		c->leaving = true;
		if (c->io.fd < 0 || msg_send(c->io.fd, &msg))
			kill(c->pid, SIGQUIT);
	}
}

int spawn_missing(struct master *m)
{
	unsigned n = core_conf_n_workers(m->cycle->core);
	bool is_there[STATS_WORKERS_MAX] = {false}, admin = false;
	int r = 0;

	for (struct child *c = m->children; c; c = c->next) {
		if (c->leaving || c->retiring)
			continue;
		if (c->kind == CHILD_WORKER)
			is_there[c->index] = true;
		admin |= c->kind == CHILD_ADMIN;
	}
	for (unsigned i = 0; i < n && !m->no_workers; i++)
		if (!is_there[i] && (r = spawn_worker(m, i)))
			break;
	steering_sync(m);
	if (r)
		return r;
	return admin ? 0 : spawn_admin(m);
}

/* What an ended worker counted stays in the totals. */
static void retire(struct stats *s, unsigned slot)
{
	struct stats_worker *w = &s->worker[slot];
	size_t start = offsetof(struct stats_worker, conns_accepted); /* the first counter */
	uint64_t *to = (uint64_t *)((char *)&s->retired + start);
	uint64_t *from = (uint64_t *)((char *)w + start);
	size_t n = (sizeof *w - start) / sizeof *from;

	for (size_t i = 0; i < n; i++)
		to[i] += from[i];
	memset(w, 0, sizeof *w);
}

static void forget_requests(struct master *m, unsigned slot)
{
	struct upstream_main *up = upstream_conf_main(&m->cycle->conf);

	for (struct upstream_conf *g = up ? up->groups : NULL; g; g = g->next)
		balance_worker_gone(g->group, slot);
	limit_conn_conf_worker_gone(&m->cycle->conf, slot);
}

static void say_ended(struct master *m, const struct child *c, int status)
{
	enum log_level level = c->leaving ? LOG_LVL_NOTICE : LOG_LVL_ALERT;

	if (WIFSIGNALED(status))
		log_write(&m->cycle->log, level, 0, "%s process %d exited on signal %d%s%s",
			  kind_name(c->kind), (int)c->pid, WTERMSIG(status),
			  WCOREDUMP(status) ? " (core dumped)" : "",
			  WTERMSIG(status) == SIGSYS
				  ? ": it made a system call that the seccomp filter does not "
				    "allow, the kernel's log says which"
				  : "");
	else
		log_write(&m->cycle->log, level, 0, "%s process %d exited with code %d",
			  kind_name(c->kind), (int)c->pid, WEXITSTATUS(status));
}

/* A child that cannot even start would die again. Without any worker there is nothing to be a master of. */
static void give_up(struct master *m, const struct child *dead)
{
	unsigned n_workers = 0;

	log_write(&m->cycle->log, LOG_LVL_ALERT, 0,
		  "%s process %d exited with fatal code 2 and cannot be respawned",
		  kind_name(dead->kind), (int)dead->pid);
	for (struct child *c = m->children; c; c = c->next)
		n_workers += c->kind == CHILD_WORKER;
	if (n_workers)
		return;
	log_write(&m->cycle->log, LOG_LVL_EMERG, 0, "no worker process can run: ending");
	log_stderr(LOG_LVL_EMERG, "no worker process can run: ending, the error log says why");
	m->failed = m->ending = true;
	spawn_kill(m, SIGTERM);
}

void spawn_reaped(struct master *m, pid_t pid, int status)
{
	struct child **at = &m->children, *c;
	bool again, fatal = WIFEXITED(status) && WEXITSTATUS(status) == 2;

	if (upgrade_reaped(m, pid, status))
		return;
	while (*at && (*at)->pid != pid)
		at = &(*at)->next;
	c = *at;
	if (!c)
		return;
	*at = c->next;
	say_ended(m, c, status);
	if (c->io.fd >= 0) {
		io_del(&m->loop, &c->io);
		close(c->io.fd);
	}
	if (c->kind == CHILD_WORKER) {
		forget_requests(m, c->slot);
		relay_mark_worker_gone(m->relay, c->slot);
		retire(m->stats, c->slot);
		m->stats->n_worker_deaths += !c->leaving;
	}
	again = !c->leaving && !m->ending && !m->quitting;
	if (c->kind == CHILD_WORKER && again)
		steering_worker_died(m, c->index);
	if (again && fatal)
		give_up(m, c);
	else if (again && m->loop.clock.mono_ms - c->started_ms < RESPAWN_MIN_MS)
		timer_set(&m->loop, &m->respawn_timer, RESPAWN_MIN_MS);
	else if (again && spawn_missing(m))
		timer_set(&m->loop, &m->respawn_timer, RESPAWN_MIN_MS);
	loop_free(&m->loop, c);
}

void spawn_tell(struct master *m, enum child_kind kind, uint32_t msg_type, bool leaving)
{
	struct msg msg = {.type = msg_type};

	for (struct child *c = m->children; c; c = c->next) {
		if (c->kind != kind || c->io.fd < 0 ||
		    (leaving && c->leaving && msg_type != MSG_QUIT))
			continue;
		c->leaving |= leaving;
		if (msg_send(c->io.fd, &msg))
			kill(c->pid, leaving ? SIGQUIT : SIGUSR1);
	}
}

void spawn_kill(struct master *m, int sig)
{
	for (struct child *c = m->children; c; c = c->next) {
		c->leaving = true;
		kill(c->pid, sig);
	}
}
