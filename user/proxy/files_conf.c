/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the files module, and the table of types. Opens no file. */
#include "proxy/files_conf.h"

#include "core/err.h"
#include "core/hash.h"
#include "core/num.h"
#include "proxy/http_conf.h"

enum { BUCKETS = 128 };

struct type {
	struct type *next;
	struct slice extension, value;
};

struct files_types {
	struct type *bucket[BUCKETS];
};

static struct type **place_of(struct files_types *t, struct slice extension)
{
	struct type **at = &t->bucket[hash64_lower(extension, 0) % BUCKETS];

	while (*at && !slice_ieq((*at)->extension, extension))
		at = &(*at)->next;
	return at;
}

/* Behind the last dot of the last segment; a name that begins with the dot has none. */
static struct slice extension_of(struct slice path)
{
	for (size_t i = path.n; i > 2; i--) {
		if (path.p[i - 1] == '/')
			break;
		if (path.p[i - 1] == '.' && path.p[i - 2] != '/')
			return slice_skip(path, i);
	}
	return (struct slice){0};
}

struct slice files_conf_type(const struct files_scope *s, struct slice path)
{
	struct slice extension = extension_of(path);
	const struct type *t = extension.n ? *place_of(s->types, extension) : NULL;

	return t ? t->value : s->default_type;
}

static void add_type(struct conf *c, const struct conf_node *n, struct files_types *types,
		     struct slice extension, struct slice value)
{
	struct type **at = place_of(types, extension);

	if (*at) {
		conf_warn(c, n,
			  "duplicate extension \"%.*s\", content type: \"%.*s\", previous content "
			  "type: \"%.*s\"",
			  SLICE_FMT(extension), SLICE_FMT(value), SLICE_FMT((*at)->value));
	} else {
		*at = arena_zalloc(&c->arena, sizeof **at);
		(*at)->extension = extension;
	}
	(*at)->value = value;
}

static int set_types(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct files_scope *s = b->parent->mod[MOD_FILES];

	if (!s->types)
		s->types = arena_zalloc(&c->arena, sizeof *s->types);
	return 0;
}

/* A line of `types`: a type, and its extensions. */
static int free_line(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n)
{
	struct files_scope *s = mod;

	for (int i = 0; i < n->n_args; i++)
		add_type(c, n, s->types, n->args[i], n->name);
	return 0;
}

static struct files_types *usual_types(struct conf *c)
{
	struct files_types *t = arena_zalloc(&c->arena, sizeof *t);

	add_type(c, NULL, t, SLICE("html"), SLICE("text/html"));
	add_type(c, NULL, t, SLICE("gif"), SLICE("image/gif"));
	add_type(c, NULL, t, SLICE("jpg"), SLICE("image/jpeg"));
	return t;
}

/* Where a `root` or `alias` stands in B or one earlier in it. */
static int check_root(struct conf *c, const struct conf_block *b, const struct files_scope *s,
		      const struct conf_node *n, bool alias)
{
	const struct http_scope *http = b->mod[MOD_HTTP];

	if (s->root && s->root->alias == alias)
		return conf_error(c, n, "\"%.*s\" directive is duplicate", SLICE_FMT(n->name));
	if (s->root)
		return conf_error(
			c, n,
			"\"%.*s\" directive is duplicate, \"%s\" directive was specified earlier",
			SLICE_FMT(n->name), s->root->alias ? "alias" : "root");
	if (alias && http->loc_path.n && http->loc_path.p[0] == '@')
		return conf_error(
			c, n, "the \"alias\" directive cannot be used inside the named location");
	return 0;
}

static int set_root(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	const struct http_scope *http = b->mod[MOD_HTTP];
	bool alias = slice_eq(n->name, SLICE("alias"));
	struct files_scope *s = mod;
	struct slice path = n->args[0];
	struct files_root *root;

	if (check_root(c, b, s, n, alias))
		return -SL_EINVAL;
	for (size_t i = 0; i < path.n; i++)
		if (slice_starts(slice_skip(path, i), SLICE("$document_root")) ||
		    slice_starts(slice_skip(path, i), SLICE("${document_root}")) ||
		    slice_starts(slice_skip(path, i), SLICE("$realpath_root")) ||
		    slice_starts(slice_skip(path, i), SLICE("${realpath_root}")))
			return conf_error(
				c, n, "the %.*s variable cannot be used in the \"%.*s\" directive",
				path.p[i + 1] == '{' ? 16 : 14, path.p + i, SLICE_FMT(n->name));
	if (slice_find(path, '$') < 0)
		path = slice_cstr(conf_prefix_path(c, path));
	if (!alias && path.n && path.p[path.n - 1] == '/')
		path.n--;
	root = arena_zalloc(&c->arena, sizeof *root);
	root->alias = alias;
	if (alias) {
		root->under = http->loc_path;
		root->whole = http->loc_kind == ROUTE_REGEX;
	}
	s->root = root;
	return conf_tmpl(c, n, path, &root->path);
}

static int set_index(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct files_scope *s = mod;
	struct files_list *l = arena_zalloc(&c->arena, sizeof *l);
	int n_old = s->index ? s->index->n : 0;

	l->v = arena_alloc(&c->arena, (size_t)(n_old + n->n_args) * sizeof(struct tmpl *));
	if (n_old)
		memcpy(l->v, s->index->v, (size_t)n_old * sizeof(struct tmpl *));
	for (int i = 0; i < n->n_args; i++) {
		if (!n->args[i].n)
			return conf_error(c, n, "index \"\" in \"index\" directive is invalid");
		if (i < n->n_args - 1 && n->args[i].p[0] == '/')
			conf_warn(c, n,
				  "only the last index in \"index\" directive should be absolute");
		if (conf_tmpl(c, n, n->args[i], &l->v[n_old + i]))
			return -SL_EINVAL;
	}
	l->n = n_old + n->n_args;
	s->index = l;
	return 0;
}

static int set_try_files(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	struct slice last = n->args[n->n_args - 1];
	struct files_try *t = arena_zalloc(&c->arena, sizeof *t);
	uint64_t code;

	t->n = n->n_args - 1;
	t->v = arena_zalloc(&c->arena, (size_t)t->n * sizeof *t->v);
	for (int i = 0; i < t->n; i++) {
		struct slice name = n->args[i];

		t->v[i].dir = slice_ends(name, SLICE("/"));
		name.n -= t->v[i].dir;
		if (conf_tmpl(c, n, name, &t->v[i].name))
			return -SL_EINVAL;
	}
	((struct files_scope *)mod)->try_files = t;
	if (!last.n || last.p[0] != '=')
		return conf_tmpl(c, n, last, &t->last);
	if (num_u63(slice_skip(last, 1), &code) || code > 999)
		return conf_error(c, n, "invalid code \"%.*s\"", SLICE_FMT(last));
	t->status = (unsigned)code;
	return 0;
}

static int check_nodelay(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	if (((struct files_scope *)mod)->tcp_nodelay)
		return 0;
	return conf_error(c, n, "\"tcp_nodelay off\" is not supported: nothing is held back");
}

static int inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	const struct files_scope *outer = parent;
	struct files_scope *s = mod;

	if (!s->types)
		s->types = outer ? outer->types : usual_types(c);
	s->prefix = c->prefix;
	return 0;
}

#define AT(field) offsetof(struct files_scope, field)
#define FLAG(dname, ctx, field, dflt, text) \
	{ \
		.name = dname, .contexts = ctx, .args_min = 1, .args_max = 1, .type = CONF_FLAG, \
		.offset = AT(field), .deflt = dflt, .help = text \
	}

static const struct conf_row rows[] = {
	{.name = "root",
	 .contexts = CTX_SCOPE | CTX_IF,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = AT(root),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_root,
	 .help = "FOLDER -- where the files are, each below it at its request's path; may have variables"},
	{.name = "alias",
	 .contexts = CTX_LOCATION,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = AT(root),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_root,
	 .help = "PATH -- stands for the location's path: what follows that is looked for behind this; "
		 "may have variables"},
	{.name = "index",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .offset = AT(index),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .deflt = "index.html",
	 .set = set_index,
	 .help = "FILE ... -- which file answers for a folder: the first that is there"},
	{.name = "try_files",
	 .contexts = CTX_SERVER | CTX_LOCATION,
	 .args_min = 2,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .offset = AT(try_files),
	 .set = set_try_files,
	 .help = "FILE ... URI | =CODE | @NAME -- the first of the files (folders: with a final /) that "
		 "is there, else the last argument"},
	{.name = "types",
	 .contexts = CTX_SCOPE,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_MAP,
	 .flags = CONF_MULTI,
	 .set = set_types,
	 .help = "lines of TYPE EXTENSION ...: the Content-Type by a path's extension"},
	{.name = "default_type",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_STR,
	 .offset = AT(default_type),
	 .deflt = "text/plain",
	 .help = "Content-Type of files and of `return` where `types` has none"},
	FLAG("etag", CTX_SCOPE, etag, "on", "files get an ETag of their time and size"),
	FLAG("sendfile", CTX_SCOPE | CTX_IF, sendfile, "off",
	     "the kernel copies files to connections without TLS"),
	FLAG("tcp_nopush", CTX_SCOPE, tcp_nopush, "off",
	     "with sendfile: head and file go out in full packets"),
	{.name = "tcp_nodelay",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(tcp_nodelay),
	 .deflt = "on",
	 .set = check_nodelay,
	 .help = "what is written goes out at once; there is no other way"},
	FLAG("log_not_found", CTX_SCOPE, log_not_found, "on",
	     "files that are not there are written to the error log"),
};

const struct conf_module files_module = {
	.name = "files",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct files_scope),
	.inherit = inherit,
	.free_line = free_line,
};
