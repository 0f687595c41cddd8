/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns where an error goes from here: which page, with which status, by which of the three ways. Makes no
 * answer but the redirect to a URL; what a page answers is the pipeline's business. */
#include "proxy/error_page.h"

#include "core/err.h"
#include "http/uri.h"
#include "proxy/flow.h"
#include "proxy/flow_conf.h"
#include "proxy/pipeline.h"
#include "proxy/reply.h"

static const struct flow_scope *scope_of(const struct request *r)
{
	return r->block->mod[MOD_FLOW];
}

static const struct error_page *find(const struct request *r, unsigned status)
{
	const struct flow_scope *s = scope_of(r);
	const struct error_page *p;

	if (!s || !s->error_pages || r->n_redirects > PIPELINE_REDIRECTS_MAX || r->finished ||
	    r->aborted || r->client_gone)
		return NULL;
	if (r->flow && r->flow->took_error_page)
		return NULL;
	p = flow_conf_page(s, status);
	/* A named location goes on with the path: a request whose line or path was refused has none. */
	if (p && !r->uri.path.n && slice_starts(p->uri->source, SLICE("@")))
		return NULL;
	return p;
}

bool error_page_has(const struct request *r, unsigned status)
{
	return find(r, status) != NULL;
}

bool error_page_is_set(const struct request *r, unsigned status)
{
	return scope_of(r) && flow_conf_page(scope_of(r), status);
}

/* "path?args", the path as it stands, as nginx takes it. */
static void to_path(struct request *r, struct slice uri)
{
	struct slice args = {"", 0};
	ptrdiff_t question = slice_find(uri, '?');

	if (question >= 0) {
		args = slice_skip(uri, (size_t)question + 1);
		uri.n = (size_t)question;
	}
	flow_set_get(r);
	pipeline_redirect(r, uri, args);
}

static unsigned redirect_status(int32_t become)
{
	bool is_redirect =
		become == 301 || become == 302 || become == 303 || become == 307 || become == 308;

	return is_redirect ? (unsigned)become : 302;
}

bool error_page_take(struct request *r, unsigned status)
{
	const struct error_page *p = find(r, status);
	struct flow *f;
	struct slice uri;

	if (!p)
		return false;
	f = flow_get(r);
	f->took_error_page = !scope_of(r)->recursive_error_pages;
	f->err_status = (uint16_t)status;
	f->content_type = (struct slice){0};
	if (p->become != ERROR_PAGE_SAME)
		f->err_status = (uint16_t)p->become;
	/* A body that came in badly, or that is too large, is no page's business. */
	if (status == 413 || r->body.status)
		request_body_forget(r);
	uri = tmpl_eval(p->uri, r, &r->arena);
	if (uri.n && uri.p[0] == '/')
		to_path(r, uri);
	else if (uri.n && uri.p[0] == '@')
		pipeline_named(r, uri);
	else
		reply_redirect_now(r, redirect_status(p->become), uri);
	return true;
}

static void keep(struct request *r, const struct hdr *f)
{
	hdrs_add(&flow_get(r)->kept, &r->arena, f->name, f->value);
}

void error_page_intercept(struct request *r, unsigned status, const struct hdrs *fields)
{
	const struct hdr *h = status == 401 ? hdrs_find(fields, HDR_WWW_AUTHENTICATE) : NULL;

	for (; h; h = hdrs_next(fields, h))
		keep(r, h);
	reply_error(r, status, NULL);
}

/* The fields of an upstream that outlive its X-Accel-Redirect: nginx's list. */
static void keep_accel_fields(struct request *r, const struct hdrs *fields)
{
	for (uint32_t i = 0; i < fields->n; i++) {
		const struct hdr *f = &fields->v[i];

		switch (f->id) {
		case HDR_CONTENT_TYPE:
			flow_get(r)->content_type = f->value;
			break;
		case HDR_SET_COOKIE:
		case HDR_CACHE_CONTROL:
		case HDR_EXPIRES:
		case HDR_ACCEPT_RANGES:
			keep(r, f);
			break;
		default:
			if (slice_ieq(f->name, SLICE("Content-Disposition")))
				keep(r, f);
		}
	}
}

void error_page_accel(struct request *r, struct slice target, const struct hdrs *fields)
{
	struct slice path, args;

	keep_accel_fields(r, fields);
	if (target.n && target.p[0] == '@') {
		pipeline_named(r, target);
		return;
	}
	if (uri_parse_safe(target, &r->arena, &path, &args)) {
		request_log(r, LOG_LVL_ERROR, "unsafe URI \"%.*s\" was detected",
			    SLICE_FMT(target));
		reply_error(r, 404, NULL);
		return;
	}
	flow_set_get(r);
	pipeline_redirect(r, path, args);
}
