/* SPDX-License-Identifier: BSD-2-Clause */
/* Variables and texts with variables ("$host:$server_port"). A variable is a row with a function that
 * reads it from a request; what a request is, is known to the owner of the row only. */
#ifndef SL_CONF_VAR_H
#define SL_CONF_VAR_H

#include "core/arena.h"
#include "core/slice.h"

struct var_def {
	const char *name; /* without '$'; NULL ends a table */
	bool prefix;	  /* "http_": matches every longer name, the rest is ARG */
	/* False: the variable has no value now ("-" in logs, empty elsewhere). The result lives as long as
	 * the request or is in ARENA. ARG is lower case for prefix rows, else empty. */
	bool (*get)(void *request, struct slice arg, void *data, struct arena *a,
		    struct slice *out);
	void *data; /* for rows that a configuration adds (map, set, captures) */
	/* Not NULL for rows that a request can assign (set, auth_request_set). */
	void (*set)(void *request, void *data, struct slice value);
};

struct tmpl_part {
	struct slice text; /* literal when var is NULL */
	const struct var_def *var;
	struct slice arg;
};

struct tmpl {
	struct slice source; /* as written */
	struct tmpl_part *parts;
	int n_parts;
	bool constant; /* no variables: parts is one literal or none */
};

/* The row for a variable's name (lower-cased match as in nginx), or NULL. Exact names win over
 * prefixes, USER rows over TABLES, longer prefixes over shorter ones. *arg points into NAME, whose case
 * it keeps. */
const struct var_def *var_find(const struct var_def *const *tables, const struct var_def *user,
			       int n_user, struct slice name, struct slice *arg);

/* The text of T for a request. Constant templates cost nothing; one that is a single variable is not
 * copied. */
struct slice tmpl_eval(const struct tmpl *t, void *request, struct arena *a);

#endif
