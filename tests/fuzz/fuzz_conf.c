/* SPDX-License-Identifier: BSD-2-Clause */
/* Any text as a configuration: lexer, rows, values, inheritance. Include is refused, so that no
 * input reaches the file system. Bytes before the first 0xFF, when there is one, are the parameter
 * of -g. */
#include <unistd.h>

#include "tests/unit/conf/fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What was loaded must be sane: every typed value that has a default is set. */
static void check_block(const struct conf_block *b)
{
	const struct fx_http *h = b->mod[MOD_HTTP];
	const struct fx_core *core = b->mod[MOD_CORE];

	if (h && (h->keepalive_ms < 0 || h->body_max_bytes < 0 || h->buffer_bytes < 1024 ||
		  h->buffer_bytes > 1 << 20 || h->protocols == CONF_UNSET || !h->root.p || !h->log))
		abort();
	if (core && (core->processes < -1 || core->processes > 512 || core->connections < 1))
		abort();
	if (h && h->key) {
		struct arena a;

		arena_init(&a, 1024);
		tmpl_eval(h->key, (char *)"example.org", &a);
		arena_fini(&a);
	}
	if (h && h->re) {
		const size_t *at;
		int n = regex_match(h->re, h->root, &at);

		if (n > regex_n_groups(h->re) + 1 || (n > 0 && at[1] > h->root.n))
			abort();
	}
	for (const struct conf_block *child = b->first_child; child; child = child->next)
		check_block(child);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice text = {(const char *)data, n}, globals = {"", 0};
	char folder[] = "/nonexistent/", path[] = "/nonexistent/sluice.conf";
	ptrdiff_t split = slice_find(text, (char)0xff);
	struct conf c;

	if (split >= 0) {
		globals = slice_make(text.p, (size_t)split);
		text = slice_skip(text, (size_t)split + 1);
	}
	fx_conf_init(&c, folder, path);
	if (conf_load_text(&c, globals, text) == 0) {
		if (regex_ready(&c, 10000, n & 1))
			abort();
		check_block(c.main);
	} else if (c.n_errors == 0)
		abort();
	conf_free(&c);
	return 0;
}
