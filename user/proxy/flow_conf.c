/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of module MOD_FLOW. Redirects nobody: error_page.c and pipeline.c do. */
#include "proxy/flow_conf.h"

#include "core/err.h"
#include "core/num.h"

static int bad_value(struct conf *c, const struct conf_node *n, struct slice arg)
{
	return conf_error(c, n, "invalid value \"%.*s\"", SLICE_FMT(arg));
}

/* "=CODE" or "=" */
static int parse_become(struct conf *c, const struct conf_node *n, struct slice arg,
			int32_t *become)
{
	uint64_t status = ERROR_PAGE_OWN;

	if (arg.n > 1 && (num_u63(slice_skip(arg, 1), &status) || status > 999))
		return bad_value(c, n, arg);
	*become = (int32_t)status;
	return 0;
}

static bool is_shown_as_400(uint64_t status)
{
	return status >= 494 && status <= 497;
}

static int set_error_page(struct conf *c, struct conf_block *b, void *mod,
			  const struct conf_node *n, const struct conf_row *row)
{
	struct flow_scope *s = mod;
	struct error_page **at = &s->error_pages;
	int n_codes = n->n_args - 1;
	int32_t become = ERROR_PAGE_SAME;
	struct tmpl *uri;

	if (n->args[n_codes - 1].n && n->args[n_codes - 1].p[0] == '=') {
		n_codes--;
		if (n_codes == 0)
			return bad_value(c, n, n->args[0]);
		if (parse_become(c, n, n->args[n_codes], &become))
			return -SL_EINVAL;
	}
	if (conf_tmpl(c, n, n->args[n->n_args - 1], &uri))
		return -SL_EINVAL;
	while (*at)
		at = &(*at)->next;
	for (int i = 0; i < n_codes; i++) {
		struct error_page *p = arena_zalloc(&c->arena, sizeof *p);
		uint64_t status;

		if (num_u63(n->args[i], &status) || status == 499)
			return bad_value(c, n, n->args[i]);
		if (status < 300 || status > 599)
			return conf_error(c, n, "value \"%.*s\" must be between 300 and 599",
					  SLICE_FMT(n->args[i]));
		p->status = (uint16_t)status;
		p->become = become == ERROR_PAGE_SAME && is_shown_as_400(status) ? 400 : become;
		p->uri = uri;
		*at = p;
		at = &p->next;
	}
	return 0;
}

static int set_internal(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	struct flow_scope *s = mod;

	s->internal = true;
	return 0;
}

static const struct {
	const char *name;
	enum http_method method;
} methods[] = {
	{"GET", METHOD_GET},
	{"HEAD", METHOD_HEAD},
	{"POST", METHOD_POST},
	{"PUT", METHOD_PUT},
	{"DELETE", METHOD_DELETE},
	{"MKCOL", METHOD_MKCOL},
	{"COPY", METHOD_COPY},
	{"MOVE", METHOD_MOVE},
	{"OPTIONS", METHOD_OPTIONS},
	{"PROPFIND", METHOD_PROPFIND},
	{"LOCK", METHOD_LOCK},
	{"UNLOCK", METHOD_UNLOCK},
	{"PROPPATCH", METHOD_PROPPATCH},
	{"PATCH", METHOD_PATCH},
};

static int set_limit_except(struct conf *c, struct conf_block *b, void *mod,
			    const struct conf_node *n, const struct conf_row *row)
{
	struct flow_scope *outer = b->parent->mod[MOD_FLOW];
	size_t k, n_methods = sizeof methods / sizeof methods[0];

	outer->except = b;
	outer->limited = UINT32_MAX;
	for (int i = 0; i < n->n_args; i++) {
		for (k = 0; k < n_methods; k++)
			if (slice_ieq(n->args[i], slice_cstr(methods[k].name)))
				break;
		if (k == n_methods)
			return conf_error(c, n, "invalid method \"%.*s\"", SLICE_FMT(n->args[i]));
		outer->limited &= ~(1U << methods[k].method);
	}
	if (!(outer->limited & 1U << METHOD_GET))
		outer->limited &= ~(1U << METHOD_HEAD);
	return 0;
}

const struct error_page *flow_conf_page(const struct flow_scope *s, unsigned status)
{
	const struct error_page *p = s->error_pages;

	while (p && p->status != status)
		p = p->next;
	return p;
}

const struct conf_block *flow_conf_limited(const struct conf_block *b, enum http_method method)
{
	const struct flow_scope *s = b->mod[MOD_FLOW];

	return s->except && s->limited & 1U << method ? s->except : b;
}

#define AT(field) offsetof(struct flow_scope, field)

static const struct conf_row rows[] = {
	{
		.name = "error_page",
		.contexts = CTX_SCOPE | CTX_IF,
		.args_min = 2,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.offset = AT(error_pages),
		.flags = CONF_MULTI | CONF_INHERIT,
		.set = set_error_page,
		.help = "CODE ... [=[CODE]] PATH | @NAME | URL -- serves errors by another path, by a "
			"named location, or by a redirect; = takes the status of what answers",
	},
	{
		.name = "recursive_error_pages",
		.contexts = CTX_SCOPE,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_FLAG,
		.offset = AT(recursive_error_pages),
		.deflt = "off",
		.help = "an error of an error page has an error page too",
	},
	{
		.name = "internal",
		.contexts = CTX_LOCATION,
		.args_min = 0,
		.args_max = 0,
		.type = CONF_CUSTOM,
		.set = set_internal,
		.help = "404 for what clients ask for; internal redirects reach the location",
	},
	{
		.name = "limit_except",
		.contexts = CTX_LOCATION,
		.args_min = 1,
		.args_max = -1,
		.type = CONF_BLOCK,
		.block_ctx = CTX_LIMIT_EXCEPT,
		.set = set_limit_except,
		.help = "METHOD ... -- what holds for other methods than these; GET includes HEAD",
	},
};

const struct conf_module flow_module = {
	.name = "flow",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct flow_scope),
};
