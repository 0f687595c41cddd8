/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns reading: files, include, blocks, and which row a directive belongs to. What values mean is
 * in value.c and the modules; what happens after reading is in inherit.c. */
#include "conf/load.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/lex.h"
#include "conf/regex.h"
#include "core/err.h"

/* A block that is being read. */
struct frame {
	struct conf_block *block;
	const struct conf_module *opener; /* whose row opened it; NULL for main */
	bool *seen;			  /* a row each: stood here */
	int depth;
};

static int read_items(struct conf *c, struct frame *f, struct lex *lex,
		      const struct conf_node *open);

static int error_open(struct conf *c, const struct conf_node *n, const char *call, const char *path)
{
	return conf_error(c, n, "%s() \"%s\" failed (%d: %s)", call, path, errno, strerror(errno));
}

/* The whole file, on the heap; a pipe or a file that grows may have more than EXPECTED bytes. */
static int slurp(struct conf *c, int fd, const char *path, const struct conf_node *n,
		 size_t expected, struct slice *out)
{
	size_t room = 0, at = 0;
	char *text = NULL;
	ssize_t got = 1;

	while (got != 0 && at <= CONF_FILE_MAX && expected <= CONF_FILE_MAX) {
		if (at == room) {
			char *bigger = realloc(text, room = room ? 2 * room : expected + 1);

			if (!bigger)
				goto out_read;
			text = bigger;
		}
		got = read(fd, text + at, room - at);
		if (got < 0 && errno != EINTR)
			goto out_read;
		at += got > 0 ? (size_t)got : 0;
	}
	*out = slice_make(text, at);
	if (got == 0)
		return 0;
	free(text);
	return conf_error(c, n, "\"%s\" is larger than %d MB", path, CONF_FILE_MAX >> 20);
out_read:
	error_open(c, n, "read", path);
	free(text);
	return -SL_EINVAL;
}

/* For -T; a file that is included twice is shown once. */
static void remember(struct conf *c, const char *path, struct slice text)
{
	struct conf_source *s;

	for (s = c->sources; s; s = s->next)
		if (strcmp(s->path, path) == 0)
			return;
	s = arena_zalloc(&c->arena, sizeof *s);
	s->path = arena_cstr(&c->arena, slice_cstr(path));
	s->text = arena_dup(&c->arena, text);
	*c->loading->sources_tail = s;
	c->loading->sources_tail = &s->next;
}

static int enter_file(struct conf *c, struct conf_file *file, const char *path,
		      const struct conf_node *n)
{
	file->parent = c->loading->file;
	file->depth = file->parent ? file->parent->depth + 1 : 1;
	for (struct conf_file *p = file->parent; p; p = p->parent)
		if (p->dev == file->dev && p->ino == file->ino)
			return conf_error(c, n, "\"%s\" includes itself", path);
	if (file->depth > CONF_INCLUDE_MAX)
		return conf_error(c, n, "include of \"%s\" is nested deeper than %d", path,
				  CONF_INCLUDE_MAX);
	c->loading->file = file;
	return 0;
}

static int read_file(struct conf *c, struct frame *f, const char *path, const struct conf_node *n)
{
	struct conf_file file = {0};
	struct slice text;
	struct stat st;
	struct lex lex;
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_open(c, n, "open", path);
	if (fstat(fd, &st) < 0) {
		r = error_open(c, n, "fstat", path);
		goto out_close;
	}
	file.dev = st.st_dev;
	file.ino = st.st_ino;
	r = enter_file(c, &file, path, n);
	if (r < 0)
		goto out_close;
	r = slurp(c, fd, path, n, st.st_size > 0 ? (size_t)st.st_size : 4096, &text);
	if (r == 0) {
		remember(c, path, text);
		lex_init(&lex, &c->arena, arena_cstr(&c->arena, slice_cstr(path)), text);
		r = read_items(c, f, &lex, NULL);
		free((char *)text.p);
	}
	c->loading->file = file.parent;
out_close:
	close(fd);
	return r;
}

static int include_glob(struct conf *c, struct frame *f, const char *pattern,
			const struct conf_node *n)
{
	glob_t g = {0};
	int r = glob(pattern, 0, NULL, &g);

	if (r == GLOB_NOMATCH)
		r = 0;
	else if (r)
		r = conf_error(c, n, "glob() \"%s\" failed", pattern);
	for (size_t i = 0; r == 0 && i < g.gl_pathc; i++)
		r = read_file(c, f, g.gl_pathv[i], n);
	globfree(&g);
	return r;
}

static int include(struct conf *c, struct frame *f, const struct conf_node *n)
{
	const char *path;

	if (c->loading->no_include)
		return conf_error(c, n, "\"include\" directive is not allowed here");
	path = conf_path(c, n->args[0]);
	if (strpbrk(path, "*?["))
		return include_glob(c, f, path, n);
	return read_file(c, f, path, n);
}

static void init_unset(const struct conf_module *m, void *mod)
{
	const int64_t unset = CONF_UNSET;

	for (size_t i = 0; i < m->n_rows; i++) {
		const struct conf_row *row = &m->rows[i];

		if (conf_value_bytes(row->type) == sizeof unset && row->type != CONF_CUSTOM &&
		    row->type != CONF_TMPL)
			memcpy((char *)mod + row->offset, &unset, sizeof unset);
	}
}

static unsigned contexts_of(const struct conf_module *m)
{
	return m->contexts | (m->contexts & CTX_LOCATION ? CTX_PART : 0);
}

static void frame_init(struct conf *c, struct frame *f, struct conf_block *parent,
		       enum conf_ctx ctx, const struct conf_node *n)
{
	struct conf_block *b = arena_zalloc(&c->arena, sizeof *b);

	b->ctx = ctx;
	b->parent = parent;
	b->node = n;
	for (int id = 0; id < CONF_N_MODULES; id++) {
		const struct conf_module *m = c->modules[id];

		if (!m || !(contexts_of(m) & ctx))
			continue;
		b->mod[id] = arena_zalloc(&c->arena, m->bytes);
		init_unset(m, b->mod[id]);
	}
	if (parent) {
		if (parent->last_child)
			parent->last_child->next = b;
		else
			parent->first_child = b;
		parent->last_child = b;
	}
	*f = (struct frame){.block = b, .seen = arena_zalloc(&c->arena, c->loading->n_rows + 1)};
}

/* A set() that failed without a word must not leave the user without one. */
static int explain(struct conf *c, const struct conf_node *n, int n_errors_before, int r)
{
	struct slice name = conf_clip(n->name);

	if (r < 0 && c->n_errors == n_errors_before)
		return conf_error(c, n, "\"%.*s\" directive invalid value", SLICE_FMT(name));
	return r < 0 ? -SL_EINVAL : 0;
}

/* N's row: by name and context. *index is its place among all rows, *id its module. */
static const struct conf_row *find_row(const struct conf *c, struct slice name, enum conf_ctx ctx,
				       int *id, size_t *index)
{
	size_t before = 0;

	for (*id = 0; *id < CONF_N_MODULES; ++*id) {
		const struct conf_module *m = c->modules[*id];

		for (size_t i = 0; m && i < m->n_rows; i++) {
			const struct conf_row *row = &m->rows[i];

			if ((row->contexts & ctx) && slice_eq(name, slice_cstr(row->name))) {
				*index = before + i;
				return row;
			}
		}
		before += m ? m->n_rows : 0;
	}
	return NULL;
}

static int check_args(struct conf *c, const struct conf_node *n, int min, int max)
{
	struct slice name = conf_clip(n->name);
	char hint[96];

	if (n->n_args >= min && (max < 0 || n->n_args <= max))
		return 0;
	if (max < 0)
		snprintf(hint, sizeof hint, "expected at least %d, got %d", min, n->n_args);
	else if (min == max)
		snprintf(hint, sizeof hint, "expected %d, got %d", min, n->n_args);
	else
		snprintf(hint, sizeof hint, "expected %d to %d, got %d", min, max, n->n_args);
	return conf_error_hint(c, n, hint, "invalid number of arguments in \"%.*s\" directive",
			       SLICE_FMT(name));
}

static int check_end(struct conf *c, const struct conf_node *n, bool is_block, enum lex_kind kind)
{
	struct slice name = conf_clip(n->name);

	if (!is_block && kind == LEX_OPEN)
		return conf_error(c, n, "directive \"%.*s\" is not terminated by \";\"",
				  SLICE_FMT(name));
	if (is_block && kind == LEX_LINE)
		return conf_error(c, n, "directive \"%.*s\" has no opening \"{\"", SLICE_FMT(name));
	return 0;
}

static int open_block(struct conf *c, struct frame *f, struct lex *lex, const struct conf_node *n,
		      const struct conf_row *row, int id)
{
	struct slice name = conf_clip(n->name);
	int r, n_errors = c->n_errors;
	struct frame inner;

	if (f->depth >= CONF_DEPTH_MAX)
		return conf_error(c, n, "block \"%.*s\" is nested deeper than %d", SLICE_FMT(name),
				  CONF_DEPTH_MAX);
	frame_init(c, &inner, f->block, row->block_ctx, n);
	inner.opener = c->modules[id];
	inner.depth = f->depth + 1;
	if (row->set) {
		r = explain(c, n, n_errors, row->set(c, inner.block, inner.block->mod[id], n, row));
		if (r < 0)
			return r;
	}
	return read_items(c, &inner, lex, n);
}

/* Lines of map and its like are data, so that their names are not directives but for those of the
 * block itself. */
static bool is_free_line(const struct frame *f, const struct conf_row *row,
			 const struct conf_node *n)
{
	return !row && f->block->ctx == CTX_MAP && f->opener->free_line &&
	       !slice_eq(n->name, SLICE("include"));
}

static int free_line(struct conf *c, struct frame *f, const struct conf_node *n, enum lex_kind kind)
{
	const struct conf_module *m = f->opener;
	int id = 0, n_errors = c->n_errors;

	if (kind == LEX_OPEN)
		return conf_error(c, n, "unexpected \"{\"");
	while (c->modules[id] != m)
		id++;
	return explain(c, n, n_errors,
		       m->free_line(c, f->block, conf_get(f->block, (enum conf_module_id)id), n));
}

static int directive(struct conf *c, struct frame *f, struct lex *lex, const struct conf_node *n,
		     enum lex_kind kind)
{
	int id, r, n_errors = c->n_errors;
	const struct conf_row *row;
	size_t index = 0;

	row = find_row(c, n->name, f->block->ctx, &id, &index);
	if (is_free_line(f, row, n))
		return free_line(c, f, n, kind);
	if (!row && slice_eq(n->name, SLICE("include"))) {
		r = check_end(c, n, false, kind);
		if (r == 0)
			r = check_args(c, n, 1, 1);
		return r == 0 ? include(c, f, n) : r;
	}
	if (!row)
		return conf_error_unknown(c, n, f->block->ctx);
	r = check_end(c, n, row->type == CONF_BLOCK, kind);
	if (r == 0)
		r = check_args(c, n, row->args_min, row->args_max);
	if (r < 0)
		return r;
	if (f->seen[index] && !(row->flags & CONF_MULTI))
		return conf_error(c, n, "\"%s\" directive is duplicate", row->name);
	f->seen[index] = true;
	if (row->type == CONF_BLOCK)
		return open_block(c, f, lex, n, row, id);
	if (row->type == CONF_CUSTOM)
		r = row->set(c, f->block, f->block->mod[id], n, row);
	else
		r = conf_set_typed(c, f->block, f->block->mod[id], n, row);
	return explain(c, n, n_errors, r);
}

/* A block is balanced within its file, so that each error is found in the file that has it. */
static int at_end(struct conf *c, const struct lex *lex, const struct conf_node *open)
{
	struct slice name;
	char hint[300];

	if (!open)
		return 0;
	name = conf_clip(open->name);
	snprintf(hint, sizeof hint, "to close \"%.*s\" of line %u", SLICE_FMT(name), open->line);
	return conf_error_at(c, lex->file, lex->line, hint,
			     "unexpected end of file, expecting \"}\"");
}

/* Until the end of the text, or with OPEN until the '}' of that block. */
static int read_items(struct conf *c, struct frame *f, struct lex *lex,
		      const struct conf_node *open)
{
	struct conf_node *n;
	int r;

	for (;;) {
		n = arena_zalloc(&c->arena, sizeof *n);
		r = lex_next(lex, n);
		if (r < 0)
			return conf_error_at(c, lex->file, lex->line, lex->hint, "%s", lex->error);
		if (r == LEX_END)
			return at_end(c, lex, open);
		if (r == LEX_CLOSE)
			return open ? 0
				    : conf_error_at(c, lex->file, lex->line, NULL,
						    "unexpected \"}\"");
		if (r == LEX_OPEN && lex->param)
			return conf_error(c, n, "block directives are not supported in -g option");
		r = directive(c, f, lex, n, (enum lex_kind)r);
		if (r < 0)
			return r;
	}
}

/* Mistakes in a module's table are found at the first start, not in the field. */
static void check_row(const struct conf_module *m, const struct conf_row *row)
{
	bool typed = row->type != CONF_CUSTOM && row->type != CONF_BLOCK;
	bool words = row->type == CONF_ENUM || row->type == CONF_BITS;

	assert(row->name && row->contexts);
	assert(row->args_min >= 0 && (row->args_max < 0 || row->args_max >= row->args_min));
	assert(row->type != CONF_CUSTOM || row->set);
	assert(row->type != CONF_BLOCK || row->block_ctx);
	assert(!words || row->values);
	if (typed) {
		assert(row->args_min >= 1 && (row->args_max == 1 || row->type == CONF_BITS));
		assert((row->contexts & ~contexts_of(m)) == 0);
	}
	if (typed || (row->type == CONF_CUSTOM && row->flags & CONF_INHERIT))
		assert(row->offset + conf_value_bytes(row->type) <= m->bytes);
}

static void begin(struct conf *c, struct conf_loading *ld)
{
	ld->reading = true;
	ld->pending_tail = &ld->pending;
	ld->sources_tail = &c->sources;
	c->loading = ld;
	if (!c->arena.block_bytes)
		arena_init(&c->arena, 65536);
	for (int id = 0; id < CONF_N_MODULES; id++) {
		const struct conf_module *m = c->modules[id];

		for (size_t i = 0; m && i < m->n_rows; i++)
			check_row(m, &m->rows[i]);
		ld->n_rows += m ? m->n_rows : 0;
	}
}

static int read_text(struct conf *c, struct frame *f, struct slice text)
{
	struct lex lex;

	remember(c, c->path, text);
	lex_init(&lex, &c->arena, c->path, text);
	return read_items(c, f, &lex, NULL);
}

/* TEXT NULL: the file c->path. */
static int load(struct conf *c, struct conf_loading *ld, struct slice globals,
		const struct slice *text)
{
	struct frame f;
	struct lex lex;
	int r;

	begin(c, ld);
	frame_init(c, &f, NULL, CTX_MAIN, NULL);
	c->main = f.block;
	lex_init_param(&lex, &c->arena, "command line", globals);
	r = read_items(c, &f, &lex, NULL);
	if (r == 0)
		r = text ? read_text(c, &f, *text) : read_file(c, &f, c->path, NULL);
	ld->reading = false;
	if (r == 0)
		r = conf_resolve_pending(c);
	if (r == 0)
		r = conf_inherit(c);
	if (r < 0 && c->n_errors == 0)
		conf_error(c, NULL, "configuration \"%s\" is refused", c->path);
	c->loading = NULL;
	return c->n_errors ? -SL_EINVAL : 0;
}

int conf_load(struct conf *c, struct slice globals)
{
	struct conf_loading ld = {0};

	return load(c, &ld, globals, NULL);
}

int conf_load_text(struct conf *c, struct slice globals, struct slice text)
{
	struct conf_loading ld = {.no_include = true};

	return load(c, &ld, globals, &text);
}

void conf_free(struct conf *c)
{
	for (struct log_sink *s = c->sinks; s; s = s->next)
		log_sink_close(s);
	regex_free_all(c);
	c->sinks = NULL;
	c->main = NULL;
	c->sources = NULL;
	c->user_vars = NULL;
	c->n_user_vars = c->user_vars_room = 0;
	arena_fini(&c->arena);
}
