/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups of servers for the tests of balance.c, and requests on them. */
#ifndef SL_TESTS_POLICY_BALANCE_GROUP_H
#define SL_TESTS_POLICY_BALANCE_GROUP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/err.h"
#include "policy/balance.h"

enum { ROOM = 64, NONE = UINT32_MAX };

static inline struct balance_server_conf server(const char *host)
{
	return (struct balance_server_conf){
		.host = slice_cstr(host),
		.port = 80,
		.weight = 1,
		.max_fails = 1,
		.fail_timeout_s = 10,
	};
}

static inline struct balance_group *group_new(const struct balance_server_conf *s, uint32_t n)
{
	struct balance_group *g = mmap(NULL, balance_bytes(ROOM), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(g, MAP_FAILED);
	assert_int_equal(balance_init(g, balance_bytes(ROOM), SLICE("g"), s, n), 0);
	assert_int_equal(g->peers_room, ROOM);
	return g;
}

static inline void group_free(struct balance_group *g)
{
	munmap(g, balance_bytes(ROOM));
}

static inline struct balance_group *one(const char *a)
{
	struct balance_server_conf s = server(a);

	return group_new(&s, 1);
}

static inline struct balance_group *two(const char *a, const char *b)
{
	struct balance_server_conf s[] = {server(a), server(b)};

	return group_new(s, 2);
}

/* A new request's first pick by worker W. */
static inline uint32_t pick_by(struct balance_group *g, unsigned w, uint64_t now_s)
{
	struct balance_ask tried = {0};
	uint32_t peer = NONE;

	return balance_pick(g, w, 1000 * now_s, &tried, &peer) == BALANCE_OK ? peer : NONE;
}

static inline uint32_t pick(struct balance_group *g, uint64_t now_s)
{
	return pick_by(g, 0, now_s);
}

static inline void done(struct balance_group *g, uint32_t peer, enum balance_outcome how,
			uint64_t now_s)
{
	balance_done(g, 0, peer, how, how == BALANCE_SUCCESS ? 200 : 0, 5, 1000 * now_s,
		     1000 * now_s);
}

static inline uint32_t serve(struct balance_group *g, uint64_t now_s)
{
	uint32_t peer = pick(g, now_s);

	if (peer != NONE)
		done(g, peer, BALANCE_SUCCESS, now_s);
	return peer;
}

static inline struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_from_ip(slice_cstr(text), 0, &a), 0);
	return a;
}

/* Its weight was lowered, so that it may take some rounds. */
static inline bool comes_back(struct balance_group *g, uint32_t peer, uint64_t now_s)
{
	for (int i = 0; i < 6; i++)
		if (serve(g, now_s) == peer)
			return true;
	return false;
}

#endif
