/* SPDX-License-Identifier: BSD-2-Clause */
/* One configuration from its file to open sockets, and its end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "conf/log_conf.h"
#include "core/err.h"
#include "master/master.h"
#include "modules.h"
#include "policy/limit_conf.h"
#include "policy/upstream_conf.h"
#include "proxy/http_conf.h"
#include "proxy/proxy_conf.h"
#include "tls/tls_conf.h"

enum { BIND_RETRIES = 20 };

/* Without any error_log: stderr in the foreground, a file of the system's in the background. */
static void default_log(struct cycle *c)
{
	static struct log_sink to_stderr = {.fd = STDERR_FILENO};
	const struct log_scope *s = c->conf.main->mod[MOD_LOG];
	struct log_sink *file;

	if (s && s->log) {
		c->log = *s->log;
		return;
	}
	c->log.n_to = 1;
	c->log.to[0].level = LOG_LVL_ERROR;
	c->log.to[0].sink = &to_stderr;
	if (!c->core->daemon || c->conf.test || geteuid() != 0)
		return;
	mkdir("/var/log/sluice", 0755);
	file = arena_zalloc(&c->conf.arena, sizeof *file);
	*file = (struct log_sink){.path = (char *)"/var/log/sluice/error.log", .fd = -1};
	if (log_sink_open(file) == 0) {
		file->next = c->conf.sinks;
		c->conf.sinks = file;
		c->log.to[0].sink = file;
	}
}

void cycle_own_logs(struct cycle *c)
{
	struct stat st;

	if (geteuid() != 0)
		return;
	for (struct log_sink *s = c->conf.sinks; s; s = s->next)
		if (s->path && s->fd >= 0 && fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode) &&
		    st.st_uid != c->core->uid && fchown(s->fd, c->core->uid, (gid_t)-1))
			log_write(&c->log, LOG_LVL_WARN, 0, "chown() of \"%s\" failed: %s", s->path,
				  strerror(errno));
}

/* The folder for large request bodies: made and given to the workers when it is not there. */
static int make_temp_dirs(struct cycle *c, const struct conf_block *b)
{
	const struct http_scope *s = b->mod[MOD_HTTP];
	const struct conf_block *k;
	struct stat st;

	if (s && s->client_body_temp_path.n && stat(s->client_body_temp_path.p, &st)) {
		if (mkdir(s->client_body_temp_path.p, 0700))
			return conf_error(&c->conf, b->node, "mkdir() \"%s\" failed (%d: %s)",
					  s->client_body_temp_path.p, errno, strerror(errno));
		if (geteuid() == 0 && chown(s->client_body_temp_path.p, c->core->uid, c->core->gid))
			return conf_error(&c->conf, b->node, "chown() \"%s\" failed (%d: %s)",
					  s->client_body_temp_path.p, errno, strerror(errno));
	}
	for (k = b->first_child; k; k = k->next)
		if (make_temp_dirs(c, k))
			return -SL_EINVAL;
	return 0;
}

static void set_paths(struct conf *c, const char *prefix, const char *path)
{
	char dir[4096];

	c->prefix = (char *)arena_printf(&c->arena, "%s%s", prefix,
					 prefix[strlen(prefix) - 1] == '/' ? "" : "/")
			    .p;
	c->path = path[0] == '/' ? arena_cstr(&c->arena, slice_cstr(path))
				 : (char *)arena_printf(&c->arena, "%s%s", c->prefix, path).p;
	snprintf(dir, sizeof dir, "%s", c->path);
	c->dir = (char *)arena_printf(&c->arena, "%s/", dirname(dir)).p;
}

struct cycle *cycle_load(struct shm_registry *shm, const char *prefix, const char *path,
			 struct slice globals, bool test, struct log *boot_log, char *first_error,
			 size_t room)
{
	struct cycle *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	arena_init(&c->conf.arena, 64 * 1024);
	c->conf.modules = modules_all;
	c->conf.var_tables = modules_vars;
	c->conf.shm = shm;
	c->conf.test = test;
	c->conf.boot_log = boot_log;
	c->conf.first_error = first_error;
	c->conf.first_error_room = room;
	set_paths(&c->conf, prefix, path);
	if (conf_load(&c->conf, globals) || upstream_conf_share(&c->conf))
		goto fail;
	c->core = core_conf_main(&c->conf);
	default_log(c);
	if (!test && make_temp_dirs(c, c->conf.main))
		goto fail;
	if (!test)
		cycle_own_logs(c);
	return c;
fail:
	cycle_free(c);
	return NULL;
}

void cycle_free(struct cycle *c)
{
	if (!c)
		return;
	limit_conf_release(&c->conf);
	upstream_conf_release(&c->conf);
	tls_conf_release(&c->conf);
	proxy_conf_release(&c->conf);
	admin_conf_wipe(&c->conf);
	free(c->admin_fds);
	conf_free(&c->conf);
	free(c);
}

static struct listener *same_listener(struct cycle *old, const struct listener *l)
{
	struct http_conf *h = old ? old->conf.http : NULL;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		if (h->listeners[i].fd >= 0 && addr_eq(&h->listeners[i].addr, &l->addr))
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

static int open_http(struct cycle *c, struct cycle *old)
{
	struct http_conf *h = c->conf.http;

	for (uint32_t i = 0; h && i < h->n_listeners; i++) {
		struct listener *l = &h->listeners[i], *o = same_listener(old, l);
		const char *what;

		if (l->shares)
			continue;
		l->fd = o ? o->fd : open_patiently(&l->addr, &l->opts, &what);
		if (l->fd < 0) {
			l->fd = -1;
			return open_failed(c, l->node, &l->addr, what);
		}
	}
	return 0;
}

static int same_admin_fd(struct cycle *old, const struct addr *a)
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

static int open_admin(struct cycle *c, struct cycle *old)
{
	const struct admin_conf *conf = admin_conf_get(&c->conf);

	if (!conf)
		return 0;
	c->admin_fds = calloc((size_t)conf->n_listens + 1, sizeof *c->admin_fds);
	if (!c->admin_fds)
		return -SL_ENOMEM;
	for (struct admin_listen *l = conf->listens; l; l = l->next) {
		struct listen_opts o = {.unix_mode = l->mode, .ipv6only = true};
		int fd = same_admin_fd(old, &l->addr);
		const char *what;

		if (fd < 0 && l->is_unix)
			make_socket_dir(&l->addr);
		if (fd < 0)
			fd = open_patiently(&l->addr, &o, &what);
		if (fd < 0)
			return open_failed(c, l->node, &l->addr, what);
		if (l->is_unix && geteuid() == 0 &&
		    chown(l->addr.un.sun_path, c->core->uid, c->core->gid))
			conf_warn(&c->conf, l->node, "chown() of the admin socket failed: %s",
				  strerror(errno));
		c->admin_fds[c->n_admin_fds++] = (struct admin_fd){fd, l->is_unix};
	}
	return 0;
}

static bool uses_fd(const struct cycle *c, int fd)
{
	const struct http_conf *h = c ? c->conf.http : NULL;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		if (h->listeners[i].fd == fd)
			return true;
	for (int i = 0; c && i < c->n_admin_fds; i++)
		if (c->admin_fds[i].fd == fd)
			return true;
	return false;
}

static void close_one(int *fd, const struct addr *a, const struct cycle *kept)
{
	if (*fd >= 0 && !uses_fd(kept, *fd)) {
		if (a->sa.sa_family == AF_UNIX)
			unlink(a->un.sun_path);
		close(*fd);
	}
	*fd = -1;
}

void cycle_close_sockets(struct cycle *c, const struct cycle *kept)
{
	struct http_conf *h = c->conf.http;
	const struct admin_conf *admin = admin_conf_get(&c->conf);
	int i = 0;

	for (uint32_t k = 0; h && k < h->n_listeners; k++)
		close_one(&h->listeners[k].fd, &h->listeners[k].addr, kept);
	for (struct admin_listen *l = admin ? admin->listens : NULL; l && i < c->n_admin_fds;
	     l = l->next, i++)
		close_one(&c->admin_fds[i].fd, &l->addr, kept);
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
void cycle_close_in_child(struct cycle *c, const struct cycle *kept)
{
	struct http_conf *h = c->conf.http;

	for (uint32_t i = 0; h && i < h->n_listeners; i++)
		if (h->listeners[i].fd >= 0 && !h->listeners[i].shares &&
		    !uses_fd(kept, h->listeners[i].fd))
			close(h->listeners[i].fd);
	for (int i = 0; i < c->n_admin_fds; i++)
		if (!uses_fd(kept, c->admin_fds[i].fd))
			close(c->admin_fds[i].fd);
	for (struct log_sink *s = c->conf.sinks; s; s = s->next)
		if (s->fd > STDERR_FILENO && !uses_log_fd(kept, s->fd))
			close(s->fd);
}

int cycle_open_sockets(struct cycle *c, struct cycle *old)
{
	int r = open_http(c, old);

	if (r == 0)
		r = open_admin(c, old);
	c->conf.boot_log = NULL; /* the old configuration's, which goes now */
	if (r == 0)
		return 0;
	cycle_close_sockets(c, old);
	return -SL_ESYS;
}
