/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of values: sizes, times, words, paths, and the setter of typed rows. Knows no
 * directive. */
#include <stdio.h>

#include "conf/load.h"
#include "core/err.h"
#include "core/num.h"

static int scaled(uint64_t v, int64_t scale, int64_t *out)
{
	if (v > (uint64_t)(INT64_MAX / scale))
		return -SL_ELIMIT;
	*out = (int64_t)v * scale;
	return 0;
}

int conf_parse_size(struct slice s, int64_t *bytes)
{
	int64_t scale = 1;
	uint64_t v;
	int r;

	switch (s.n ? s.p[s.n - 1] | 0x20 : 0) {
	case 'k':
		scale = 1 << 10;
		break;
	case 'm':
		scale = 1 << 20;
		break;
	case 'g':
		scale = 1 << 30;
		break;
	}
	if (scale > 1)
		s.n--;
	r = num_u63(s, &v);
	return r < 0 ? r : scaled(v, scale, bytes);
}

/* In the order in which they may follow one another. */
static const struct {
	char text[3];
	int64_t ms;
} units[] = {
	{"y", 365 * 86400000LL}, {"M", 30 * 86400000LL}, {"w", 7 * 86400000LL}, {"d", 86400000},
	{"h", 3600000},		 {"m", 60000},		 {"s", 1000},		{"ms", 1},
};
enum { N_UNITS = sizeof units / sizeof units[0], UNIT_S = N_UNITS - 2 };

/* The index of the unit S starts with; seconds when it has none, at its end. */
static int unit_at(struct slice s, size_t *n)
{
	*n = s.n > 1 && s.p[0] == 'm' && s.p[1] == 's' ? 2 : s.n > 0;
	for (int i = 0; i < N_UNITS; i++)
		if (slice_eq(slice_make(s.p, *n), slice_cstr(units[i].text)))
			return i;
	return s.n == 0 ? UNIT_S : -1;
}

/* A sum of terms; *smallest is the index of the last unit. */
static int parse_time(struct slice s, int64_t *ms, int *smallest)
{
	int last = -1;
	int64_t total = 0;

	while (s.n) {
		size_t digits = 0, n;
		int64_t term;
		uint64_t v;
		int unit, r;

		while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
			digits++;
		r = num_u63(slice_make(s.p, digits), &v);
		if (r < 0)
			return r;
		s = slice_skip(s, digits);
		unit = unit_at(s, &n);
		if (unit <= last)
			return -SL_EINVAL;
		last = unit;
		s = slice_skip(s, n);
		while (s.n && s.p[0] == ' ')
			s = slice_skip(s, 1);
		r = scaled(v, units[unit].ms, &term);
		if (r < 0 || __builtin_add_overflow(total, term, &total))
			return -SL_ELIMIT;
	}
	*ms = total;
	*smallest = last;
	return last < 0 ? -SL_EINVAL : 0;
}

int conf_parse_msec(struct slice s, int64_t *ms)
{
	int smallest;

	return parse_time(s, ms, &smallest);
}

int conf_parse_sec(struct slice s, int64_t *sec)
{
	int64_t ms;
	int smallest, r = parse_time(s, &ms, &smallest);

	if (r < 0)
		return r;
	if (smallest > UNIT_S)
		return -SL_EINVAL;
	*sec = ms / 1000;
	return 0;
}

bool conf_param(struct slice s, const char *key, struct slice *value)
{
	size_t n = strlen(key);

	if (s.n <= n || memcmp(s.p, key, n) || s.p[n] != '=')
		return false;
	*value = slice_skip(s, n + 1);
	return true;
}

static char *path_from(struct conf *c, const char *folder, struct slice path)
{
	if (path.n && path.p[0] == '/')
		return arena_cstr(&c->arena, path);
	/* arena_printf's "%.*s" cannot carry more than INT_MAX; a token is far shorter */
	return (char *)arena_printf(&c->arena, "%s%.*s", folder, SLICE_FMT(path)).p;
}

char *conf_path(struct conf *c, struct slice path)
{
	return path_from(c, c->dir, path);
}

char *conf_prefix_path(struct conf *c, struct slice path)
{
	return path_from(c, c->prefix, path);
}

struct conf_block *conf_top_block(const struct conf *c, enum conf_ctx ctx)
{
	struct conf_block *b = c->main ? c->main->first_child : NULL;

	while (b && b->ctx != ctx)
		b = b->next;
	return b;
}

void *conf_top_get(const struct conf *c, enum conf_ctx ctx, enum conf_module_id id)
{
	const struct conf_block *b = conf_top_block(c, ctx);

	return b ? b->mod[id] : NULL;
}

void *conf_get(const struct conf_block *b, enum conf_module_id id)
{
	for (; b; b = b->parent)
		if (b->mod[id])
			return b->mod[id];
	return NULL;
}

size_t conf_value_bytes(enum conf_type type)
{
	if (type == CONF_STR)
		return sizeof(struct slice);
	if (type == CONF_CUSTOM || type == CONF_TMPL)
		return sizeof(void *);
	return type == CONF_BLOCK ? 0 : sizeof(int64_t);
}

bool conf_is_set(const void *mod, const struct conf_row *row)
{
	const char *at = (const char *)mod + row->offset;
	int64_t number;
	void *pointer;

	if (row->type == CONF_CUSTOM || row->type == CONF_TMPL || row->type == CONF_STR) {
		memcpy(&pointer, at, sizeof pointer); /* of a slice too: p comes first */
		return pointer != NULL;
	}
	memcpy(&number, at, sizeof number);
	return number != CONF_UNSET;
}

static void store(void *mod, const struct conf_row *row, int64_t v)
{
	memcpy((char *)mod + row->offset, &v, sizeof v);
}

static const struct conf_value *find_word(const struct conf_row *row, struct slice word)
{
	for (const struct conf_value *v = row->values; v && v->name; v++)
		if (slice_ieq(word, slice_cstr(v->name)))
			return v;
	return NULL;
}

static int bad_word(struct conf *c, const struct conf_node *n, const struct conf_row *row,
		    struct slice word)
{
	char hint[400];
	size_t at = 0;

	for (const struct conf_value *v = row->values; v->name && at < sizeof hint; v++)
		at += (size_t)snprintf(hint + at, sizeof hint - at, "%s%s",
				       at ? ", " : "expected one of: ", v->name);
	word = conf_clip(word);
	return conf_error_hint(c, n, hint, "invalid value \"%.*s\" in \"%s\" directive",
			       SLICE_FMT(word), row->name);
}

static int set_flag(struct conf *c, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct slice word = conf_clip(n->args[0]);
	bool on = slice_ieq(n->args[0], SLICE("on"));

	if (!on && !slice_ieq(n->args[0], SLICE("off")))
		return conf_error(c, n,
				  "invalid value \"%.*s\" in \"%s\" directive, it must be \"on\" "
				  "or \"off\"",
				  SLICE_FMT(word), row->name);
	store(mod, row, on);
	return 0;
}

static int set_words(struct conf *c, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	int64_t sum = 0;

	if (conf_is_set(mod, row))
		memcpy(&sum, (char *)mod + row->offset, sizeof sum);
	for (int i = 0; i < n->n_args; i++) {
		const struct conf_value *v = find_word(row, n->args[i]);

		if (!v)
			return bad_word(c, n, row, n->args[i]);
		if (v->value && (sum & v->value) == v->value)
			conf_warn(c, n, "duplicate value \"%s\"", v->name);
		sum |= v->value;
	}
	store(mod, row, sum);
	return 0;
}

/* V as one would write it, in the largest unit that divides it. */
static void print_number(enum conf_type type, int64_t v, char *out, size_t room)
{
	static const char suffix[][2] = {"", "k", "m", "g"};
	int i = 0;

	switch (type) {
	case CONF_SIZE:
		for (; v && v % 1024 == 0 && i < 3; i++)
			v /= 1024;
		snprintf(out, room, "%lld%s", (long long)v, suffix[i]);
		break;
	case CONF_MSEC:
	case CONF_SEC:
		if (type == CONF_SEC && v <= INT64_MAX / 1000)
			v *= 1000;
		for (i = 2; i < N_UNITS - 1 && v % units[i].ms; i++)
			;
		snprintf(out, room, "%lld%s", (long long)(v / units[i].ms), v ? units[i].text : "");
		break;
	default:
		snprintf(out, room, "%lld", (long long)v);
	}
}

static int out_of_range(struct conf *c, const struct conf_node *n, const struct conf_row *row)
{
	struct slice got = conf_clip(n->args[0]);
	char min[32], max[32], hint[300];

	print_number(row->type, row->min, min, sizeof min);
	print_number(row->type, row->max, max, sizeof max);
	snprintf(hint, sizeof hint, "\"%s\" got \"%.*s\"", row->name, SLICE_FMT(got));
	if (row->max)
		return conf_error_hint(c, n, hint, "value must be between %s and %s", min, max);
	return conf_error_hint(c, n, hint, "value must be equal to or greater than %s", min);
}

static int bad_number(struct conf *c, const struct conf_node *n, const struct conf_row *row,
		      int why)
{
	static const char *const expected[] = {
		[CONF_NUM] = "a number",
		[CONF_SIZE] = "a size like 512, 4k, 10m or 1g",
		[CONF_MSEC] = "a time like 500ms, 30s, 10m or 1h30m",
		[CONF_SEC] = "a time like 30s, 10m, 1h30m or 1d",
	};
	struct slice got = conf_clip(n->args[0]);
	char hint[600];
	size_t at;

	at = (size_t)snprintf(hint, sizeof hint, "%s %s",
			      why == -SL_ELIMIT ? "too large for" : "expected",
			      expected[row->type]);
	for (const struct conf_value *v = row->values; v && v->name && at < 300; v++)
		at += (size_t)snprintf(hint + at, sizeof hint - at, " or \"%s\"", v->name);
	snprintf(hint + at, sizeof hint - at, ", got \"%.*s\"", SLICE_FMT(got));
	return conf_error_hint(c, n, hint, "\"%s\" directive invalid %s", row->name,
			       row->type == CONF_NUM ? "number" : "value");
}

static int set_number(struct conf *c, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	const struct conf_value *word = find_word(row, n->args[0]);
	struct slice s = n->args[0];
	uint64_t num = 0;
	int64_t v = 0;
	int r;

	if (word) {
		store(mod, row, word->value);
		return 0;
	}
	switch (row->type) {
	case CONF_SIZE:
		r = conf_parse_size(s, &v);
		break;
	case CONF_MSEC:
		r = conf_parse_msec(s, &v);
		break;
	case CONF_SEC:
		r = conf_parse_sec(s, &v);
		break;
	default:
		r = num_u63(s, &num);
		v = (int64_t)num;
	}
	if (r < 0)
		return bad_number(c, n, row, r);
	if (v < row->min || (row->max && v > row->max))
		return out_of_range(c, n, row);
	store(mod, row, v);
	return 0;
}

static int set_text(struct conf *c, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct tmpl *t;
	int r;

	if (row->type == CONF_STR) {
		memcpy((char *)mod + row->offset, &n->args[0], sizeof n->args[0]);
		return 0;
	}
	r = conf_tmpl(c, n, n->args[0], &t);
	if (r < 0)
		return r;
	memcpy((char *)mod + row->offset, &t, sizeof t);
	return 0;
}

int conf_set_typed(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	const struct conf_value *word;
	int r = 0;

	switch (row->type) {
	case CONF_FLAG:
		r = set_flag(c, mod, n, row);
		break;
	case CONF_NUM:
	case CONF_SIZE:
	case CONF_MSEC:
	case CONF_SEC:
		r = set_number(c, mod, n, row);
		break;
	case CONF_STR:
	case CONF_TMPL:
		r = set_text(c, mod, n, row);
		break;
	case CONF_ENUM:
		word = find_word(row, n->args[0]);
		if (!word)
			return bad_word(c, n, row, n->args[0]);
		store(mod, row, word->value);
		break;
	case CONF_BITS:
		r = set_words(c, mod, n, row);
		break;
	case CONF_CUSTOM:
	case CONF_BLOCK:
		break;
	}
	return r == 0 && row->set ? row->set(c, b, mod, n, row) : r;
}
