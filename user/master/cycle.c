/* SPDX-License-Identifier: BSD-2-Clause */
/* One configuration from its file to its end. Its sockets are sockets.c's. */
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
#include "policy/limit_conn_conf.h"
#include "policy/upstream_conf.h"
#include "proxy/http_conf.h"
#include "proxy/io_conf.h"
#include "proxy/proxy_tls.h"
#include "tls/tls_conf.h"

/* The file of -e: what is wrong with the configuration is written there too, and everything where
 * no error_log is set. */
static void early_log(struct cycle *c, const char *name)
{
	struct log_sink *s;

	if (!name || strcmp(name, "stderr") == 0)
		return;
	s = arena_zalloc(&c->conf.arena, sizeof *s);
	s->path = conf_prefix_path(&c->conf, slice_cstr(name));
	s->fd = -1;
	if (log_sink_open(s)) {
		log_stderr(LOG_LVL_ALERT,
			   "could not open error log file: open() \"%s\" failed (%d: %s)", s->path,
			   errno, strerror(errno));
		return;
	}
	c->conf.sinks = s;
	c->early.n_to = 1;
	c->early.to[0].sink = s;
	c->early.to[0].level = LOG_LVL_NOTICE;
	if (!c->conf.boot_log)
		c->conf.boot_log = &c->early;
}

/* Without any error_log: that of -e; or else stderr in the foreground, a file of the system's in the
 * background. */
static void default_log(struct cycle *c, const char *early)
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
	c->log.to[0].sink = c->early.n_to ? c->early.to[0].sink : &to_stderr;
	if (early || !c->core->daemon || c->conf.test || geteuid() != 0)
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

static int make_temp_dir(struct cycle *c, const struct conf_block *b, const char *dir)
{
	struct stat st;

	if (stat(dir, &st) == 0)
		return 0;
	if (mkdir(dir, 0700))
		return conf_error(&c->conf, b->node, "mkdir() \"%s\" failed (%d: %s)", dir, errno,
				  strerror(errno));
	if (geteuid() == 0 && chown(dir, c->core->uid, c->core->gid))
		return conf_error(&c->conf, b->node, "chown() \"%s\" failed (%d: %s)", dir, errno,
				  strerror(errno));
	return 0;
}

/* The folders for large bodies: made and given to the workers when they are not there. */
static int make_temp_dirs(struct cycle *c, const struct conf_block *b)
{
	const struct io_scope *s = b->mod[MOD_IO];
	const struct conf_block *k;

	if (s && (make_temp_dir(c, b, s->client_temp->dir) ||
		  (s->temp_max_bytes && make_temp_dir(c, b, s->proxy_temp->dir))))
		return -SL_EINVAL;
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

struct cycle *cycle_load(struct shm_registry *shm, const struct cycle_source *source, bool test,
			 struct log *boot_log, char *first_error, size_t room)
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
	set_paths(&c->conf, source->prefix, source->path);
	early_log(c, source->error_log);
	if (conf_load(&c->conf, source->globals) || upstream_conf_share(&c->conf))
		goto fail;
	/* A file that an editor or a full disk left empty must not end a service. */
	if (!c->conf.main->first_child) {
		conf_error(&c->conf, NULL,
			   "no \"events\" or \"http\" section in configuration \"%s\"",
			   c->conf.path);
		goto fail;
	}
	c->core = core_conf_main(&c->conf);
	default_log(c, source->error_log);
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
	limit_conn_conf_release(&c->conf);
	upstream_conf_release(&c->conf);
	tls_conf_release(&c->conf);
	proxy_tls_release(&c->conf);
	admin_conf_wipe(&c->conf);
	free(c->admin_fds);
	conf_free(&c->conf);
	free(c);
}
