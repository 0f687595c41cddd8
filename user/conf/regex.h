/* SPDX-License-Identifier: BSD-2-Clause */
/* Regular expressions of a configuration, in PCRE's syntax. A pattern is the user's and trusted, what it is
 * matched against is a peer's and not: the work of one match is limited. */
#ifndef SL_CONF_REGEX_H
#define SL_CONF_REGEX_H

#include "core/slice.h"

struct conf;
struct conf_node;
struct regex;

enum {
	REGEX_PATTERN_MAX = 4096,   /* bytes */
	REGEX_HEAP_LIMIT_KB = 4096, /* of a match without JIT */
};

/* Compiles PATTERN; *out lives as long as C. -SL_EINVAL after conf_error() when it is malformed. */
int regex_new(struct conf *c, const struct conf_node *n, struct slice pattern, bool caseless,
	      struct regex **out);
/* Once all is read, before the first match: MATCH_LIMIT as PCRE counts the steps of one match, and machine
 * code when JIT. -SL_ENOMEM. */
int regex_ready(struct conf *c, uint32_t match_limit, bool jit);
/* Frees those of a configuration that goes. */
void regex_free_all(struct conf *c);

struct slice regex_pattern(const struct regex *re);
/* How many groups it has; group 0, the whole, not counted. */
int regex_n_groups(const struct regex *re);
/* The I-th named group; false behind the last one. */
bool regex_name(const struct regex *re, int i, struct slice *name, int *group);

/* >0: it matches, that many groups (0 first) are in *offsets, two a group, SIZE_MAX where a group took no
 * part; valid until the next match. 0: it does not match. <0: PCRE's error, such as a limit reached. */
int regex_match(const struct regex *re, struct slice subject, const size_t **offsets);

#endif
