/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns `charset` and `charset_types`. Names a character set where an answer names none; changes no body: answers are not
 * converted. */
#include "proxy/charset.h"

#include "core/err.h"
#include "proxy/request.h"

struct charset_types {
	bool any; /* "*" */
	struct slice *v;
	int n;
};

struct charset_scope {	   /* MOD_CHARSET's struct in http, server, location, if */
	struct tmpl *name; /* NULL or empty: none */
	struct charset_types *types;
};

static const struct slice usual[] = {
	SLICE_INIT("text/html"),
	SLICE_INIT("text/xml"),
	SLICE_INIT("text/plain"),
	SLICE_INIT("text/vnd.wap.wml"),
	SLICE_INIT("application/javascript"),
	SLICE_INIT("application/rss+xml"),
};

static const struct charset_types usual_types = {
	.v = (struct slice *)usual,
	.n = sizeof usual / sizeof usual[0],
};

/* Media types are compared up to "; charset=" alone, as in nginx: with another parameter they are others. */
static bool is_listed(const struct charset_types *t, struct slice type)
{
	for (int i = 0; i < t->n; i++)
		if (slice_ieq(t->v[i], type))
			return true;
	return false;
}

static bool has_type(const struct charset_types *t, struct slice type)
{
	return is_listed(t, type) || t->any;
}

static bool has_charset(struct slice type)
{
	for (; type.n; type = slice_skip(type, 1)) {
		struct slice rest = slice_skip(type, 1);

		if (type.p[0] != ';')
			continue;
		while (rest.n && rest.p[0] == ' ')
			rest = slice_skip(rest, 1);
		if (slice_istarts(rest, SLICE("charset=")))
			return true;
	}
	return false;
}

void charset_step(struct request *r)
{
	const struct charset_scope *s = r->block->mod[MOD_CHARSET];
	struct slice type = r->resp.content_type, name;

	/* Redirects have none, as in nginx. */
	if (!s->name || !type.n || r->resp.status == 301 || r->resp.status == 302)
		return;
	if (has_charset(type) || !has_type(s->types ? s->types : &usual_types, type))
		return;
	name = tmpl_eval(s->name, r, &r->arena);
	if (!name.n || slice_find(name, '\r') >= 0 || slice_find(name, '\n') >= 0)
		return;
	r->resp.content_type =
		arena_printf(&r->arena, "%.*s; charset=%.*s", SLICE_FMT(type), SLICE_FMT(name));
}

static int set_charset(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	/* The word alone: a variable's "off" is a charset of that name, as in nginx. */
	struct slice name = slice_eq(n->args[0], SLICE("off")) ? SLICE("") : n->args[0];

	return conf_tmpl(c, n, name, &((struct charset_scope *)mod)->name);
}

static int set_types(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct charset_scope *s = mod;
	struct charset_types *t = s->types;
	struct slice *v;

	if (!t)
		t = s->types = arena_zalloc(&c->arena, sizeof *t);
	v = arena_alloc(&c->arena, ((size_t)t->n + (size_t)n->n_args + 1) * sizeof *v);
	if (t->n)
		memcpy(v, t->v, (size_t)t->n * sizeof *v);
	else
		v[t->n++] = SLICE("text/html");
	t->v = v;
	for (int i = 0; i < n->n_args; i++) {
		struct slice type = n->args[i];

		if (slice_eq(type, SLICE("*")))
			t->any = true;
		else if (is_listed(t, type))
			conf_warn(c, n, "duplicate MIME type \"%.*s\"", SLICE_FMT(type));
		else
			v[t->n++] = type;
	}
	return 0;
}

static const struct conf_row rows[] = {
	{.name = "charset",
	 .contexts = CTX_SCOPE | CTX_IF,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = offsetof(struct charset_scope, name),
	 .flags = CONF_INHERIT,
	 .set = set_charset,
	 .help = "CHARSET | off -- named in Content-Type where an answer of charset_types names none; "
		 "nothing is converted"},
	{.name = "charset_types",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .offset = offsetof(struct charset_scope, types),
	 .flags = CONF_INHERIT | CONF_MULTI,
	 .set = set_types,
	 .help = "TYPE ... | * -- which Content-Types get a charset, besides text/html; without it text/xml, "
		 "text/plain, text/vnd.wap.wml, application/javascript, application/rss+xml"},
};

const struct conf_module charset_module = {
	.name = "charset",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct charset_scope),
};
