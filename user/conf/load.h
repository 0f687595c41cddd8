/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of the configuration engine, shared by its files and their tests; modules use conf/conf.h.
 */
#ifndef SL_CONF_LOAD_H
#define SL_CONF_LOAD_H

#include <sys/types.h>

#include "conf/conf.h"

enum {
	CONF_INCLUDE_MAX = 64,	  /* files open in one another */
	CONF_DEPTH_MAX = 64,	  /* blocks open in one another */
	CONF_FILE_MAX = 64 << 20, /* bytes of one file */
};

/* A variable that a template names before all is read. */
struct conf_pending {
	struct conf_pending *next;
	struct tmpl_part *part; /* text is the name, lower case */
	const struct conf_node *node;
};

/* A file that is being read. */
struct conf_file {
	struct conf_file *parent; /* where the include stands */
	dev_t dev;
	ino_t ino;
	int depth;
};

struct conf_loading {
	bool reading; /* names of variables wait in PENDING */
	bool no_include;
	struct conf_pending *pending, **pending_tail;
	struct conf_file *file; /* the innermost one; NULL in -g */
	struct conf_source **sources_tail;
	size_t n_rows; /* of all modules */
};

/* conf_load() for a text that is no file: c->path is only its name, include is refused. */
int conf_load_text(struct conf *c, struct slice globals, struct slice text);

/* Parses N's arguments as ROW says into MOD, then calls row->set when there is one. */
int conf_set_typed(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row);
/* False for a typed value in MOD that nobody set, and for a NULL pointer of a CONF_CUSTOM row. */
bool conf_is_set(const void *mod, const struct conf_row *row);
/* Bytes of the value of a type at its offset. */
size_t conf_value_bytes(enum conf_type type);

/* Hands values down, applies defaults, calls inherit() and finish(). */
int conf_inherit(struct conf *c);
/* Looks up the variables that wait. */
int conf_resolve_pending(struct conf *c);

/* conf_error_hint() for errors of the lexer, which have no node. FILE NULL: no place. */
int conf_error_at(struct conf *c, const char *file, unsigned line, const char *hint,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* "unknown directive" and "not allowed here", with what is known about the name. */
int conf_error_unknown(struct conf *c, const struct conf_node *n, enum conf_ctx ctx);
/* "http, server, location"; cut off when it does not fit. */
void conf_ctx_names(unsigned contexts, char *out, size_t room);
/* S for "%.*s" in a message: at most 200 bytes of it. */
struct slice conf_clip(struct slice s);

#endif
