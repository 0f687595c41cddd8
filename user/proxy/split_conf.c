/* SPDX-License-Identifier: BSD-2-Clause */
/* `split_clients`: shares of the range of a hash, the same hash as nginx's, so that clients stay where they
 * are when one takes the place of the other. */
#include "proxy/split_conf.h"

#include "core/err.h"
#include "core/hash.h"
#include "proxy/request.h"
#include "proxy/vars_user.h"

enum { WHOLE = 10000 }; /* 100 % */

struct split_part {
	struct split_part *next;
	uint32_t share; /* in hundredths of a per cent; 0: all that is left */
	uint32_t end;	/* hashes below */
	struct slice value;
};

/* MOD_SPLIT's struct in a split_clients block. */
struct split {
	struct user_var *var; /* NULL: the block is another module's */
	struct tmpl *source;
	struct split_part *first, **tail;
};

static bool look_up(struct request *r, const void *data, struct slice *out)
{
	const struct split *s = data;
	uint32_t hash = hash_murmur2(tmpl_eval(s->source, r, &r->arena));
	const struct split_part *p = s->first;

	while (p && p->share && hash >= p->end)
		p = p->next;
	*out = p ? p->value : SLICE("");
	return true;
}

static int set_split(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct split *s = mod;

	s->tail = &s->first;
	s->var = vars_user_add(c, n, n->args[1]);
	return s->var ? conf_tmpl(c, n, n->args[0], &s->source) : -SL_EINVAL;
}

/* "12.34%" as 1234. */
static bool parse_share(struct slice s, uint32_t *out)
{
	uint32_t v = 0;
	int behind = -1;

	if (s.n < 2 || s.p[s.n - 1] != '%')
		return false;
	for (size_t i = 0; i + 1 < s.n; i++) {
		if (s.p[i] == '.' && behind < 0) {
			behind = 0;
			continue;
		}
		if (s.p[i] < '0' || s.p[i] > '9' || behind == 2 || v > WHOLE)
			return false;
		v = 10 * v + (uint32_t)(s.p[i] - '0');
		behind += behind >= 0;
	}
	for (behind = behind < 0 ? 0 : behind; behind < 2; behind++)
		v *= 10;
	*out = v;
	return v > 0;
}

static int free_line(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n)
{
	struct split *s = mod;
	struct split_part *p = arena_zalloc(&c->arena, sizeof *p);

	if (n->n_args != 1)
		return conf_error(c, n, "invalid number of the split_clients parameters");
	if (!slice_eq(n->name, SLICE("*")) && !parse_share(n->name, &p->share))
		return conf_error(c, n, "invalid percent value \"%.*s\"", SLICE_FMT(n->name));
	p->value = n->args[0];
	*s->tail = p;
	s->tail = &p->next;
	return 0;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct split *s = mod;
	uint64_t sum = 0, end = 0;

	if (!s->var)
		return 0;
	for (struct split_part *p = s->first; p; p = p->next) {
		sum = p->share ? sum + p->share : WHOLE;
		if (sum > WHOLE)
			return conf_error(c, b->node, "percent total is greater than 100%%");
		end += (uint64_t)p->share * UINT32_MAX / WHOLE;
		p->end = (uint32_t)end;
	}
	vars_user_compute(s->var, look_up, s, false);
	return 0;
}

static const struct conf_row rows[] = {
	{.name = "split_clients",
	 .contexts = CTX_HTTP,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_MAP,
	 .flags = CONF_MULTI,
	 .set = set_split,
	 .help = "TEXT $NAME -- $NAME is one of the values, by a hash of TEXT: `12.5% VALUE` ... `* VALUE` (what is left)"},
};

const struct conf_module split_module = {
	.name = "split_clients",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_MAP,
	.bytes = sizeof(struct split),
	.free_line = free_line,
	.finish = finish,
};
