/* SPDX-License-Identifier: BSD-2-Clause */
/* The master's life: start, signals, reload, end. Serves nobody by itself. */
#define _GNU_SOURCE
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/log_conf.h"
#include "core/err.h"
#include "core/hash.h"
#include "core/msg.h"
#include "core/title.h"
#include "http/headers.h"
#include "master/notify.h"
#include "proxy/http_conf.h"
#include "worker/worker.h"

enum {
	SWEEP_MS = 500,
	KILL_MS = 5000, /* a child that does not heed TERM for so long is killed */
	RETRY_MS = 1000,
};

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

static int write_pid(const struct master *m, const char *path)
{
	char text[16];
	int error, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	int n = snprintf(text, sizeof text, "%d\n", (int)getpid());

	if (fd < 0 || write(fd, text, (size_t)n) != n) {
		error = errno;
		log_write(log_of(m), LOG_LVL_EMERG, 0, "open() \"%s\" failed (%d: %s)", path, error,
			  strerror(error));
		log_stderr(LOG_LVL_EMERG, "open() \"%s\" failed (%d: %s)", path, error,
			   strerror(error));
		if (fd >= 0) {
			unlink(path);
			close(fd);
		}
		return -SL_ESYS;
	}
	close(fd);
	return 0;
}

/* `pid` names this instance, so the bans' file stands beside it. */
static void set_bans_path(struct master *m)
{
	snprintf(m->bans_path, sizeof m->bans_path, "%s.bans", m->cycle->core->pid.p);
}

static bool has_other_pid(const struct cycle *a, const struct cycle *b)
{
	return !slice_eq(a->core->pid, b->core->pid);
}

/* After a reload, with the new one's pid file written. */
static void leave_pid(struct master *m, const struct cycle *old)
{
	char bans[sizeof m->bans_path];

	if (!has_other_pid(m->cycle, old))
		return;
	unlink(old->core->pid.p);
	memcpy(bans, m->bans_path, sizeof bans);
	set_bans_path(m);
	banning_save(m);
	if (!m->bans_dirty)
		unlink(bans);
}

static int share_memory(struct master *m)
{
	struct shm_zone *stats =
		shm_zone_ref(&m->shm, "master", SLICE("stats"), SLICE(""), sizeof *m->stats);
	struct shm_zone *bans =
		shm_zone_ref(&m->shm, "master", SLICE("bans"), SLICE(""), ban_table_bytes());
	struct shm_zone *evidence =
		shm_zone_ref(&m->shm, "master", SLICE("evidence"), SLICE(""), ban_evidence_bytes());
	struct shm_zone *events =
		shm_zone_ref(&m->shm, "master", SLICE("events"), SLICE(""), event_ring_bytes());

	if (!stats || !bans || !evidence || !events) {
		log_stderr(LOG_LVL_EMERG, "no shared memory: %s", strerror(errno));
		return -SL_ENOMEM;
	}
	m->stats = stats->mem;
	m->bans = bans->mem;
	m->evidence = evidence->mem;
	ban_table_init(m->bans, hash_random_seed());
	ban_evidence_init(m->evidence, hash_random_seed());
	eventing_init(m, events->mem);
	m->stats->started_wall_ms = m->stats->reloaded_wall_ms = clock_wall_ms();
	m->stats->generation = 1;
	return 0;
}

/* What else may fail of a configuration that was read; then nothing of it stays. */
static int adopt_sockets(struct master *m, struct cycle *c)
{
	bool is_other = has_other_pid(c, m->cycle);

	if (is_other && write_pid(m, c->core->pid.p))
		return -SL_ESYS;
	if (sockets_open(c, m->cycle, NULL) == 0)
		return 0;
	if (is_other)
		unlink(c->core->pid.p);
	return -SL_ESYS;
}

int master_reload(struct master *m, char *text, size_t room)
{
	struct cycle *old = m->cycle, *c;

	log_write(log_of(m), LOG_LVL_NOTICE, 0, "reconfiguring");
	notify_send("RELOADING=1\nMONOTONIC_USEC=%llu",
		    (unsigned long long)(clock_mono_ns() / 1000));
	text[0] = 0;
	c = cycle_load(&m->shm, &m->source, false, &m->cycle->log, text, room);
	if (!c || adopt_sockets(m, c)) {
		m->stats->n_reload_failures++;
		log_write(log_of(m), LOG_LVL_EMERG, 0,
			  "the new configuration is not taken, the old one goes on");
		if (!text[0])
			snprintf(text, room, "the configuration is bad: see the error log");
		notify_send("READY=1\nSTATUS=serving; the last reload failed: %s", text);
		cycle_free(c);
		return -SL_EINVAL;
	}
	m->cycle = c;
	leave_pid(m, old);
	m->stats->generation++;
	m->stats->n_reloads++;
	m->stats->reloaded_wall_ms = m->loop.clock.wall_ms;
	sysctls_check(c);
	privileges_check_nofile(c);
	guarding_apply(m);
	relaying_apply(m);
	/* The old ones go on until the new ones are there: no moment without a listener. */
	for (struct child *k = m->children; k; k = k->next)
		k->retiring = true;
	m->old_cycle = old;
	m->no_workers = false;
	steering_apply(m);
	/* Else the old ones serve on until there are new ones. */
	if (spawn_all(m) == 0)
		spawn_retire(m);
	else
		timer_set(&m->loop, &m->respawn_timer, RETRY_MS);
	m->old_cycle = NULL;
	sockets_close(old, c, true);
	peering_stale(m);
	cycle_free(old);
	notify_send("READY=1\nSTATUS=serving");
	return 0;
}

/* Does another master serve on the same sockets? */
static bool shares_sockets(struct master *m)
{
	return m->new_binary || upgrade_predecessor(m);
}

/* Where others accept, idle connections need not be closed under a client that is about to ask: each ends
 * with its next answer, as on a reload. A second QUIT does close them. */
static uint32_t leave_message(struct master *m)
{
	return shares_sockets(m) ? MSG_DRAIN : MSG_QUIT;
}

static void say_stopping(struct master *m)
{
	if (!shares_sockets(m))
		notify_send("STOPPING=1");
}

static void quit(struct master *m)
{
	bool again = m->quitting;

	m->quitting = true;
	if (!again)
		log_write(log_of(m), LOG_LVL_NOTICE, 0, "gracefully shutting down");
	sockets_close(m->cycle, NULL, !shares_sockets(m));
	say_stopping(m);
	spawn_tell(m, CHILD_WORKER, again ? MSG_QUIT : leave_message(m), true);
	spawn_tell(m, CHILD_ADMIN, MSG_QUIT, true);
}

static void reopen(struct master *m)
{
	log_write(log_of(m), LOG_LVL_NOTICE, 0, "reopening logs");
	log_conf_reopen(&m->cycle->conf, log_of(m));
	cycle_own_logs(m->cycle);
	spawn_tell(m, CHILD_WORKER, MSG_REOPEN, false);
	spawn_tell(m, CHILD_ADMIN, MSG_REOPEN, false);
}

static void reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		spawn_reaped(m, pid, status);
	if ((m->ending || m->quitting) && !m->children)
		m->loop.stop = true;
}

/* As nginx: beside a new binary the old one only gets its workers back. */
static void hup(struct master *m)
{
	char text[160];

	if (m->ending || m->quitting)
		return;
	if (!m->new_binary) {
		master_reload(m, text, sizeof text);
		return;
	}
	m->no_workers = false;
	if (spawn_missing(m))
		timer_set(&m->loop, &m->respawn_timer, RETRY_MS);
}

static void handle(struct master *m, int sig)
{
	switch (sig) {
	case SIGTERM:
	case SIGINT:
		m->ending = true;
		say_stopping(m);
		spawn_kill(m, SIGTERM);
		break;
	case SIGQUIT:
		quit(m);
		break;
	case SIGHUP:
		hup(m);
		break;
	case SIGUSR2:
		if (!m->ending && !m->quitting)
			upgrade_start(m);
		break;
	case SIGUSR1:
		reopen(m);
		break;
	case SIGWINCH:
		if (m->daemonized) {
			log_write(log_of(m), LOG_LVL_NOTICE, 0, "gracefully ending the workers");
			m->no_workers = true;
			spawn_tell(m, CHILD_WORKER, leave_message(m), true);
		}
		break;
	default:
		break;
	}
	if ((m->ending || m->quitting) && !m->children)
		m->loop.stop = true;
}

static void on_signal(struct io *io, uint32_t events)
{
	struct master *m = (struct master *)((char *)io - offsetof(struct master, signal_io));
	struct signalfd_siginfo si;

	while (read(io->fd, &si, sizeof si) == (ssize_t)sizeof si) {
		if (si.ssi_signo == SIGCHLD) {
			reap(m);
			continue;
		}
		log_write(log_of(m), LOG_LVL_NOTICE, 0, "signal %u (%s) received from %u",
			  si.ssi_signo, sigabbrev_np((int)si.ssi_signo), si.ssi_pid);
		handle(m, (int)si.ssi_signo);
	}
}

static void on_sweep(struct timer *t)
{
	struct master *m = (struct master *)((char *)t - offsetof(struct master, sweep_timer));

	if (m->inherited.is_upgrade && !upgrade_predecessor(m)) {
		m->inherited.is_upgrade = false;
		log_write(log_of(m), LOG_LVL_NOTICE, 0, "the old binary has ended");
		banning_adopt(m);
	}
	guarding_sweep(m);
	eventing_tick(m);
	peering_tick(m);
	if (m->ending && !m->ending_ms)
		m->ending_ms = m->loop.clock.mono_ms;
	else if (m->ending && m->loop.clock.mono_ms - m->ending_ms > KILL_MS)
		spawn_kill(m, SIGKILL);
	timer_set(&m->loop, &m->sweep_timer, SWEEP_MS);
}

static void on_respawn(struct timer *t)
{
	struct master *m = (struct master *)((char *)t - offsetof(struct master, respawn_timer));

	if (m->ending || m->quitting)
		return;
	if (spawn_missing(m) == 0)
		spawn_retire(m);
	else
		timer_set(&m->loop, &m->respawn_timer, RETRY_MS);
}

static int open_signals(struct master *m)
{
	static const int wanted[] = {SIGTERM, SIGINT,  SIGQUIT,	 SIGHUP,
				     SIGUSR1, SIGUSR2, SIGWINCH, SIGCHLD};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
		sigaddset(&set, wanted[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	m->signal_io = (struct io){.fn = on_signal};
	return io_add(&m->loop, &m->signal_io, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC),
		      EPOLLIN);
}

/* The parent leaves once the child says that it has started, so that its exit code is the truth. */
static int daemonize(struct master *m)
{
	int null, ready[2];
	char ok = 0;
	pid_t pid;

	if (pipe(ready))
		return -SL_ESYS;
	pid = fork();
	if (pid < 0)
		return -SL_ESYS;
	if (pid > 0) {
		close(ready[1]);
		_exit(read(ready[0], &ok, 1) == 1 ? 0 : 1);
	}
	close(ready[0]);
	m->ready_fd = ready[1];
	setsid();
	umask(0022);
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		return -SL_ESYS;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	m->null_fd = null;
	m->daemonized = true;
	return 0;
}

/* A new binary stays what its parent is: the old master's child, whose terminal is nobody's. */
static int go_to_background(struct master *m)
{
	if (!m->inherited.is_upgrade)
		return m->cycle->core->daemon ? daemonize(m) : 0;
	m->daemonized = true;
	if (m->cycle->core->daemon)
		m->null_fd = open("/dev/null", O_RDWR);
	return 0;
}

/* From here on nobody reads our terminal. */
static void say_ready(struct master *m)
{
	notify_send("READY=1\nMAINPID=%d\nSTATUS=serving", (int)getpid());
	if (m->null_fd < 0)
		return;
	dup2(m->null_fd, STDERR_FILENO);
	if (m->null_fd > STDERR_FILENO)
		close(m->null_fd);
	if (m->ready_fd >= 0 && write(m->ready_fd, "1", 1) != 1)
		log_write(log_of(m), LOG_LVL_WARN, 0, "whoever started this process is gone");
	if (m->ready_fd >= 0)
		close(m->ready_fd);
	m->null_fd = m->ready_fd = -1;
}

static void ban_here(void *data, const struct msg *msg)
{
	struct master *m = data;
	char text[160];

	clock_update(&m->loop.clock);
	banning_ban(m, &msg->ban, text, sizeof text);
}

/* master_process off: everything in this process, with its privileges; for debugging. */
static int run_single(struct master *m)
{
	const struct core_conf *events = core_conf_events(&m->cycle->conf);
	struct worker_params p = {
		.conf = &m->cycle->conf,
		.log = log_of(m),
		.stats = &m->stats->worker[0],
		.all_stats = m->stats,
		.resolves = true,
		.bans = m->bans,
		.evidence = m->evidence,
		.relay = m->relay,
		.channel_fd = -1,
		.conns_max = (uint32_t)events->worker_connections,
		.multi_accept = events->multi_accept,
		.shutdown_timeout_ms = (uint64_t)m->cycle->core->worker_shutdown_timeout_ms,
		.ban_here = ban_here,
		.data = m,
	};

	m->stats->worker[0].pid = getpid();
	say_ready(m);
	signal(SIGPIPE, SIG_IGN);
	return worker_run(&p);
}

static int run_loop(struct master *m)
{
	const struct xdp_conf *x = xdp_conf_get(&m->cycle->conf);
	char err[256];

	if (open_signals(m))
		return 1;
	if (m->is_root && privileges_limit_master(x && x->is_libxdp, err, sizeof err))
		log_write(log_of(m), LOG_LVL_WARN, 0, "%s", err);
	timer_init(&m->sweep_timer, on_sweep);
	timer_init(&m->respawn_timer, on_respawn);
	timer_set(&m->loop, &m->sweep_timer, SWEEP_MS);
	steering_apply(m);
	if (spawn_all(m)) {
		spawn_kill(m, SIGTERM);
		return 1;
	}
	say_ready(m);
	loop_run(&m->loop);
	return m->failed ? 1 : 0;
}

int master_run(struct master *m)
{
	int code = 1;

	m->ready_fd = m->null_fd = -1;
	upgrade_inherit(&m->inherited);
	if (share_memory(m))
		return 1;
	if (sockets_open(m->cycle, NULL, &m->inherited))
		return 1;
	upgrade_close_rest(m);
	sysctls_check(m->cycle);
	privileges_check_nofile(m->cycle);
	if (go_to_background(m)) {
		log_stderr(LOG_LVL_EMERG, "cannot go into the background: %s", strerror(errno));
		return 1;
	}
	if (loop_init(&m->loop, 64)) {
		log_stderr(LOG_LVL_EMERG, "epoll_create1() failed: %s", strerror(errno));
		return 1;
	}
	m->stats->master_pid = getpid();
	title_set("master process");
	set_bans_path(m);
	if (write_pid(m, m->cycle->core->pid.p) == 0) {
		guarding_start(m);
		relaying_apply(m);
		code = m->cycle->core->master_process ? run_loop(m) : run_single(m);
		guarding_stop(m, shares_sockets(m));
		relaying_stop(m);
		upgrade_unlink_pid(m);
	}
	log_write(log_of(m), LOG_LVL_NOTICE, 0, "exit");
	sockets_close(m->cycle, NULL, !shares_sockets(m));
	steering_close(m);
	loop_fini(&m->loop);
	return code;
}
