/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of user/admin share and nobody else sees. One process, one thread: struct admin is
 * its context. */
#ifndef SL_ADMIN_ADMIN_IMPL_H
#define SL_ADMIN_ADMIN_IMPL_H

#include <jansson.h>
#include <microhttpd.h>

#include "admin/admin.h"

enum {
	ADMIN_BODY_MAX = 65536,	     /* of a request, kept */
	ADMIN_SWALLOW_MAX = 1 << 20, /* and read: beyond it the connection is dropped */
	ADMIN_WAITS_MAX = 64,
	ADMIN_TOP_MAX = 1000,	/* sources in one answer */
	ADMIN_BANS_MAX = 10000, /* bans in one answer */
};

struct admin;
struct request;
struct watcher;

/* A connection. */
struct admin_client {
	struct admin_client *next, **at; /* *at points to this one */
	struct admin_side *side;
	int fd;
	uint64_t since_ms; /* connected, or its last answer ended */
	bool has_asked;
	bool is_waiting;  /* for the master */
	uint64_t told_ms; /* when the master was told who it is */
	bool is_watching; /* its answer goes on for as long as it reads */
	char who[ADDR_TEXT_MAX];
};

/* Unix and TCP connections have a daemon each: a flood over TCP leaves the socket usable. */
struct admin_side {
	struct admin *admin;
	struct MHD_Daemon *daemon; /* NULL: there is no such listener */
	bool is_unix;
	unsigned n_clients;
	struct admin_client *clients;
};

/* A request whose answer the master has to give. */
struct admin_wait {
	uint32_t id; /* 0: free */
	struct request *rq;
	uint64_t deadline_ms;
};

struct admin {
	const struct admin_env *env;
	struct admin_limits limits;
	struct admin_side sides[2];
	struct admin_wait waits[ADMIN_WAITS_MAX];
	int epoll_fd, signal_fd;
	bool *armed; /* by listener: accepts now */
	uint32_t last_id;
	unsigned n_requests; /* begun and not completed */
	bool is_draining, is_over;
	bool is_cut; /* the channel is closed */
	uint64_t drain_deadline_ms, accept_rest_ms, auth_logged_ms;
	uint64_t n_answers[6]; /* by status class */
	uint64_t n_auth_failures, n_host_failures;
	struct watcher *watchers;
	unsigned n_watchers;
	uint64_t n_events_lost; /* by slow watchers */
};

/* Answers a request once the master did; REPLY is NULL when it did not. */
typedef enum MHD_Result (*admin_answer_fn)(struct request *rq, const struct msg *reply);

/* Bans that come in, while they are asked for. */
struct admin_import {
	json_t *list; /* NULL: none */
	size_t at, n_added, n_kept, n_over, n_refused;
};

struct request {
	struct admin *admin;
	struct admin_client *client;
	struct MHD_Connection *conn;
	const char *method, *path;
	const char *rest; /* of the path behind a route's prefix */
	char *body;
	size_t body_len, body_room, n_seen;
	admin_answer_fn answer;
	struct watcher *watcher;	      /* NULL: it watches no events */
	bool is_waiting, is_replied, is_gone; /* is_gone: the master closed the channel */
	struct msg asked, reply;
	struct admin_import import;
};

/* ---- admin.c ---- */

/* Sends M to the master and suspends the request; ANSWER is called with the reply, or without one
 * after TIMEOUT_MS. Answers itself when the master cannot be asked. */
enum MHD_Result admin_ask(struct request *rq, const struct msg *m, uint32_t timeout_ms,
			  admin_answer_fn answer);

/* ---- serve.c: requests and answers ---- */

/* NULL when libmicrohttpd refuses. */
struct MHD_Daemon *serve_start(struct admin_side *side);
/* TEXT is on the heap and taken, also on failure; NULL: out of memory. */
enum MHD_Result serve_text(struct request *rq, unsigned status, const char *type, char *text,
			   size_t n);
/* J's reference is taken; NULL: out of memory. */
enum MHD_Result serve_json(struct request *rq, unsigned status, json_t *j);
enum MHD_Result serve_empty(struct request *rq, unsigned status);
enum MHD_Result serve_error(struct request *rq, unsigned status, const char *code, const char *fmt,
			    ...) __attribute__((format(printf, 4, 5)));
/* For an answer with headers of its own; RESPONSE is taken, TYPE may be NULL. */
enum MHD_Result serve_response(struct request *rq, unsigned status, struct MHD_Response *response,
			       const char *type);
/* The argument NAME of the query as a number from 1 to MAX: 0, or -SL_EINVAL; DEFLT when absent. */
int serve_query_num(struct request *rq, const char *name, uint64_t deflt, uint64_t max,
		    uint64_t *out);

/* ---- auth.c: who may ask ---- */

/* 0, or the status to refuse with; *code and *text then say why. */
unsigned auth_check(struct request *rq, bool is_open, const char **code, const char **text);

/* ---- view.c: consistent enough copies of what others write ---- */

struct view_peer {
	struct balance_peer peer;
	const char *state; /* "up", "failed", "full", "down", "gone" */
};

struct view_group {
	const struct upstream_conf *conf;
	char name[BALANCE_NAME_MAX + 16]; /* unique among the groups, valid UTF-8 */
	uint32_t n_servers, n_peers;
	struct balance_server *servers;
	struct view_peer *peers;
};

/* All groups, *n of them; NULL with *n 0 when there are none or memory is short. */
struct view_group *view_groups_new(const struct admin *a, size_t *n);
void view_groups_free(struct view_group *groups, size_t n);
/* Not a slot that is free, or taken by a worker that is about to start. */
bool view_worker_runs(const struct stats_worker *w);
/* The sum over the workers, those that have ended too, of the counter at OFFSET in struct
 * stats_worker; of a gauge over those that run. */
uint64_t view_sum(const struct stats *s, size_t offset, bool is_gauge);
struct view_bans {
	size_t n_active; /* in force */
	size_t n_networks, n_in_kernel, n_indirect;
	size_t n_dry_run; /* that would be, by rules on trial */
};

/* A consistent copy of the bans, those of rules on trial too, on the heap, newest first; *n of them. NULL
 * with *n 0 when there are none or memory is short. */
struct ban_entry *view_bans_new(const struct ban_table *t, size_t *n, struct view_bans *sums);

struct view_process {
	double cpu_s;
	uint64_t rss_bytes;
};

/* From /proc; false when there is no such process. */
bool view_process(int pid, struct view_process *out);
/* IN as valid UTF-8 without control characters, cut to fit. Returns OUT. */
const char *view_utf8(const char *in, char *out, size_t room);
/* Why there is no guard; OUT as for view_utf8. NULL when there is one. */
const char *view_guard_off(const struct admin *a, char *out, size_t room);

/* ---- api_events.c: who watches ---- */

/* At each turn of the loop: those for whom there is something go on. */
void api_events_wake(struct admin *a, uint64_t now_ms);
/* The request is over; one that watches nothing is fine. */
void api_events_ended(struct request *rq);
const char *api_events_kind_name(unsigned kind);

/* ---- the endpoints ---- */

enum MHD_Result metrics_get(struct request *rq);
enum MHD_Result page_get(struct request *rq);
enum MHD_Result api_status(struct request *rq);
enum MHD_Result api_upstreams(struct request *rq);
enum MHD_Result api_sources(struct request *rq);
enum MHD_Result api_rules(struct request *rq);
enum MHD_Result api_bans_export(struct request *rq);
enum MHD_Result api_bans_import(struct request *rq);
enum MHD_Result api_bans_check(struct request *rq);
enum MHD_Result api_denied(struct request *rq);
enum MHD_Result api_bans_list(struct request *rq);
enum MHD_Result api_bans_get(struct request *rq);
enum MHD_Result api_bans_add(struct request *rq);
enum MHD_Result api_bans_remove(struct request *rq);
enum MHD_Result api_reload(struct request *rq);
enum MHD_Result api_events(struct request *rq);

#endif
