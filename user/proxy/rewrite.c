/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs the programs of `set`, `if`, `rewrite`, `break` and `return`. Decides nothing that is not written
 * there; which location a changed path means is the pipeline's. */
#include "proxy/rewrite.h"

#include <errno.h>
#include <sys/stat.h>

#include "core/err.h"
#include "proxy/files.h"
#include "proxy/reply.h"
#include "proxy/request.h"
#include "proxy/rewrite_impl.h"

/* What a rewrite may make longer again and again. */
enum { URI_BYTES_MAX = 1 << 20 };

struct run {
	struct request *r;
	bool logs;
	bool quotes;  /* captures in the values of `set` and `if` are escaped: nginx does, until a
			* `rewrite` has matched */
	bool changed; /* the path */
};

enum next { GO_ON, STOP, ANSWERED };

static const struct rewrite_scope *scope_of(const struct conf_block *b)
{
	return b->mod[MOD_REWRITE];
}

bool rewrite_warns_of_unset(const struct request *r)
{
	const struct rewrite_scope *s = scope_of(r->block);

	return !s || s->warns_of_unset;
}

/* The client's path had something encoded, or a plus: captures of it are encoded again where they become
 * arguments or a URL. */
static bool was_encoded(const struct request *r)
{
	for (size_t i = 0; i < r->head.path.n && r->head.path.p[i] != '?'; i++)
		if (r->head.path.p[i] == '%' || r->head.path.p[i] == '+')
			return true;
	return false;
}

static struct slice eval(struct request *r, const struct tmpl *t, bool quotes)
{
	struct slice s;

	vars_user_quote_captures(r, quotes && was_encoded(r));
	s = tmpl_eval(t, r, &r->arena);
	vars_user_quote_captures(r, false);
	return s;
}

static enum next fail(struct request *r)
{
	reply_error(r, 500, NULL);
	return ANSWERED;
}

/* 1, 0, or negative after an answer. */
static int matches(struct run *run, const struct vars_regex *re, struct slice subject)
{
	struct request *r = run->r;
	struct slice pattern = vars_user_pattern(re);
	int m = vars_user_match(r, re, subject);

	if (m < 0)
		fail(r);
	else if (m == 0)
		vars_user_clear_captures(r);
	if (run->logs && m >= 0)
		request_log(r, LOG_LVL_NOTICE, "\"%.*s\" %s \"%.*s\"", SLICE_FMT(pattern),
			    m ? "matches" : "does not match", SLICE_FMT(subject));
	return m;
}

static int test_file(struct request *r, const struct rewrite_if *t, struct slice name)
{
	const char *path = arena_cstr(&r->arena, name);
	struct stat st;

	if (stat(path, &st) < 0) {
		if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG)
			request_log(r, LOG_LVL_ERROR, "stat() \"%s\" failed (%d: %s)", path, errno,
				    strerror(errno));
		return 0;
	}
	switch (t->file) {
	case 'f':
		return S_ISREG(st.st_mode);
	case 'd':
		return S_ISDIR(st.st_mode);
	case 'x':
		return (st.st_mode & S_IXUSR) != 0;
	default:
		return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
	}
}

/* 1, 0, or negative after an answer. */
static int holds(struct run *run, const struct rewrite_if *t)
{
	struct slice left = eval(run->r, t->left, run->quotes);
	int yes;

	switch (t->test) {
	case TEST_EQUAL:
		yes = slice_eq(left, eval(run->r, t->right, run->quotes));
		break;
	case TEST_REGEX:
		yes = matches(run, t->re, left);
		break;
	case TEST_FILE:
		yes = test_file(run->r, t, left);
		break;
	default:
		yes = left.n && !slice_eq(left, SLICE("0"));
	}
	return yes < 0 ? yes : yes != t->negated;
}

static bool is_redirect(unsigned status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void run_return(struct request *r, const struct rewrite_return *ret)
{
	struct slice text;

	if (ret->status == 444) {
		r->resp.status = 444;
		r->ops->drop(r);
		return;
	}
	/* $status in the text. */
	if (ret->text || ret->status < 400)
		r->resp.status = (uint16_t)ret->status;
	text = ret->text ? tmpl_eval(ret->text, r, &r->arena) : (struct slice){0};
	if (is_redirect(ret->status))
		reply_redirect(r, ret->status, text);
	else if (ret->text || ret->status == 204 || ret->status < 400)
		reply_text(r, ret->status, files_type(r), text);
	else
		reply_error(r, ret->status, NULL);
}

static struct slice join(struct request *r, struct slice a, const char *between, struct slice b)
{
	return arena_printf(&r->arena, "%.*s%s%.*s", SLICE_FMT(a), between, SLICE_FMT(b));
}

static enum next redirect(struct run *run, const struct rewrite_uri *u)
{
	struct request *r = run->r;
	struct slice to = uri_unescape_redirect(eval(r, u->path, true), &r->arena);

	if (u->keeps_args && r->uri.args.n)
		to = join(r, to, u->has_args ? "&" : "?", r->uri.args);
	if (run->logs)
		request_log(r, LOG_LVL_NOTICE, "rewritten redirect: \"%.*s\"", SLICE_FMT(to));
	reply_redirect(r, u->status, to);
	return ANSWERED;
}

static enum next rewrite(struct run *run, const struct rewrite_uri *u)
{
	struct request *r = run->r;
	struct slice path, args = r->uri.args;
	bool had_args = args.n || (r->uri_changed && r->uri.has_args);
	int m = matches(run, u->re, r->uri.path);

	if (m <= 0)
		return m < 0 ? ANSWERED : GO_ON;
	if (u->status)
		return redirect(run, u);
	run->quotes = false;
	r->internal = true;
	r->uri_changed = true;
	r->whole_uri |= u->is_break;
	run->changed = !u->is_break;
	path = eval(r, u->path, false);
	if (u->args) {
		args = eval(r, u->args, true);
		if (u->keeps_args && r->uri.args.n)
			args = join(r, args, "&", r->uri.args);
	} else if (!u->keeps_args) {
		args = SLICE("");
	}
	r->uri = (struct uri){.path = path, .args = args, .has_args = u->args || had_args};
	if (run->logs)
		request_log(r, LOG_LVL_NOTICE, "rewritten data: \"%.*s\", args: \"%.*s\"",
			    SLICE_FMT(path), SLICE_FMT(args));
	if (!path.n || path.n + args.n > URI_BYTES_MAX) {
		request_log(r, LOG_LVL_ERROR, "the rewritten URI has %s length",
			    path.n ? "too great a" : "a zero");
		return fail(r);
	}
	return u->is_last || u->is_break ? STOP : GO_ON;
}

static enum next run_ops(struct run *run, const struct rewrite_op *op);

static enum next run_if(struct run *run, const struct rewrite_if *t)
{
	int yes = holds(run, t);

	if (yes <= 0)
		return yes < 0 ? ANSWERED : GO_ON;
	if (t->block->ctx == CTX_IF) {
		run->r->block = t->block;
		run->r->scope = http_scope_of(t->block);
	}
	return run_ops(run, scope_of(t->block)->first);
}

static enum next run_ops(struct run *run, const struct rewrite_op *op)
{
	enum next next = GO_ON;

	for (; op && next == GO_ON; op = op->next) {
		switch (op->kind) {
		case REWRITE_SET:
			vars_user_set(run->r, op->set.var,
				      eval(run->r, op->set.value, run->quotes));
			break;
		case REWRITE_IF:
			next = run_if(run, &op->test);
			break;
		case REWRITE_URI:
			next = rewrite(run, &op->uri);
			break;
		case REWRITE_BREAK:
			run->r->whole_uri |= run->changed;
			run->changed = false;
			next = STOP;
			break;
		case REWRITE_RETURN:
			run_return(run->r, &op->ret);
			next = ANSWERED;
			break;
		}
	}
	return next;
}

enum rewrite_end rewrite_run(struct request *r)
{
	const struct rewrite_scope *s = scope_of(r->block);
	struct run run = {.r = r, .logs = s && s->log, .quotes = true};

	if (s && run_ops(&run, s->first) == ANSWERED)
		return REWRITE_DONE;
	return run.changed ? REWRITE_AGAIN : REWRITE_ON;
}
