/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets that come from whoever started this master (systemd, or the master of the binary before), and the
 * start of a new binary that gets ours. Both masters then serve, until one of them is told to end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/err.h"
#include "core/num.h"
#include "master/master.h"

#define VARIABLE "SLUICE_UPGRADE" /* PID of the old master:FD of the guard's lock:FD,FD,... */

enum { SYSTEMD_FIRST_FD = 3 };

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

static void add_fd(struct inherited *in, int fd)
{
	struct addr a;

	if (in->n == INHERITED_MAX || !listen_is_socket(fd, &a))
		return;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	in->fd[in->n] = fd;
	in->addr[in->n++] = a;
}

static bool env_number(const char *name, uint64_t *n)
{
	const char *v = getenv(name);

	return v && num_u63(slice_cstr(v), n) == 0;
}

/* sd_listen_fds(3). */
static void from_systemd(struct inherited *in)
{
	uint64_t pid, n;

	if (env_number("LISTEN_PID", &pid) && env_number("LISTEN_FDS", &n) &&
	    pid == (uint64_t)getpid())
		for (uint64_t i = 0; i < n && i < INHERITED_MAX; i++)
			add_fd(in, SYSTEMD_FIRST_FD + (int)i);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

static void from_old_binary(struct inherited *in)
{
	char *text = getenv(VARIABLE), *copy = text ? strdup(text) : NULL, *at = copy, *part;
	uint64_t n;

	unsetenv(VARIABLE);
	part = strsep(&at, ":");
	/* A variable that was not meant for us says another parent. */
	if (!part || num_u63(slice_cstr(part), &n) || n != (uint64_t)getppid())
		goto out;
	in->predecessor = (pid_t)n;
	in->is_upgrade = true;
	part = strsep(&at, ":");
	if (part && num_u63(slice_cstr(part), &n) == 0 && n > STDERR_FILENO && n < INT32_MAX &&
	    fcntl((int)n, F_SETFD, FD_CLOEXEC) == 0)
		in->guard_lock_fd = (int)n;
	while ((part = strsep(&at, ",")))
		if (num_u63(slice_cstr(part), &n) == 0 && n > STDERR_FILENO && n < INT32_MAX)
			add_fd(in, (int)n);
out:
	free(copy);
}

void upgrade_inherit(struct inherited *in)
{
	*in = (struct inherited){.guard_lock_fd = -1};
	from_systemd(in);
	from_old_binary(in);
}

int upgrade_take(struct inherited *in, const struct addr *a)
{
	for (unsigned i = 0; in && i < in->n; i++) {
		int fd = in->fd[i];

		if (fd < 0 || !addr_eq(&in->addr[i], a))
			continue;
		in->fd[i] = -1;
		return fd;
	}
	return -1;
}

void upgrade_close_rest(struct master *m)
{
	struct inherited *in = &m->inherited;
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < in->n; i++) {
		if (in->fd[i] < 0)
			continue;
		addr_text(&in->addr[i], text);
		log_write(log_of(m), LOG_LVL_NOTICE, 0,
			  "inherited socket %s is in no \"listen\": closed", text);
		close(in->fd[i]);
	}
	in->n = 0;
}

static void set_old_pid_path(const struct master *m, char *to, size_t room)
{
	snprintf(to, room, "%s.oldbin", m->cycle->core->pid.p);
}

/* From here on `pid` is the new binary's to write. */
static int give_pid_away(struct master *m)
{
	char old[4096];

	set_old_pid_path(m, old, sizeof old);
	if (rename(m->cycle->core->pid.p, old) == 0)
		return 0;
	log_write(log_of(m), LOG_LVL_ALERT, 0, "rename() \"%s\" to \"%s\" failed (%d: %s)",
		  m->cycle->core->pid.p, old, errno, strerror(errno));
	return -SL_ESYS;
}

static void take_pid_back(struct master *m)
{
	char old[4096];

	set_old_pid_path(m, old, sizeof old);
	if (rename(old, m->cycle->core->pid.p))
		log_write(log_of(m), LOG_LVL_ALERT, 0, "rename() \"%s\" back failed (%d: %s)", old,
			  errno, strerror(errno));
}

void upgrade_unlink_pid(const struct master *m)
{
	char old[4096];

	set_old_pid_path(m, old, sizeof old);
	unlink(m->new_binary ? old : m->cycle->core->pid.p);
}

/* What the new binary says until it is ready: nobody else may see it. */
static void on_said(struct io *io, uint32_t events)
{
	struct master *m = (struct master *)((char *)io - offsetof(struct master, said_io));
	char text[1024];
	ssize_t n = read(io->fd, text, sizeof text);

	if (n > 0) {
		while (n && text[n - 1] == '\n')
			n--;
		log_write(log_of(m), LOG_LVL_NOTICE, 0, "new binary: %.*s", (int)n, text);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	io_del(&m->loop, io);
	close(io->fd);
	io->fd = -1;
}

/* In the child: never returns. */
static void exec_new(struct master *m, const int *fds, unsigned n, int lock_fd, int said_fd)
{
	char value[32 + 12 * INHERITED_MAX];
	sigset_t none;
	int at = snprintf(value, sizeof value, "%d:%d:", (int)getppid(), lock_fd);

	for (unsigned i = 0; i < n; i++) {
		at += snprintf(value + at, sizeof value - (size_t)at, "%s%d", i ? "," : "", fds[i]);
		fcntl(fds[i], F_SETFD, 0);
	}
	if (lock_fd >= 0)
		fcntl(lock_fd, F_SETFD, 0);
	if (m->daemonized)
		dup2(said_fd, STDERR_FILENO);
	setenv(VARIABLE, value, 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execv(m->binary, m->argv);
	log_write(log_of(m), LOG_LVL_ALERT, 0, "execve() of \"%s\" failed (%d: %s)", m->binary,
		  errno, strerror(errno));
	_exit(2);
}

static void listen_to(struct master *m, int fd)
{
	m->said_io = (struct io){.fn = on_said};
	if (io_add(&m->loop, &m->said_io, fd, EPOLLIN)) {
		close(fd);
		m->said_io.fd = -1;
	}
}

void upgrade_start(struct master *m)
{
	int fds[INHERITED_MAX], said[2];
	unsigned n = sockets_list(m->cycle, fds, INHERITED_MAX);
	int lock_fd = m->guard ? guard_lock_fd(m->guard) : -1;
	pid_t pid;

	if (m->new_binary || upgrade_predecessor(m)) {
		log_write(log_of(m), LOG_LVL_NOTICE, 0,
			  "the changing binary signal is ignored: an old and a new binary run "
			  "already, end one of them first");
		return;
	}
	log_write(log_of(m), LOG_LVL_NOTICE, 0, "changing binary");
	banning_save(m);
	if (give_pid_away(m))
		return;
	steering_release(m);
	if (pipe2(said, O_CLOEXEC | O_NONBLOCK))
		goto fail;
	pid = fork();
	if (pid == 0)
		exec_new(m, fds, n, lock_fd, said[1]);
	close(said[1]);
	if (pid < 0) {
		close(said[0]);
		goto fail;
	}
	listen_to(m, said[0]);
	m->new_binary = pid;
	/* What the guard tells is the new binary's to read, or waits for guarding_take_back(). */
	eventing_guard_gone(m);
	log_write(log_of(m), LOG_LVL_NOTICE, 0, "start new binary process %d", (int)pid);
	return;
fail:
	log_write(log_of(m), LOG_LVL_ALERT, 0, "the new binary cannot be started: %s",
		  strerror(errno));
	take_pid_back(m);
	steering_take_back(m);
}

bool upgrade_reaped(struct master *m, pid_t pid, int status)
{
	if (!m->new_binary || pid != m->new_binary)
		return false;
	log_write(log_of(m), LOG_LVL_ALERT, 0,
		  "the new binary process %d has ended (%s %d): this one goes on", (int)pid,
		  WIFSIGNALED(status) ? "signal" : "exit code",
		  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	m->new_binary = 0;
	take_pid_back(m);
	guarding_take_back(m);
	steering_take_back(m);
	/* Workers that WINCH ended are needed again. */
	if (m->no_workers && !m->quitting && !m->ending) {
		m->no_workers = false;
		timer_set(&m->loop, &m->respawn_timer, 0);
	}
	return true;
}

bool upgrade_predecessor(struct master *m)
{
	if (m->inherited.predecessor && m->inherited.predecessor != getppid())
		m->inherited.predecessor = 0;
	return m->inherited.predecessor != 0;
}
