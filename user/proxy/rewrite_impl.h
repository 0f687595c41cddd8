/* SPDX-License-Identifier: BSD-2-Clause */
/* What rewrite_conf.c makes of a block and rewrite.c runs. */
#ifndef SL_PROXY_REWRITE_IMPL_H
#define SL_PROXY_REWRITE_IMPL_H

#include "conf/conf.h"
#include "proxy/rewrite.h"
#include "proxy/vars_user.h"

enum rewrite_kind { REWRITE_SET, REWRITE_IF, REWRITE_URI, REWRITE_BREAK, REWRITE_RETURN };
enum rewrite_test { TEST_TRUTH, TEST_EQUAL, TEST_REGEX, TEST_FILE };

struct rewrite_if {
	enum rewrite_test test;
	bool negated;
	char file; /* TEST_FILE: 'f' 'd' 'e' 'x' */
	struct tmpl *left, *right;
	const struct vars_regex *re;
	const struct conf_block *block; /* what is inside */
};

struct rewrite_uri {
	const struct vars_regex *re;
	struct tmpl *path, *args; /* args NULL: none; of a redirect all is path */
	bool has_args;		  /* of a redirect: there is a '?' in it */
	bool keeps_args;	  /* the request's are added */
	bool is_last, is_break;
	unsigned status; /* of a redirect; 0: none */
};

struct rewrite_return {
	unsigned status;
	struct tmpl *text; /* body, or the URL of a redirect; may be NULL */
};

struct rewrite_op {
	struct rewrite_op *next;
	enum rewrite_kind kind;
	union {
		struct {
			const struct user_var *var;
			struct tmpl *value;
		} set;
		struct rewrite_if test;
		struct rewrite_uri uri;
		struct rewrite_return ret;
	};
};

struct rewrite_scope { /* MOD_REWRITE's struct in http, server, location and both kinds of if */
	struct rewrite_op *first, **tail;
	int64_t log, warns_of_unset;
};

#endif
