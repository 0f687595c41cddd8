/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the listening descriptors of a configuration, in the master and just after a fork: opened, taken over
 * from the configuration before or from whoever started us, closed when nobody needs them. */
#define _GNU_SOURCE
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "core/err.h"
#include "master/master.h"
#include "proxy/http_conf.h"

enum { BIND_RETRIES = 20 };

static const struct listener *same_listener(const struct cycle *old, const struct listener *l)
{
	const struct http_conf *h = old ? old->conf.http : NULL;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		if (h->listeners[i].n_fds && addr_eq(&h->listeners[i].addr, &l->addr))
			return &h->listeners[i];
	return NULL;
}

static int open_failed(struct cycle *c, const struct conf_node *n, const struct addr *a,
		       const char *what)
{
	char text[ADDR_TEXT_MAX];
	int e = errno;

	addr_text(a, text);
	conf_error(&c->conf, n, "%s to %s failed (%d: %s)%s", what, text, e, strerror(e),
		   e == EACCES && addr_port(a) && addr_port(a) < 1024
			   ? ": ports below 1024 need root or CAP_NET_BIND_SERVICE"
			   : "");
	return -SL_ESYS;
}

/* Processes of a master that was killed need a moment to see it and let go of their sockets. */
static int open_patiently(const struct addr *a, const struct listen_opts *o, const char **what)
{
	static const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
	int fd = listen_open(a, o, what);

	for (int i = 0; fd < 0 && errno == EADDRINUSE && i < BIND_RETRIES; i++) {
		nanosleep(&pause, NULL);
		fd = listen_open(a, o, what);
	}
	return fd;
}

/* The options of one that is there already follow the configuration, as far as that is possible. */
static int tune(struct cycle *c, const struct listener *l, int fd)
{
	const char *what;

	return listen_tune(fd, &l->addr, &l->opts, &what) == 0
		       ? 0
		       : open_failed(c, l->node, &l->addr, what);
}

static int open_listener(struct cycle *c, const struct cycle *old, struct inherited *in,
			 struct listener *l)
{
	const struct listener *o = same_listener(old, l);
	uint32_t n = l->opts.reuseport ? core_conf_n_workers(c->core) : 1;
	const char *what;

	l->fds = arena_zalloc(&c->conf.arena, n * sizeof *l->fds);
	for (; l->n_fds < n; l->n_fds++) {
		int fd = o && l->n_fds < o->n_fds ? o->fds[l->n_fds] : upgrade_take(in, &l->addr);

		if (fd >= 0 && tune(c, l, fd))
			return -SL_ESYS;
		if (fd < 0)
			fd = open_patiently(&l->addr, &l->opts, &what);
		if (fd < 0)
			return open_failed(c, l->node, &l->addr, what);
		l->fds[l->n_fds] = fd;
	}
	l->fd = l->fds[0];
	return 0;
}

static int open_http(struct cycle *c, const struct cycle *old, struct inherited *in)
{
	struct http_conf *h = c->conf.http;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		if (!h->listeners[i].shares && open_listener(c, old, in, &h->listeners[i]))
			return -SL_ESYS;
	return 0;
}

static int same_admin_fd(const struct cycle *old, const struct addr *a)
{
	const struct admin_conf *conf = old ? admin_conf_get(&old->conf) : NULL;
	int i = 0;

	for (struct admin_listen *l = conf ? conf->listens : NULL; l; l = l->next, i++)
		if (addr_eq(&l->addr, a) && i < old->n_admin_fds)
			return old->admin_fds[i].fd;
	return -1;
}

/* The folder of the admin socket, /run/sluice say, is made when only it is missing. */
static void make_socket_dir(const struct addr *a)
{
	char path[sizeof a->un.sun_path + 1];

	snprintf(path, sizeof path, "%.*s", (int)sizeof a->un.sun_path, a->un.sun_path);
	mkdir(dirname(path), 0755);
}

static int open_admin_one(struct cycle *c, const struct admin_listen *l)
{
	struct listen_opts o = {.unix_mode = l->mode, .ipv6only = true};
	const char *what;
	int fd;

	if (l->is_unix)
		make_socket_dir(&l->addr);
	fd = open_patiently(&l->addr, &o, &what);
	if (fd < 0)
		return open_failed(c, l->node, &l->addr, what);
	if (l->is_unix && geteuid() == 0 && chown(l->addr.un.sun_path, c->core->uid, c->core->gid))
		conf_warn(&c->conf, l->node, "chown() of the admin socket failed: %s",
			  strerror(errno));
	return fd;
}

static int open_admin(struct cycle *c, const struct cycle *old, struct inherited *in)
{
	const struct admin_conf *conf = admin_conf_get(&c->conf);

	if (!conf)
		return 0;
	c->admin_fds = calloc((size_t)conf->n_listens + 1, sizeof *c->admin_fds);
	if (!c->admin_fds)
		return -SL_ENOMEM;
	for (struct admin_listen *l = conf->listens; l; l = l->next) {
		int fd = same_admin_fd(old, &l->addr);

		if (fd < 0)
			fd = upgrade_take(in, &l->addr);
		if (fd < 0)
			fd = open_admin_one(c, l);
		if (fd < 0)
			return fd;
		c->admin_fds[c->n_admin_fds++] = (struct admin_fd){fd, l->is_unix};
	}
	return 0;
}

static bool uses_fd(const struct cycle *c, int fd)
{
	const struct http_conf *h = c ? c->conf.http : NULL;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		for (uint32_t k = 0; k < h->listeners[i].n_fds; k++)
			if (h->listeners[i].fds[k] == fd)
				return true;
	for (int i = 0; c && i < c->n_admin_fds; i++)
		if (c->admin_fds[i].fd == fd)
			return true;
	return false;
}

static void close_one(int fd, const struct addr *a, const struct cycle *kept, bool files)
{
	if (uses_fd(kept, fd))
		return;
	if (files && a->sa.sa_family == AF_UNIX)
		unlink(a->un.sun_path);
	close(fd);
}

void sockets_close(struct cycle *c, const struct cycle *kept, bool files)
{
	struct http_conf *h = c->conf.http;
	const struct admin_conf *admin = admin_conf_get(&c->conf);
	int n = 0;

	for (uint32_t i = 0; h && i < h->n_listeners; i++) {
		struct listener *l = &h->listeners[i];

		while (l->n_fds)
			close_one(l->fds[--l->n_fds], &l->addr, kept, files);
		l->fd = -1;
	}
	for (struct admin_listen *l = admin ? admin->listens : NULL; l && n < c->n_admin_fds;
	     l = l->next)
		close_one(c->admin_fds[n++].fd, &l->addr, kept, files);
	c->n_admin_fds = 0;
}

static bool uses_log_fd(const struct cycle *c, int fd)
{
	for (const struct log_sink *s = c->conf.sinks; s; s = s->next)
		if (s->fd == fd)
			return true;
	return false;
}

/* A socket that nobody accepts from any more would go on to take connections in. */
void sockets_close_in_child(struct cycle *c, const struct cycle *kept)
{
	sockets_close(c, kept, false);
	for (struct log_sink *s = c->conf.sinks; s; s = s->next)
		if (s->fd > STDERR_FILENO && !uses_log_fd(kept, s->fd))
			close(s->fd);
}

void sockets_choose(struct cycle *c, unsigned index)
{
	struct http_conf *h = c->conf.http;

	for (uint32_t i = 0; h && i < h->n_listeners; i++) {
		struct listener *l = &h->listeners[i];

		for (uint32_t k = 0; k < l->n_fds; k++) {
			if (k == index % l->n_fds)
				l->fd = l->fds[k];
			else
				close(l->fds[k]);
		}
	}
}

void sockets_close_http(struct cycle *c)
{
	struct http_conf *h = c->conf.http;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		for (uint32_t k = 0; k < h->listeners[i].n_fds; k++)
			close(h->listeners[i].fds[k]);
}

unsigned sockets_list(const struct cycle *c, int *fds, unsigned max)
{
	const struct http_conf *h = c->conf.http;
	unsigned n = 0;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		for (uint32_t k = 0; k < h->listeners[i].n_fds && n < max; k++)
			fds[n++] = h->listeners[i].fds[k];
	for (int i = 0; i < c->n_admin_fds && n < max; i++)
		fds[n++] = c->admin_fds[i].fd;
	return n;
}

int sockets_open(struct cycle *c, struct cycle *old, struct inherited *in)
{
	int r = open_http(c, old, in);

	if (r == 0)
		r = open_admin(c, old, in);
	c->conf.boot_log = NULL; /* the old configuration's, which goes now */
	if (r == 0)
		return 0;
	sockets_close(c, old, true);
	return -SL_ESYS;
}
