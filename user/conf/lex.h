/* SPDX-License-Identifier: BSD-2-Clause */
/* nginx's configuration grammar as tokens: one call a directive, with the file and line it stands
 * in. */
#ifndef SL_CONF_LEX_H
#define SL_CONF_LEX_H

#include "conf/conf.h"

enum lex_kind {
	LEX_LINE = 1, /* a directive that ended in ';' */
	LEX_OPEN,     /* a directive that ended in '{' */
	LEX_CLOSE,    /* '}', no directive */
	LEX_END,      /* the end of the text, no directive */
};

enum { LEX_TOKEN_MAX = 1 << 20 };

/* The fields above the line are the caller's to read. */
struct lex {
	const char *file;
	unsigned line;	/* where it is now; of an error after one; 0 for a -g parameter */
	char error[96]; /* after a failure: what is wrong, in nginx's words */
	char hint[96];	/* and what may help, or empty */
	/* ---- */
	struct arena *arena;
	struct slice text;
	size_t at;
	bool param; /* the text is a parameter of -g, not a file */
	struct slice *tokens;
	bool *quoted;
	int n_tokens, room;
};

/* TEXT and FILE are borrowed; tokens go to A. A byte order mark at the start is skipped. */
void lex_init(struct lex *l, struct arena *a, const char *file, struct slice text);
/* The same for the text of -g, where errors have no line. */
void lex_init_param(struct lex *l, struct arena *a, const char *name, struct slice text);
/* Fills OUT (in the arena, tokens NUL-terminated behind their ends and without NULs inside) for
 * LEX_LINE and LEX_OPEN. An enum lex_kind, or -SL_EINVAL / -SL_ELIMIT with l->error. */
int lex_next(struct lex *l, struct conf_node *out);

#endif
