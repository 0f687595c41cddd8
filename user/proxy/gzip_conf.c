/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the gzip module. Compresses nothing. */
#include "proxy/gzip_conf.h"

#include "conf/regex.h"
#include "core/err.h"
#include "core/num.h"

static int set_types(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct gzip_scope *g = mod;
	struct gzip_types *t = g->types;
	struct slice *v;

	if (!t)
		t = g->types = arena_zalloc(&c->arena, sizeof *t);
	v = arena_alloc(&c->arena, ((size_t)t->n + (size_t)n->n_args + 1) * sizeof *v);
	if (t->n)
		memcpy(v, t->v, (size_t)t->n * sizeof *v);
	else
		v[t->n++] = SLICE("text/html");
	t->v = v;
	for (int i = 0; i < n->n_args; i++) {
		bool known = false;

		if (slice_eq(n->args[i], SLICE("*"))) {
			t->any = true;
			continue;
		}
		for (int k = 0; k < t->n; k++)
			known |= slice_ieq(t->v[k], n->args[i]);
		if (known)
			conf_warn(c, n, "duplicate MIME type \"%.*s\"", SLICE_FMT(n->args[i]));
		else
			t->v[t->n++] = n->args[i];
	}
	return 0;
}

/* What a media type is compared by: all, or, as nginx has it, what stands before "; charset=". */
static struct slice without_charset(struct slice type)
{
	for (size_t i = 0; i < type.n; i++) {
		struct slice rest = slice_skip(type, i + 1);

		if (type.p[i] != ';')
			continue;
		while (rest.n && rest.p[0] == ' ')
			rest = slice_skip(rest, 1);
		if (slice_istarts(rest, SLICE("charset=")))
			return slice_make(type.p, i);
	}
	return type;
}

bool gzip_conf_has_type(const struct gzip_scope *g, struct slice content_type)
{
	if (g->types->any)
		return true;
	content_type = without_charset(content_type);
	for (int i = 0; i < g->types->n; i++)
		if (slice_ieq(g->types->v[i], content_type))
			return true;
	return false;
}

static int set_buffers(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	struct gzip_buffers *buffers = arena_zalloc(&c->arena, sizeof *buffers);
	uint64_t count;
	int64_t bytes;

	if (num_u63(n->args[0], &count) || count == 0 || count > 65536 ||
	    conf_parse_size(n->args[1], &bytes) || bytes < 256 || bytes > 1 << 24)
		return conf_error_hint(c, n, "a number from 1 to 65536, a size from 256 to 16m",
				       "\"%s\" directive invalid value", row->name);
	buffers->bytes = count * (uint64_t)bytes;
	memcpy((char *)mod + row->offset, &buffers, sizeof(void *));
	return 0;
}

static int set_disable(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	struct gzip_disable *d = arena_zalloc(&c->arena, sizeof *d);
	struct gzip_scope *g = mod;

	if (g->disable)
		*d = *g->disable;
	d->v = arena_alloc(&c->arena, (size_t)(d->n + n->n_args) * sizeof(struct regex *));
	if (d->n)
		memcpy(d->v, g->disable->v, (size_t)d->n * sizeof(struct regex *));
	g->disable = d;
	for (int i = 0; i < n->n_args; i++) {
		if (slice_eq(n->args[i], SLICE("msie6")))
			d->msie6 = true;
		else if (slice_eq(n->args[i], SLICE("degradation")))
			return conf_error(c, n, "\"gzip_disable degradation\" is not supported");
		else if (regex_new(c, n, n->args[i], true, &d->v[d->n]))
			return -SL_EINVAL;
		else
			d->n++;
	}
	return 0;
}

static int inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	const struct gzip_scope *outer = parent;
	struct gzip_scope *g = mod;

	/* As nginx: each of the two kinds is inherited where it is not set. */
	if (outer && outer->disable && g->disable != outer->disable) {
		g->disable->msie6 |= outer->disable->msie6;
		if (!g->disable->n) {
			g->disable->v = outer->disable->v;
			g->disable->n = outer->disable->n;
		}
	}
	if (!g->types) {
		g->types = arena_zalloc(&c->arena, sizeof *g->types);
		g->types->v = arena_alloc(&c->arena, sizeof *g->types->v);
		g->types->v[g->types->n++] = SLICE("text/html");
	}
	return 0;
}

static const struct conf_value proxied_words[] = {
	{"off", GZIP_PROXIED_OFF},	     {"expired", GZIP_PROXIED_EXPIRED},
	{"no-cache", GZIP_PROXIED_NO_CACHE}, {"no-store", GZIP_PROXIED_NO_STORE},
	{"private", GZIP_PROXIED_PRIVATE},   {"no_last_modified", GZIP_PROXIED_NO_LAST_MODIFIED},
	{"no_etag", GZIP_PROXIED_NO_ETAG},   {"auth", GZIP_PROXIED_AUTH},
	{"any", GZIP_PROXIED_ANY},	     {NULL, 0},
};

static const struct conf_value static_words[] = {{"off", GZIP_STATIC_OFF},
						 {"on", GZIP_STATIC_ON},
						 {"always", GZIP_STATIC_ALWAYS},
						 {NULL, 0}};

static const struct conf_value versions[] = {{"1.0", 0}, {"1.1", 1}, {NULL, 0}};

#define AT(field) offsetof(struct gzip_scope, field)

static const struct conf_row rows[] = {
	{.name = "gzip",
	 .contexts = CTX_SCOPE | CTX_IF,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(on),
	 .deflt = "off",
	 .help = "compresses answers for clients that take gzip"},
	{.name = "gzip_types",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .offset = AT(types),
	 .flags = CONF_INHERIT | CONF_MULTI,
	 .set = set_types,
	 .help = "TYPE ... | * -- which Content-Types are compressed besides text/html"},
	{.name = "gzip_min_length",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = AT(min_length_bytes),
	 .deflt = "20",
	 .help = "answers whose Content-Length is less are not compressed"},
	{.name = "gzip_comp_level",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(comp_level),
	 .min = 1,
	 .max = 9,
	 .deflt = "1",
	 .help = "1 is the fastest, 9 the smallest"},
	{.name = "gzip_http_version",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(http_minor),
	 .values = versions,
	 .deflt = "1.1",
	 .help = "the least version of a request whose answer is compressed"},
	{.name = "gzip_proxied",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_BITS,
	 .offset = AT(proxied),
	 .values = proxied_words,
	 .deflt = "off",
	 .help = "when answers to requests with a Via field are compressed"},
	{.name = "gzip_vary",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(vary),
	 .deflt = "off",
	 .help = "adds \"Vary: Accept-Encoding\" where gzip or gunzip depend on it"},
	{.name = "gzip_disable",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .offset = AT(disable),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_disable,
	 .help = "REGEX ... | msie6 -- User-Agents that get nothing compressed"},
	{.name = "gzip_buffers",
	 .contexts = CTX_SCOPE,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(buffers),
	 .flags = CONF_INHERIT,
	 .deflt = "16 8k",
	 .set = set_buffers,
	 .help = "NUMBER SIZE -- how much of a compressed answer may wait for its client"},
	{.name = "gzip_static",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(gzip_static),
	 .values = static_words,
	 .deflt = "off",
	 .help = "a file with .gz behind its name is sent in its place to clients that take gzip"},
	{.name = "gunzip",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(gunzip),
	 .deflt = "off",
	 .help = "decompresses answers for clients that do not take gzip"},
	{.name = "gunzip_buffers",
	 .contexts = CTX_SCOPE,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(gunzip_buffers),
	 .flags = CONF_INHERIT,
	 .deflt = "16 8k",
	 .set = set_buffers,
	 .help = "NUMBER SIZE -- how much of a decompressed answer may wait for its client"},
};

const struct conf_module gzip_module = {
	.name = "gzip",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE | CTX_PART,
	.bytes = sizeof(struct gzip_scope),
	.inherit = inherit,
};
