/* SPDX-License-Identifier: BSD-2-Clause */
/* The directives of static files (module MOD_FILES). */
#ifndef SL_PROXY_FILES_CONF_H
#define SL_PROXY_FILES_CONF_H

#include "conf/conf.h"

extern const struct conf_module files_module;

/* `root` or `alias`. */
struct files_root {
	struct tmpl *path; /* without a final '/' for root; relative ones are below the prefix */
	bool alias;
	bool whole;	    /* alias of a regex location: PATH is the file, nothing is appended */
	struct slice under; /* alias: the location's path, which PATH stands for */
};

struct files_list { /* index */
	struct tmpl **v;
	int n;
};

/* One argument of `try_files` but the last. */
struct files_try_item {
	struct tmpl *name; /* without its final '/' */
	bool dir;
};

struct files_try {
	struct files_try_item *v;
	int n;
	unsigned status;   /* =CODE; 0: none */
	struct tmpl *last; /* a URI or @name, when there is no status */
};

struct files_types;

struct files_scope {		 /* MOD_FILES's struct in http, server, location, if */
	struct files_root *root; /* NULL: no files are served */
	struct files_list *index;
	struct files_try *try_files; /* not inherited */
	struct files_types *types;
	struct slice default_type;
	int64_t etag, sendfile, tcp_nopush, tcp_nodelay, log_not_found;
	const char *prefix;
};

/* The type of PATH's extension, or default_type. */
struct slice files_conf_type(const struct files_scope *s, struct slice path);

static inline const struct files_scope *files_scope_of(const struct conf_block *b)
{
	return b->mod[MOD_FILES];
}

#endif
