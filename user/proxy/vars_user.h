/* SPDX-License-Identifier: BSD-2-Clause */
/* Variables that a configuration makes (set, map, named captures), and $1 to $9. Their values belong to the
 * request, through internal redirects too; a request that has none pays a pointer. */
#ifndef SL_PROXY_VARS_USER_H
#define SL_PROXY_VARS_USER_H

#include "conf/conf.h"

struct request;
struct user_var;
struct vars_regex;

/* $1 to $9. */
extern const struct var_def vars_user_captures[];

/* The variable NAME ("$name"), made when it is missing. NULL after conf_error(): malformed, or a variable
 * of sluice that cannot be changed. */
struct user_var *vars_user_add(struct conf *c, const struct conf_node *n, struct slice name);
/* Its value where nothing has set it: COMPUTE is asked once a request (each time when IS_VOLATILE). */
void vars_user_compute(struct user_var *v,
		       bool (*compute)(struct request *r, const void *data, struct slice *out),
		       const void *data, bool is_volatile);
/* It is assigned somewhere: read before that it is empty, with a warning in the log. */
void vars_user_assigned(struct user_var *v);
/* VALUE lives as long as R. */
void vars_user_set(struct request *r, const struct user_var *v, struct slice value);

/* A pattern, and the variables of its named groups. NULL after conf_error(). */
struct vars_regex *vars_user_regex(struct conf *c, const struct conf_node *n, struct slice pattern,
				   bool caseless);
/* 1: matches, and $1... and the named groups are set from SUBJECT, which lives as long as R. 0: does not,
 * and nothing has changed. Negative: failed, and the log says why. */
int vars_user_match(struct request *r, const struct vars_regex *re, struct slice subject);
/* The same without a request to keep anything for. */
bool vars_user_test(const struct vars_regex *re, struct slice subject);
struct slice vars_user_pattern(const struct vars_regex *re);
/* $1... are escaped as a part of a query string from here on, or no longer. */
void vars_user_quote_captures(struct request *r, bool on);
/* R, which is asked for by r->parent, has its values, and captures of its own; then what R set is the
 * parent's. R's memory lives as long as the parent. */
void vars_user_lend(struct request *r);
void vars_user_give_back(struct request *r);
/* Forgets $1... */
void vars_user_clear_captures(struct request *r);

#endif
