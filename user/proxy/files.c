/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides which file answers: root, alias, try_files, index. A path that came in is normalised (http/uri.h), so
 * that none climbs out of its root; what is no regular file is never read. */
#include "proxy/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/date.h"
#include "http/uri.h"
#include "proxy/files_conf.h"
#include "proxy/files_send.h"
#include "proxy/flow.h"
#include "proxy/gzip.h"
#include "proxy/gzip_conf.h"
#include "proxy/out.h"
#include "proxy/reply.h"
#include "proxy/request.h"

bool files_are_served(const struct request *r)
{
	return files_scope_of(r->block)->root != NULL;
}

struct slice files_type(const struct request *r)
{
	return files_conf_type(files_scope_of(r->block), r->uri.path);
}

static enum step_result answer(struct request *r, unsigned status)
{
	reply_error(r, status, NULL);
	return STEP_DONE;
}

/* The configured folder as text, absolute. */
static struct slice root_text(struct request *r, struct arena *a)
{
	const struct files_scope *s = files_scope_of(r->block);
	struct slice path = tmpl_eval(s->root->path, r, a);

	if (path.n && path.p[0] == '/')
		return path;
	return s->root->path->constant ? path
				       : arena_printf(a, "%s%.*s", s->prefix, SLICE_FMT(path));
}

/* Behind the root: URI without what an alias stands for. False: the alias does not stand for this path. */
static bool below_root(const struct files_root *root, struct slice uri, struct slice *out)
{
	*out = uri;
	if (!root->alias)
		return true;
	if (root->whole) {
		out->n = 0;
		return true;
	}
	*out = slice_skip(uri, root->under.n);
	return slice_starts(uri, root->under);
}

static struct slice join(struct arena *a, struct slice root, struct slice rest)
{
	char *p = arena_bytes(a, root.n + rest.n + 1);

	if (root.n)
		memcpy(p, root.p, root.n);
	if (rest.n)
		memcpy(p + root.n, rest.p, rest.n);
	p[root.n + rest.n] = 0;
	return slice_make(p, root.n + rest.n);
}

/* Does a ".." stand in PATH? The client's own path has none; a variable may bring one in. */
static bool climbs(struct slice path)
{
	while (path.n) {
		ptrdiff_t slash = slice_find(path, '/');
		size_t n = slash < 0 ? path.n : (size_t)slash;

		if (slice_eq(slice_make(path.p, n), SLICE("..")))
			return true;
		path = slice_skip(path, n + 1);
	}
	return false;
}

/* ROOT and what is below it as one path; false: it would lead out. */
static bool join_below(struct request *r, struct arena *a, struct slice rest, struct slice *out)
{
	const struct files_root *root = files_scope_of(r->block)->root;
	struct slice folder = root_text(r, a);

	*out = join(a, folder, rest);
	if (!climbs(root->path->constant ? slice_skip(*out, folder.n) : *out))
		return true;
	request_log(r, LOG_LVL_ERROR, "\"%s\" leads out of its folder", out->p);
	return false;
}

/* The file that URI means. 0, or the status of the error. */
static unsigned path_of(struct request *r, struct arena *a, struct slice uri, struct slice *out)
{
	const struct files_root *root = files_scope_of(r->block)->root;
	struct slice rest;

	if (!root)
		return 404;
	if (!below_root(root, uri, &rest)) {
		request_log(r, LOG_LVL_ALERT,
			    "\"alias\" cannot be used in location \"%.*s\" where URI was rewritten",
			    SLICE_FMT(root->under));
		return 500;
	}
	return join_below(r, a, rest, out) ? 0 : 404;
}

bool files_path(struct request *r, struct arena *a, struct slice *out)
{
	return path_of(r, a, r->uri.path, out) == 0;
}

bool files_root(struct request *r, struct arena *a, struct slice *out)
{
	if (!files_are_served(r))
		return false;
	*out = root_text(r, a);
	return true;
}

bool files_real_root(struct request *r, struct arena *a, struct slice *out)
{
	char real[PATH_MAX];

	if (!files_are_served(r) || !realpath(arena_cstr(a, root_text(r, a)), real))
		return false;
	*out = arena_dup(a, slice_cstr(real));
	return true;
}

static bool is_absence(int e)
{
	return e == ENOENT || e == ENOTDIR || e == ENAMETOOLONG;
}

/* try_files. */

/* The path to look at for NAME, which begins anew at the root; with an alias NAME may have the location's path
 * before it. */
static bool try_path(struct request *r, struct slice *name, struct slice *path)
{
	const struct files_root *root = files_scope_of(r->block)->root;

	if (!root)
		return false;
	if (root->alias && !root->whole && slice_starts(*name, root->under))
		*name = slice_skip(*name, root->under.n);
	return join_below(r, &r->arena, *name, path);
}

/* From here on the request is for NAME. */
static void take_found(struct request *r, struct slice name, bool dir)
{
	const struct files_root *root = files_scope_of(r->block)->root;

	if (root->alias && root->whole) {
		if (!dir)
			r->uri.path = name;
		return;
	}
	r->uri.path = root->alias ? join(&r->arena, root->under, name) : name;
}

static enum step_result try_last(struct request *r, const struct files_try *t)
{
	struct slice to, args = {0};
	ptrdiff_t query;

	if (!t->last) {
		if (t->status == 444)
			r->ops->drop(r);
		else
			reply_error(r, t->status, NULL);
		return STEP_DONE;
	}
	to = tmpl_eval(t->last, r, &r->arena);
	if (to.n && to.p[0] == '@') {
		pipeline_named(r, to);
		return STEP_DONE;
	}
	query = slice_find(to, '?');
	if (query >= 0) {
		args = slice_skip(to, (size_t)query + 1);
		to.n = (size_t)query;
	}
	pipeline_redirect(r, to, args);
	return STEP_DONE;
}

enum step_result files_step_try(struct request *r)
{
	const struct files_try *t = files_scope_of(r->block)->try_files;

	if (!t)
		return STEP_NEXT;
	for (int i = 0; i < t->n; i++) {
		struct slice name = tmpl_eval(t->v[i].name, r, &r->arena), path;
		struct stat st;

		if (!try_path(r, &name, &path))
			continue;
		if (stat(path.p, &st) < 0) {
			if (!is_absence(errno))
				request_log(r, LOG_LVL_CRIT, "stat() \"%s\" failed (%d: %s)",
					    path.p, errno, strerror(errno));
			continue;
		}
		if (S_ISDIR(st.st_mode) != t->v[i].dir)
			continue;
		take_found(r, name, t->v[i].dir);
		return STEP_NEXT;
	}
	return try_last(r, t);
}

/* index. */

static enum step_result no_index(struct request *r, struct slice path, int e)
{
	if (e == EACCES) {
		request_log(r, LOG_LVL_ERROR, "\"%s\" is forbidden (%d: %s)", path.p, e,
			    strerror(e));
		return answer(r, 403);
	}
	if (files_scope_of(r->block)->log_not_found)
		request_log(r, LOG_LVL_ERROR, "\"%s\" is not found (%d: %s)", path.p, e,
			    strerror(e));
	return answer(r, 404);
}

/* STEP_NEXT: there is none. */
static enum step_result try_index(struct request *r, struct slice dir)
{
	const struct files_list *index = files_scope_of(r->block)->index;
	struct stat st;

	for (int i = 0; i < index->n; i++) {
		struct slice name = tmpl_eval(index->v[i], r, &r->arena), path;

		if (name.n && name.p[0] == '/') {
			pipeline_redirect(r, name, r->uri.args);
			return STEP_DONE;
		}
		path = join(&r->arena, dir, name);
		if (climbs(path))
			continue;
		if (stat(path.p, &st) == 0) {
			pipeline_redirect(r, join(&r->arena, r->uri.path, name), r->uri.args);
			return STEP_DONE;
		}
		if (errno == EACCES)
			return no_index(r, path, errno);
		if (!is_absence(errno)) {
			request_log(r, LOG_LVL_CRIT, "stat() \"%s\" failed (%d: %s)", path.p, errno,
				    strerror(errno));
			return answer(r, 500);
		}
		if (i == 0 && stat(dir.p, &st) < 0 && is_absence(errno))
			return no_index(r, path, ENOENT);
	}
	return STEP_NEXT;
}

/* The file. */

static enum step_result cannot_open(struct request *r, struct slice path, int e)
{
	bool absent = is_absence(e), denied = e == EACCES || e == EMLINK || e == ELOOP;

	if (!absent || files_scope_of(r->block)->log_not_found)
		request_log(r, absent || denied ? LOG_LVL_ERROR : LOG_LVL_CRIT,
			    "open() \"%s\" failed (%d: %s)", path.p, e, strerror(e));
	return answer(r, absent ? 404 : denied ? 403 : 500);
}

static enum step_result redirect_to_dir(struct request *r)
{
	struct slice to = uri_escape_path(join(&r->arena, r->uri.path, SLICE("/")), &r->arena);

	if (r->uri.args.n)
		to = arena_printf(&r->arena, "%.*s?%.*s", SLICE_FMT(to), SLICE_FMT(r->uri.args));
	reply_redirect(r, 301, to);
	return STEP_DONE;
}

enum {
	FOUND_GZIPPED = 1, /* it is the one with .gz */
	FOUND_VARIES = 2,  /* there is one with .gz */
};

static void send_found(struct request *r, int fd, const struct stat *st, unsigned found)
{
	struct response *resp = &r->resp;

	*resp = (struct response){.status = (uint16_t)flow_status(r, 200),
				  .content_length = st->st_size,
				  .content_type = files_type(r),
				  .no_body = r->head.method == METHOD_HEAD,
				  .allow_ranges = !(found & FOUND_GZIPPED)};
	if (resp->status == 200) /* not of a page that stands for an error */
		resp->last_modified = date_put(arena_bytes(&r->arena, DATE_BYTES), st->st_mtime);
	if (files_scope_of(r->block)->etag)
		hdrs_add(&resp->fields, &r->arena, SLICE("ETag"),
			 arena_printf(&r->arena, "\"%llx-%llx\"", (unsigned long long)st->st_mtime,
				      (unsigned long long)st->st_size));
	if (found & FOUND_VARIES)
		gzip_add_vary(r);
	if (found & FOUND_GZIPPED)
		hdrs_add(&resp->fields, &r->arena, SLICE("Content-Encoding"), SLICE("gzip"));
	if (!out_head(r)) {
		close(fd);
		return;
	}
	if (!resp->no_body) {
		files_send_start(r, fd, (uint64_t)st->st_size);
		return;
	}
	close(fd);
	out_finish(r);
	out_flush(r);
}

static enum step_result serve(struct request *r, struct slice path, unsigned found)
{
	/* Never waits: not for the other end of a FIFO, nor for a device. */
	int fd = open(path.p, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	enum step_result done = STEP_DONE;
	struct stat st;

	if (fd < 0)
		return cannot_open(r, path, errno);
	if (fstat(fd, &st) < 0) {
		done = cannot_open(r, path, errno);
	} else if (S_ISDIR(st.st_mode)) {
		done = redirect_to_dir(r);
	} else if (!S_ISREG(st.st_mode)) {
		request_log(r, LOG_LVL_CRIT, "\"%s\" is not a regular file", path.p);
		done = answer(r, 404);
	} else if (r->head.method == METHOD_POST) {
		done = answer(r, 405);
	} else {
		send_found(r, fd, &st, found);
		return STEP_DONE;
	}
	close(fd);
	return done;
}

/* gzip_static. STEP_NEXT: the file itself is to be sent. */
static enum step_result serve_gzipped(struct request *r, struct slice path, unsigned *found)
{
	const struct gzip_scope *g = r->block->mod[MOD_GZIP];
	bool always = g->gzip_static == GZIP_STATIC_ALWAYS, wanted;
	enum step_result done = STEP_DONE;
	struct slice gz;
	struct stat st;
	int fd;

	if (g->gzip_static == GZIP_STATIC_OFF || r->head.method == METHOD_POST)
		return STEP_NEXT;
	wanted = always || gzip_is_wanted(r);
	if (!wanted && !g->vary)
		return STEP_NEXT;
	gz = join(&r->arena, path, SLICE(".gz"));
	fd = open(gz.p, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return STEP_NEXT;
	*found = always ? 0 : FOUND_VARIES;
	if (!wanted || fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
		done = STEP_NEXT;
	} else if (!S_ISREG(st.st_mode)) {
		request_log(r, LOG_LVL_CRIT, "\"%s\" is not a regular file", gz.p);
		done = answer(r, 404);
	} else {
		send_found(r, fd, &st, *found | FOUND_GZIPPED);
		return STEP_DONE;
	}
	close(fd);
	return done;
}

static bool is_readable_method(const struct request *r)
{
	return r->head.method == METHOD_GET || r->head.method == METHOD_HEAD ||
	       r->head.method == METHOD_POST;
}

enum step_result files_step_serve(struct request *r)
{
	bool dir = slice_ends(r->uri.path, SLICE("/"));
	struct slice path;
	enum step_result done;
	unsigned found = 0, status;

	if (!files_are_served(r))
		return answer(r, 404);
	if (!is_readable_method(r))
		return answer(r, 405);
	status = path_of(r, &r->arena, r->uri.path, &path);
	if (status)
		return answer(r, status);
	if (!dir) {
		done = serve_gzipped(r, path, &found);
		return done == STEP_NEXT ? serve(r, path, found) : done;
	}
	done = try_index(r, path);
	if (done != STEP_NEXT)
		return done;
	request_log(r, LOG_LVL_ERROR, "directory index of \"%s\" is forbidden", path.p);
	return answer(r, 403);
}
