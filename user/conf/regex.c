/* SPDX-License-Identifier: BSD-2-Clause */
/* The only user of PCRE2. Knows patterns and subjects, no request and no variable. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "conf/regex.h"

#include <pcre2.h>
#include <stdlib.h>

#include "conf/conf.h"
#include "conf/load.h"
#include "core/err.h"

/* What all patterns of a configuration share. */
struct regexes {
	struct regex *first;
	uint32_t n_groups_max;
	pcre2_match_data *data; /* of one match at a time: a process has one thread */
	pcre2_match_context *limits;
};

struct regex {
	struct regex *next;
	struct regexes *all;
	struct slice pattern;
	pcre2_code *code;
	uint32_t n_groups, n_names, name_bytes;
	const unsigned char *names; /* PCRE's table: group in two bytes, name, NUL */
};

static int malformed(struct conf *c, const struct conf_node *n, struct slice pattern, int code,
		     size_t offset)
{
	PCRE2_UCHAR text[128];
	struct slice shown = conf_clip(pattern), rest;

	rest = conf_clip(slice_skip(pattern, offset));
	if (pcre2_get_error_message(code, text, sizeof text) < 0)
		text[0] = 0;
	if (offset >= pattern.n)
		return conf_error(c, n, "pcre2_compile() failed: %s in \"%.*s\"",
				  (const char *)text, SLICE_FMT(shown));
	return conf_error(c, n, "pcre2_compile() failed: %s in \"%.*s\" at \"%.*s\"",
			  (const char *)text, SLICE_FMT(shown), SLICE_FMT(rest));
}

int regex_new(struct conf *c, const struct conf_node *n, struct slice pattern, bool caseless,
	      struct regex **out)
{
	struct slice shown = conf_clip(pattern);
	struct regex *re;
	size_t offset;
	int code;

	if (pattern.n > REGEX_PATTERN_MAX)
		return conf_error(c, n, "regular expression \"%.*s...\" is longer than %d bytes",
				  SLICE_FMT(shown), REGEX_PATTERN_MAX);
	re = arena_zalloc(&c->arena, sizeof *re);
	re->pattern = arena_dup(&c->arena, pattern);
	re->code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, caseless ? PCRE2_CASELESS : 0,
				 &code, &offset, NULL);
	if (!re->code)
		return malformed(c, n, pattern, code, offset);
	pcre2_pattern_info(re->code, PCRE2_INFO_CAPTURECOUNT, &re->n_groups);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMECOUNT, &re->n_names);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMEENTRYSIZE, &re->name_bytes);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMETABLE, &re->names);
	if (!c->regexes)
		c->regexes = arena_zalloc(&c->arena, sizeof *c->regexes);
	re->all = c->regexes;
	re->next = re->all->first;
	re->all->first = re;
	if (re->n_groups > re->all->n_groups_max)
		re->all->n_groups_max = re->n_groups;
	*out = re;
	return 0;
}

int regex_ready(struct conf *c, uint32_t match_limit, bool jit)
{
	struct regexes *all = c->regexes;

	if (!all)
		return 0;
	all->data = pcre2_match_data_create(all->n_groups_max + 1, NULL);
	all->limits = pcre2_match_context_create(NULL);
	if (!all->data || !all->limits)
		return -SL_ENOMEM;
	pcre2_set_match_limit(all->limits, match_limit);
	pcre2_set_heap_limit(all->limits, REGEX_HEAP_LIMIT_KB);
	/* A pattern that JIT cannot take, or a kernel that forbids it, is interpreted. */
	for (struct regex *re = all->first; re && jit; re = re->next)
		pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
	return 0;
}

void regex_free_all(struct conf *c)
{
	struct regexes *all = c->regexes;

	if (!all)
		return;
	for (struct regex *re = all->first; re; re = re->next)
		pcre2_code_free(re->code);
	pcre2_match_context_free(all->limits);
	pcre2_match_data_free(all->data);
	c->regexes = NULL;
}

struct slice regex_pattern(const struct regex *re)
{
	return re->pattern;
}

int regex_n_groups(const struct regex *re)
{
	return (int)re->n_groups;
}

bool regex_name(const struct regex *re, int i, struct slice *name, int *group)
{
	const unsigned char *entry = re->names + (size_t)i * re->name_bytes;

	if (i < 0 || (uint32_t)i >= re->n_names)
		return false;
	*group = entry[0] << 8 | entry[1];
	*name = slice_cstr((const char *)entry + 2);
	return true;
}

int regex_match(const struct regex *re, struct slice subject, const size_t **offsets)
{
	PCRE2_SPTR text = (PCRE2_SPTR)(subject.n ? subject.p : "");
	int n = pcre2_match(re->code, text, subject.n, 0, 0, re->all->data, re->all->limits);

	/* JIT's stack is small; the interpreter takes its memory from the heap, up to the limit. */
	if (n == PCRE2_ERROR_JIT_STACKLIMIT)
		n = pcre2_match(re->code, text, subject.n, 0, PCRE2_NO_JIT, re->all->data,
				re->all->limits);
	if (n == PCRE2_ERROR_NOMATCH)
		return 0;
	*offsets = pcre2_get_ovector_pointer(re->all->data);
	return n;
}
