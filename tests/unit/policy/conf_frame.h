/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads small configurations of the policy modules for their tests. The http block here has just
 * servers and locations. Include it once, before any test. */
#ifndef SL_TESTS_POLICY_FRAME_H
#define SL_TESTS_POLICY_FRAME_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf/load.h"
#include "core/err.h"
#include "kernel/xdp_conf.h"
#include "policy/ban_conf.h"
#include "policy/limit_conf.h"
#include "policy/lists.h"
#include "policy/upstream_conf.h"

struct http_stub {
	int64_t keepalive_timeout_ms;
};

static const struct conf_row http_rows[] = {
	{.name = "http", .contexts = CTX_MAIN, .type = CONF_BLOCK, .block_ctx = CTX_HTTP},
	{.name = "server",
	 .contexts = CTX_HTTP,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_SERVER,
	 .flags = CONF_MULTI},
	{.name = "location",
	 .contexts = CTX_SERVER | CTX_LOCATION,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_LOCATION,
	 .flags = CONF_MULTI},
	{.name = "keepalive_timeout",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_MSEC,
	 .offset = offsetof(struct http_stub, keepalive_timeout_ms),
	 .deflt = "75s"},
};

static const struct conf_module http_stub = {.name = "http",
					     .rows = http_rows,
					     .n_rows = sizeof http_rows / sizeof http_rows[0],
					     .contexts = CTX_SCOPE,
					     .bytes = sizeof(struct http_stub)};

static const struct conf_module *const modules[CONF_N_MODULES] = {
	[MOD_HTTP] = &http_stub, [MOD_UPSTREAM] = &upstream_module, [MOD_LIMIT] = &limit_module,
	[MOD_BAN] = &ban_module, [MOD_XDP] = &xdp_module,	    [MOD_LISTS] = &lists_module,
};

static inline bool get_request(void *request, struct slice arg, void *data, struct arena *a,
			       struct slice *out)
{
	*out = slice_cstr(request);
	return true;
}

static const struct var_def vars[] = {
	{.name = "binary_remote_addr", .get = get_request},
	{.name = "host", .get = get_request},
	{.name = NULL},
};
static const struct var_def *const var_tables[] = {vars, NULL};

/* What one loading said on stderr. */
static char said[4096];

struct fx {
	struct shm_registry shm;
	struct conf conf[12];
	int n;
};

static inline int setup(void **state)
{
	*state = calloc(1, sizeof(struct fx));
	return *state ? 0 : -1;
}

static inline void release(struct conf *c)
{
	limit_conf_release(c);
	upstream_conf_release(c);
	conf_free(c);
}

static inline int teardown(void **state)
{
	struct fx *fx = *state;

	for (int i = 0; i < fx->n; i++)
		if (fx->conf[i].main)
			release(&fx->conf[i]);
	assert_null(fx->shm.zones); /* every reference was given back */
	free(fx);
	return 0;
}

static inline int quietly(struct conf *c, int (*what)(struct conf *c))
{
	int saved = dup(2), file = memfd_create("stderr", MFD_CLOEXEC), r;
	ssize_t n;

	assert_true(saved >= 0 && file >= 0);
	dup2(file, 2);
	r = what(c);
	dup2(saved, 2);
	close(saved);
	n = pread(file, said, sizeof said - 1, 0);
	close(file);
	said[n > 0 ? n : 0] = 0;
	return r;
}

static struct slice loading;

static inline int load(struct conf *c)
{
	return conf_load_text(c, SLICE(""), loading);
}

static inline struct conf *start(struct fx *fx, const char *text, int *r)
{
	struct conf *c = &fx->conf[fx->n++];

	assert_in_range(fx->n, 1, 12);
	*c = (struct conf){.modules = modules,
			   .var_tables = var_tables,
			   .prefix = (char *)"/p/",
			   .dir = (char *)"/d/",
			   .path = (char *)"F",
			   .shm = &fx->shm};
	loading = slice_cstr(text);
	*r = quietly(c, load);
	return c;
}

static inline struct conf *good(void **state, const char *text)
{
	int r;
	struct conf *c = start(*state, text, &r);

	if (r)
		fail_msg("%s: %s", text, said);
	return c;
}

static inline void bad(void **state, const char *text, const char *message)
{
	struct fx *fx = *state;
	int r;
	struct conf *c = start(fx, text, &r);

	if (r == 0 || !strstr(said, message))
		fail_msg("%s\nsaid: %s\nnot: %s", text, said, message);
	release(c);
	fx->n--;
}

/* The I-th child of that context, from 0. */
static inline struct conf_block *child(struct conf_block *b, enum conf_ctx ctx, int i)
{
	for (b = b->first_child; b; b = b->next)
		if (b->ctx == ctx && i-- == 0)
			return b;
	fail_msg("no such block");
	return NULL;
}

static inline struct conf_block *http(struct conf *c)
{
	return child(c->main, CTX_HTTP, 0);
}

static inline struct upstream_conf *group(struct conf *c, const char *name)
{
	struct upstream_conf *u = upstream_conf_find(c, slice_cstr(name));

	assert_non_null(u);
	return u;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
