/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the passes after reading: values from the block around, defaults, each module's inherit()
 * and finish(). Reads no files and adds no blocks. */
#include "conf/lex.h"
#include "conf/load.h"
#include "core/err.h"

/* A default is text like any other, so it goes through the lexer and the row's own setter. */
static int apply_default(struct conf *c, struct conf_block *b, void *mod,
			 const struct conf_row *row)
{
	struct conf_node *n = arena_zalloc(&c->arena, sizeof *n);
	struct slice text = arena_printf(&c->arena, "%s %s;", row->name, row->deflt);
	struct lex lex;

	lex_init_param(&lex, &c->arena, "default", text);
	if (lex_next(&lex, n) != LEX_LINE)
		return conf_error_at(c, "default", 0, text.p, "%s", lex.error);
	if (n->n_args < row->args_min || (row->args_max >= 0 && n->n_args > row->args_max))
		return conf_error(c, n, "invalid number of arguments in \"%s\" directive",
				  row->name);
	if (row->type == CONF_CUSTOM)
		return row->set(c, b, mod, n, row);
	return conf_set_typed(c, b, mod, n, row);
}

static int inherit_row(struct conf *c, struct conf_block *b, void *mod, const void *parent,
		       const struct conf_row *row)
{
	size_t bytes = conf_value_bytes(row->type);

	if (row->type == CONF_BLOCK || (row->type == CONF_CUSTOM && !(row->flags & CONF_INHERIT)))
		return 0;
	if (conf_is_set(mod, row))
		return 0;
	if (parent) {
		memcpy((char *)mod + row->offset, (const char *)parent + row->offset, bytes);
		return 0;
	}
	return row->deflt ? apply_default(c, b, mod, row) : 0;
}

static int inherit_module(struct conf *c, struct conf_block *b, int id)
{
	const struct conf_module *m = c->modules[id];
	const void *parent = b->parent ? b->parent->mod[id] : NULL;
	int r;

	for (size_t i = 0; i < m->n_rows; i++) {
		r = inherit_row(c, b, b->mod[id], parent, &m->rows[i]);
		if (r < 0)
			return r;
	}
	return m->inherit ? m->inherit(c, b, b->mod[id], parent) : 0;
}

static int inherit_block(struct conf *c, struct conf_block *b)
{
	int r;

	for (int id = 0; id < CONF_N_MODULES; id++) {
		if (!b->mod[id])
			continue;
		r = inherit_module(c, b, id);
		if (r < 0)
			return r;
	}
	for (struct conf_block *child = b->first_child; child; child = child->next) {
		r = inherit_block(c, child);
		if (r < 0)
			return r;
	}
	return 0;
}

static int finish_blocks(struct conf *c, struct conf_block *b, int id)
{
	int r;

	if (b->mod[id]) {
		r = c->modules[id]->finish(c, b, b->mod[id]);
		if (r < 0)
			return r;
	}
	for (struct conf_block *child = b->first_child; child; child = child->next) {
		r = finish_blocks(c, child, id);
		if (r < 0)
			return r;
	}
	return 0;
}

int conf_inherit(struct conf *c)
{
	int r = inherit_block(c, c->main);

	for (int id = 0; r == 0 && id < CONF_N_MODULES; id++)
		if (c->modules[id] && c->modules[id]->finish)
			r = finish_blocks(c, c->main, id);
	return r;
}
