/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the page of stub_status, in nginx's format, and the name that sluice gives itself. */
#include "proxy/status.h"

#include "proxy/reply.h"
#include "proxy/request.h"
#include "proxy/vars_impl.h"
#include "version.h"

enum { TOKENS_OFF, TOKENS_ON };

struct status_scope {		      /* MOD_STUB_STATUS's struct in http, server, location */
	const struct conf_node *page; /* where it says stub_status; not inherited */
	int64_t tokens;
};

/* Client connections of all workers. */
struct sums {
	uint64_t active, reading, writing, waiting;
	uint64_t accepted, handled, requests;
};

static void add(struct sums *s, const struct stats_worker *w)
{
	s->active += w->conns_active;
	s->waiting += w->conns_idle;
	s->writing += w->requests_active;
	s->accepted += w->conns_accepted + w->conns_refused_banned + w->conns_refused_full;
	s->handled += w->conns_accepted;
	s->requests += w->requests;
}

/* Over HTTP/2 one connection may have many requests: it counts as one that is written to. */
static struct sums sums_of(const struct env *env)
{
	struct sums s = {0};
	uint64_t busy;

	add(&s, &env->all_stats->retired);
	for (int i = 0; i < STATS_WORKERS_MAX; i++)
		add(&s, &env->all_stats->worker[i]);
	if (s.waiting > s.active)
		s.waiting = s.active;
	busy = s.active - s.waiting;
	if (s.writing > busy)
		s.writing = busy;
	s.reading = busy - s.writing;
	return s;
}

enum step_result status_step(struct request *r)
{
	const struct status_scope *scope = r->block->mod[MOD_STUB_STATUS];
	struct sums s;

	if (!scope || !scope->page)
		return STEP_NEXT;
	if (r->head.method != METHOD_GET && r->head.method != METHOD_HEAD) {
		reply_error(r, 405, NULL);
		return STEP_DONE;
	}
	s = sums_of(r->env);
	reply_text(r, 200, SLICE("text/plain"),
		   arena_printf(&r->arena,
				"Active connections: %llu \n"
				"server accepts handled requests\n"
				" %llu %llu %llu \n"
				"Reading: %llu Writing: %llu Waiting: %llu \n",
				(unsigned long long)s.active, (unsigned long long)s.accepted,
				(unsigned long long)s.handled, (unsigned long long)s.requests,
				(unsigned long long)s.reading, (unsigned long long)s.writing,
				(unsigned long long)s.waiting));
	return STEP_DONE;
}

static bool tells_version(const struct request *r)
{
	const struct status_scope *s = r->block->mod[MOD_STUB_STATUS];

	return s && s->tokens == TOKENS_ON;
}

void status_server_step(struct request *r)
{
	if (!r->resp.server.p && tells_version(r))
		r->resp.server = SLICE("sluice/" SLUICE_VERSION);
}

struct slice status_signature(const struct request *r)
{
	return tells_version(r) ? SLICE("sluice/" SLUICE_VERSION) : SLICE("sluice");
}

static int set_page(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct status_scope *s = mod;

	s->page = n;
	return 0;
}

/* nginx's "build" is the name of a build: there is one. */
static const struct conf_value tokens[] = {
	{"off", TOKENS_OFF}, {"on", TOKENS_ON}, {"build", TOKENS_ON}, {NULL, 0}};

static const struct conf_row rows[] = {
	{.name = "stub_status",
	 .contexts = CTX_SERVER | CTX_LOCATION,
	 .args_min = 0,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = offsetof(struct status_scope, page),
	 .set = set_page,
	 .help = "answers with the numbers of connections and requests, as nginx's page"},
	{.name = "server_tokens",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = offsetof(struct status_scope, tokens),
	 .values = tokens,
	 .deflt = "off",
	 .help = "tell the version in Server and in error pages"},
};

const struct conf_module status_module = {
	.name = "status",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct status_scope),
};

/* DATA is the offset in struct sums. */
VARS_GETTER(get_sum)
{
	const struct request *r = request;
	struct sums s = sums_of(r->env);

	return vars_number(a, *(const uint64_t *)((const char *)&s + (uintptr_t)data), out);
}

#define SUM_ROW(dname, field) \
	{ \
		.name = dname, .get = get_sum, .data = (void *)offsetof(struct sums, field) \
	}

const struct var_def vars_status[] = {
	SUM_ROW("connections_active", active),
	SUM_ROW("connections_reading", reading),
	SUM_ROW("connections_writing", writing),
	SUM_ROW("connections_waiting", waiting),
	{.name = NULL},
};
