/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the filters module. Changes no answer. */
#include "proxy/filters_conf.h"

#include "core/err.h"
#include "http/chars.h"
#include "http/headers.h"

static bool is_token(struct slice s)
{
	return s.n && chars_skip(s.p, s.p + s.n, CHARS_TOKEN) == s.p + s.n;
}

/* What says where an answer ends, or is read before its body. */
static bool is_framing(struct slice name, bool trailer)
{
	switch (hdr_id_of(name, hdr_hash(name))) {
	case HDR_CONTENT_LENGTH:
	case HDR_TRANSFER_ENCODING:
	case HDR_CONNECTION:
		return true;
	case HDR_CONTENT_ENCODING:
	case HDR_CONTENT_TYPE:
	case HDR_HOST:
	case HDR_TRAILER:
	case HDR_SET_COOKIE:
		return trailer;
	default:
		return false;
	}
}

static int add(struct conf *c, const struct conf_node *n, struct add_header **list, bool trailer)
{
	struct add_header *h = arena_zalloc(&c->arena, sizeof *h);

	if (n->n_args == 3 && !slice_eq(n->args[2], SLICE("always")))
		return conf_error_hint(c, n, "only \"always\" may follow the value",
				       "invalid parameter \"%.*s\"", SLICE_FMT(n->args[2]));
	if (!is_token(n->args[0]))
		return conf_error(c, n, "invalid header name \"%.*s\"", SLICE_FMT(n->args[0]));
	/* Many files answer OPTIONS by "add_header Content-Length 0; return 204;". */
	if (slice_ieq(n->args[0], SLICE("Content-Length")) && slice_eq(n->args[1], SLICE("0")) &&
	    !trailer)
		return conf_warn(c, n,
				 "\"add_header Content-Length 0\" has no effect: "
				 "the length of an answer is always told");
	if (is_framing(n->args[0], trailer))
		return conf_error(c, n, "\"%.*s\" cannot set \"%.*s\": it frames the answer",
				  SLICE_FMT(n->name), SLICE_FMT(n->args[0]));
	h->name = n->args[0];
	h->always = n->n_args == 3;
	while (*list)
		list = &(*list)->next;
	*list = h;
	return conf_tmpl(c, n, n->args[1], &h->value);
}

static int set_add_header(struct conf *c, struct conf_block *b, void *mod,
			  const struct conf_node *n, const struct conf_row *row)
{
	return add(c, n, &((struct filters_scope *)mod)->add_headers, false);
}

static int set_add_trailer(struct conf *c, struct conf_block *b, void *mod,
			   const struct conf_node *n, const struct conf_row *row)
{
	return add(c, n, &((struct filters_scope *)mod)->add_trailers, true);
}

static int set_expires(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	struct filters_scope *s = mod;
	struct expires *e = arena_zalloc(&c->arena, sizeof *e);
	struct slice value = n->args[n->n_args - 1];
	const char *wrong;

	e->kind = n->n_args == 2 ? EXPIRES_MODIFIED : EXPIRES_ACCESS;
	if (n->n_args == 2 && !slice_eq(n->args[0], SLICE("modified")))
		return conf_error(c, n, "\"expires\" directive invalid value");
	s->expires = e;
	if (slice_find(value, '$') >= 0)
		return conf_tmpl(c, n, value, &e->value);
	wrong = expires_parse(value, e);
	return wrong ? conf_error(c, n, "\"expires\" directive %s", wrong) : 0;
}

/* Without variables it must be a size now; with them it is looked at for each answer. */
static int check_rate(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	int64_t bytes;

	if (slice_find(n->args[0], '$') >= 0 || conf_parse_size(n->args[0], &bytes) == 0)
		return 0;
	return conf_error(c, n, "\"%s\" directive invalid value", row->name);
}

#define AT(field) offsetof(struct filters_scope, field)

static const struct conf_value ims_words[] = {
	{"off", IMS_OFF}, {"exact", IMS_EXACT}, {"before", IMS_BEFORE}, {NULL, 0}};

static const struct conf_row rows[] = {
	{.name = "add_header",
	 .contexts = CTX_SCOPE | CTX_IF,
	 .args_min = 2,
	 .args_max = 3,
	 .type = CONF_CUSTOM,
	 .offset = AT(add_headers),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_add_header,
	 .help = "NAME VALUE [always] -- a field for answers (without always: 200, 201, 204, 206, "
		 "301-304, 307, 308)"},
	{.name = "add_trailer",
	 .contexts = CTX_SCOPE | CTX_IF,
	 .args_min = 2,
	 .args_max = 3,
	 .type = CONF_CUSTOM,
	 .offset = AT(add_trailers),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_add_trailer,
	 .help = "NAME VALUE [always] -- a field behind the body, which is sent in chunks for it"},
	{.name = "expires",
	 .contexts = CTX_SCOPE | CTX_IF,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(expires),
	 .flags = CONF_INHERIT,
	 .set = set_expires,
	 .help = "[modified] TIME | @TIME | epoch | max | off -- Expires and Cache-Control of "
		 "answers, in place of theirs"},
	{.name = "if_modified_since",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(if_modified_since),
	 .values = ims_words,
	 .deflt = "exact",
	 .help = "when an If-Modified-Since of the client's gets 304"},
	{.name = "max_ranges",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(max_ranges),
	 .max = INT32_MAX,
	 .deflt = "2147483647",
	 .help = "a Range field with more ranges is not looked at; 0: none is"},
	{.name = "proxy_force_ranges",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(force_ranges),
	 .deflt = "off",
	 .help = "an upstream's whole answer is cut to the one range that the client asks for"},
	{.name = "limit_rate",
	 .contexts = CTX_SCOPE | CTX_IF,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_TMPL,
	 .offset = AT(limit_rate),
	 .set = check_rate,
	 .help = "SIZE -- bytes a second of an answer, may have variables; 0: no limit"},
	{.name = "limit_rate_after",
	 .contexts = CTX_SCOPE | CTX_IF,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_TMPL,
	 .offset = AT(limit_rate_after),
	 .set = check_rate,
	 .help = "SIZE -- so much of an answer goes out without limit_rate, may have variables"},
};

const struct conf_module filters_module = {
	.name = "filters",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct filters_scope),
};
