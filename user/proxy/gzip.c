/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides whether an answer is compressed, and compresses it piece by piece. Holds no input: what came in
 * went into zlib's state, which is taken from deflate.c and given back at the answer's end. */
#include "proxy/gzip.h"

#include "conf/regex.h"
#include "http/coding.h"
#include "http/date.h"
#include "proxy/agent.h"
#include "proxy/deflate.h"
#include "proxy/gzip_conf.h"
#include "proxy/out.h"
#include "proxy/request.h"
#include "proxy/upstream.h"

struct gzip {
	struct filter f;
	struct request *r;
	struct deflate_state *state; /* NULL: the end is through */
	struct buf *out;	     /* being filled, or NULL */
	uint64_t waiting_max;	     /* gzip_buffers */
	uint64_t n_in, n_out;
	bool dirty;   /* bytes went in since the last flush */
	bool flushes; /* the client gets what is there whenever there is a pause */
};

static const struct filter_ops ops;

static const struct gzip_scope *scope_of(const struct request *r)
{
	return r->block->mod[MOD_GZIP];
}

static bool is_disabled(const struct gzip_disable *d, struct slice agent)
{
	const size_t *offsets;

	if (d->msie6 && agent_is_msie6(agent))
		return true;
	/* A match that runs into its limit counts as one: what is not compressed hurts nobody. */
	for (int i = 0; i < d->n; i++)
		if (regex_match(d->v[i], agent, &offsets))
			return true;
	return false;
}

static bool has_directive(const struct hdrs *fields, struct slice token)
{
	const struct hdr *h = hdrs_find(fields, HDR_CACHE_CONTROL);

	for (; h; h = hdrs_next(fields, h))
		if (hdr_has_token(h->value, token))
			return true;
	return false;
}

static bool is_expired(const struct request *r, struct slice expires)
{
	int64_t when = date_parse(expires), now = (int64_t)(r->env->loop.clock.wall_ms / 1000);

	if (r->resp.date.n)
		now = date_parse(r->resp.date);
	return when >= 0 && now >= 0 && when < now;
}

/* gzip_proxied: may this answer be compressed for a proxy, whose cache may keep it? In nginx's order. */
static bool is_right_for_proxies(const struct request *r, int64_t p)
{
	const struct hdrs *fields = &r->resp.fields;
	const struct hdr *expires = hdrs_find(fields, HDR_EXPIRES);

	if (p & GZIP_PROXIED_OFF)
		return false;
	if (p & GZIP_PROXIED_ANY)
		return true;
	if ((p & GZIP_PROXIED_AUTH) && hdrs_find(&r->head.fields, HDR_AUTHORIZATION))
		return true;
	if (expires)
		return (p & GZIP_PROXIED_EXPIRED) && is_expired(r, expires->value);
	if (hdrs_find(fields, HDR_CACHE_CONTROL))
		return ((p & GZIP_PROXIED_NO_CACHE) && has_directive(fields, SLICE("no-cache"))) ||
		       ((p & GZIP_PROXIED_NO_STORE) && has_directive(fields, SLICE("no-store"))) ||
		       ((p & GZIP_PROXIED_PRIVATE) && has_directive(fields, SLICE("private")));
	if ((p & GZIP_PROXIED_NO_LAST_MODIFIED) && r->resp.last_modified.n)
		return false;
	return !(p & GZIP_PROXIED_NO_ETAG) || !hdrs_find(fields, HDR_ETAG);
}

bool gzip_is_wanted(const struct request *r)
{
	const struct gzip_scope *g = scope_of(r);
	const struct hdr *h = hdrs_find(&r->head.fields, HDR_ACCEPT_ENCODING);

	if (!h || !coding_takes_gzip(h->value) || r->head.minor < g->http_minor)
		return false;
	h = hdrs_find(&r->head.fields, HDR_USER_AGENT);
	if (h && g->disable && is_disabled(g->disable, h->value))
		return false;
	return !hdrs_find(&r->head.fields, HDR_VIA) || is_right_for_proxies(r, g->proxied);
}

void gzip_add_vary(struct request *r)
{
	if (!scope_of(r)->vary || r->resp.gzip_vary)
		return;
	r->resp.gzip_vary = true;
	hdrs_add_first(&r->resp.fields, &r->arena, SLICE("Vary"), SLICE("Accept-Encoding"));
}

void gzip_forget_identity(struct request *r)
{
	struct response *resp = &r->resp;
	struct hdr *etag = hdrs_find(&resp->fields, HDR_ETAG);

	resp->content_length = -1;
	resp->allow_ranges = false;
	hdrs_remove(&resp->fields, HDR_ACCEPT_RANGES, NULL);
	if (!etag || slice_starts(etag->value, SLICE("W/")))
		return;
	if (etag->value.n && etag->value.p[0] == '"')
		etag->value = arena_printf(&r->arena, "W/%.*s", SLICE_FMT(etag->value));
	else
		hdrs_remove(&resp->fields, HDR_ETAG, NULL);
}

static bool is_worth_it(const struct request *r, const struct gzip_scope *g)
{
	const struct response *resp = &r->resp;
	const struct hdr *coding;

	if (!g->on)
		return false;
	if (resp->status != 200 && resp->status != 403 && resp->status != 404)
		return false;
	if (resp->content_length >= 0 && resp->content_length < g->min_length_bytes)
		return false;
	coding = hdrs_find(&resp->fields, HDR_CONTENT_ENCODING);
	return !(coding && coding->value.n) && gzip_conf_has_type(g, resp->content_type);
}

void gzip_step(struct request *r)
{
	const struct gzip_scope *g = scope_of(r);
	int64_t length;
	struct gzip *z;

	if (!g || !is_worth_it(r, g))
		return;
	gzip_add_vary(r);
	if (!gzip_is_wanted(r))
		return;
	length = r->resp.content_length;
	hdrs_add(&r->resp.fields, &r->arena, SLICE("Content-Encoding"), SLICE("gzip"));
	gzip_forget_identity(r);
	if (r->resp.no_body)
		return; /* HEAD: told as GET would be */
	z = arena_zalloc(&r->arena, sizeof *z);
	z->f.ops = &ops;
	z->r = r;
	z->waiting_max = g->buffers->bytes;
	z->flushes = length < 0 || (r->resp.from_upstream && !r->up->buffering);
	z->state = deflate_get((int)g->comp_level, length, r->resp.streaming);
	out_add_filter(r, &z->f);
}

static void hand_on(struct gzip *z)
{
	struct buf *b = z->out;

	z->out = NULL;
	if (!b)
		return;
	z->n_out += buf_len(b);
	if (buf_len(b))
		filter_body(&z->f, z->r, b);
	else
		buf_free(b);
}

/* Puts N bytes in and hands on each buffer that is full. */
static void run(struct gzip *z, const char *p, size_t n, enum deflate_how how)
{
	bool more = true;

	while (more) {
		if (!z->out)
			z->out = buf_new();
		more = deflate_run(z->state, &p, &n, z->out, how);
		if (more)
			hand_on(z);
	}
}

static void take(struct filter *f, struct request *r, struct buf *b)
{
	struct gzip *z = (struct gzip *)f;

	if (z->state && buf_len(b)) {
		z->dirty = true;
		z->n_in += buf_len(b);
		run(z, buf_head(b), buf_len(b), DEFLATE_MORE);
		if (!buf_len(z->out))
			hand_on(z);
	}
	buf_free(b);
}

static void flush(struct filter *f, struct request *r)
{
	struct gzip *z = (struct gzip *)f;

	if (!z->state || !z->dirty || !z->flushes)
		return;
	z->dirty = false;
	run(z, NULL, 0, DEFLATE_FLUSH);
	hand_on(z);
}

static void finish(struct filter *f, struct request *r)
{
	struct gzip *z = (struct gzip *)f;

	if (!z->state)
		return;
	run(z, NULL, 0, DEFLATE_END);
	hand_on(z);
	deflate_put(z->state);
	z->state = NULL;
	filter_finish(f, r);
}

/* Over gzip_buffers nothing more is to come in. */
static uint64_t held(const struct filter *f)
{
	const struct gzip *z = (const struct gzip *)f;
	uint64_t out = z->out ? buf_len(z->out) : 0;

	return z->r->ops->queued(z->r) >= z->waiting_max ? UINT32_MAX : out;
}

static void fini(struct filter *f, struct request *r)
{
	struct gzip *z = (struct gzip *)f;

	if (z->state)
		deflate_put(z->state);
	buf_free(z->out);
	z->state = NULL;
	z->out = NULL;
}

static const struct filter_ops ops = {
	.name = "gzip",
	.body = take,
	.finish = finish,
	.flush = flush,
	.held = held,
	.fini = fini,
};

bool gzip_ratio(const struct request *r, struct arena *a, struct slice *out)
{
	const struct filter *f = r->filters;
	const struct gzip *z;
	uint64_t hundredths;

	while (f && f->ops != &ops)
		f = f->next;
	z = (const struct gzip *)f;
	if (!z || z->state || !z->n_out)
		return false;
	hundredths = (z->n_in * 1000 / z->n_out + 5) / 10;
	*out = arena_printf(a, "%llu.%02llu", (unsigned long long)hundredths / 100,
			    (unsigned long long)hundredths % 100);
	return true;
}
