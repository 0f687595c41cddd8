/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what is between libmicrohttpd and the endpoints: the route table, bounded bodies, and the
 * form of answers. Decides nothing about who may ask (auth.c), and holds no state of sluice. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/admin_impl.h"
#include "core/clock.h"
#include "core/err.h"
#include "core/num.h"

enum {
	CONNECTION_MEMORY = 32768, /* request line and headers fit into it, or are refused */
	IDLE_TIMEOUT_S = 15,
	ERROR_TEXT_MAX = 512,
};

struct route {
	const char *method, *path;
	bool is_prefix; /* path ends with '/', and something must follow */
	bool is_open;	/* needs no token */
	enum MHD_Result (*run)(struct request *rq);
};

static const struct route routes[] = {
	{"GET", "/", false, true, page_get},
	{"GET", "/metrics", false, false, metrics_get},
	{"GET", "/api/v1/status", false, false, api_status},
	{"GET", "/api/v1/upstreams", false, false, api_upstreams},
	{"GET", "/api/v1/sources", false, false, api_sources},
	{"GET", "/api/v1/bans", false, false, api_bans_list},
	{"POST", "/api/v1/bans", false, false, api_bans_add},
	{"GET", "/api/v1/bans/export", false, false, api_bans_export},
	{"POST", "/api/v1/bans/import", false, false, api_bans_import},
	{"POST", "/api/v1/bans/check", false, false, api_bans_check},
	{"GET", "/api/v1/bans/", true, false, api_bans_get},
	{"DELETE", "/api/v1/bans/", true, false, api_bans_remove},
	{"GET", "/api/v1/rules", false, false, api_rules},
	{"GET", "/api/v1/denied", false, false, api_denied},
	{"POST", "/api/v1/reload", false, false, api_reload},
	{"GET", "/api/v1/events", false, false, api_events},
};
enum { N_ROUTES = sizeof routes / sizeof routes[0] };

/* ---- answers ---- */

enum MHD_Result serve_response(struct request *rq, unsigned status, struct MHD_Response *response,
			       const char *type)
{
	enum MHD_Result r = MHD_NO;

	if (!response)
		return MHD_NO;
	if ((!type || MHD_add_response_header(response, "Content-Type", type)) &&
	    MHD_add_response_header(response, "Cache-Control", "no-store") &&
	    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff"))
		r = MHD_queue_response(rq->conn, status, response);
	MHD_destroy_response(response);
	if (r == MHD_YES)
		rq->admin->n_answers[status / 100 < 6 ? status / 100 : 0]++;
	return r;
}

enum MHD_Result serve_text(struct request *rq, unsigned status, const char *type, char *text,
			   size_t n)
{
	struct MHD_Response *response;

	if (!text)
		return serve_error(rq, 500, "internal", "out of memory");
	response = MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(text);
	return serve_response(rq, status, response, type);
}

enum MHD_Result serve_json(struct request *rq, unsigned status, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	return serve_text(rq, status, "application/json", text, text ? strlen(text) : 0);
}

enum MHD_Result serve_empty(struct request *rq, unsigned status)
{
	return serve_response(
		rq, status, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT), NULL);
}

/* Without serve_text(), which comes here when memory is short. */
static struct MHD_Response *error_response(const char *code, const char *message)
{
	json_t *j = json_pack("{s:{s:s, s:s}}", "error", "message", message, "code", code);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	struct MHD_Response *response = NULL;

	json_decref(j);
	if (text)
		response =
			MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(text);
	return response;
}

enum MHD_Result serve_error(struct request *rq, unsigned status, const char *code, const char *fmt,
			    ...)
{
	char message[ERROR_TEXT_MAX], clean[ERROR_TEXT_MAX];
	struct MHD_Response *response;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof message, fmt, ap);
	va_end(ap);
	response = error_response(code, view_utf8(message, clean, sizeof clean));
	if (response && status == 401)
		MHD_add_response_header(response, "WWW-Authenticate", "Bearer realm=\"sluice\"");
	return serve_response(rq, status, response, "application/json");
}

int serve_query_num(struct request *rq, const char *name, uint64_t deflt, uint64_t max,
		    uint64_t *out)
{
	const char *text = MHD_lookup_connection_value(rq->conn, MHD_GET_ARGUMENT_KIND, name);

	*out = deflt;
	if (!text)
		return 0;
	return num_u63(slice_cstr(text), out) || *out < 1 || *out > max ? -SL_EINVAL : 0;
}

/* ---- requests ---- */

static bool path_matches(const struct route *route, const char *path)
{
	size_t n = strlen(route->path);

	if (route->is_prefix)
		return strncmp(path, route->path, n) == 0 && path[n];
	return strcmp(path, route->path) == 0;
}

/* HEAD is GET without the body, which libmicrohttpd leaves out by itself. */
static bool method_matches(const struct route *route, const char *method)
{
	return strcmp(route->method, method) == 0 ||
	       (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static enum MHD_Result refuse_method(struct request *rq)
{
	struct MHD_Response *response =
		error_response("method_not_allowed", "this resource has other methods, see Allow");
	char allow[64] = "";

	for (int i = 0; i < N_ROUTES; i++) {
		size_t n = strlen(allow);

		if (path_matches(&routes[i], rq->path))
			snprintf(allow + n, sizeof allow - n, "%s%s", n ? ", " : "",
				 strcmp(routes[i].method, "GET") ? routes[i].method : "GET, HEAD");
	}
	if (response)
		MHD_add_response_header(response, "Allow", allow);
	return serve_response(rq, 405, response, "application/json");
}

static enum MHD_Result dispatch(struct request *rq)
{
	const struct route *route = NULL;
	const char *code, *text;
	bool has_path = false;
	unsigned refusal;

	for (int i = 0; i < N_ROUTES && !route; i++) {
		if (!path_matches(&routes[i], rq->path))
			continue;
		has_path = true;
		if (method_matches(&routes[i], rq->method))
			route = &routes[i];
	}
	refusal = auth_check(rq, route && route->is_open, &code, &text);
	if (refusal)
		return serve_error(rq, refusal, code, "%s", text);
	if (rq->n_seen > ADMIN_BODY_MAX)
		return serve_error(rq, 413, "too_large", "the body is longer than %d bytes",
				   ADMIN_BODY_MAX);
	if (!has_path)
		return serve_error(rq, 404, "not_found", "there is no %.200s", rq->path);
	if (!route)
		return refuse_method(rq);
	rq->rest = rq->path + strlen(route->path);
	return route->run(rq);
}

/* What is beyond ADMIN_BODY_MAX is read, so that the client gets to read the answer, but not kept.
 */
static enum MHD_Result take_body(struct request *rq, const char *data, size_t n)
{
	rq->n_seen += n;
	if (rq->n_seen > ADMIN_SWALLOW_MAX)
		return MHD_NO;
	if (rq->n_seen > ADMIN_BODY_MAX)
		return MHD_YES;
	if (rq->body_len + n > rq->body_room) {
		size_t room = rq->body_len + n < 1024 ? 1024 : ADMIN_BODY_MAX;
		char *body = realloc(rq->body, room);

		if (!body)
			return MHD_NO;
		rq->body = body;
		rq->body_room = room;
	}
	memcpy(rq->body + rq->body_len, data, n);
	rq->body_len += n;
	return MHD_YES;
}

static enum MHD_Result begin(struct admin_side *side, struct MHD_Connection *conn,
			     const char *method, const char *path, void **con_cls)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	const char *length = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "Content-Length");
	struct request *rq;
	uint64_t n;

	if (!info || !info->socket_context)
		return MHD_NO;
	rq = calloc(1, sizeof *rq);
	if (!rq)
		return MHD_NO;
	rq->admin = side->admin;
	rq->client = info->socket_context;
	rq->client->has_asked = true;
	rq->conn = conn;
	rq->method = method;
	rq->path = path;
	*con_cls = rq;
	side->admin->n_requests++;
	if (length && (num_u63(slice_cstr(length), &n) || n > ADMIN_SWALLOW_MAX))
		return serve_error(rq, 413, "too_large", "the body is longer than %d bytes",
				   ADMIN_BODY_MAX);
	return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *upload_data,
				  size_t *upload_data_size, void **con_cls)
{
	struct request *rq = *con_cls;
	size_t n = *upload_data_size;
	admin_answer_fn answer;

	if (!rq)
		return begin(cls, conn, method, url, con_cls);
	if (n) {
		*upload_data_size = 0;
		return take_body(rq, upload_data, n);
	}
	if (rq->is_waiting)
		return MHD_YES;
	answer = rq->answer;
	rq->answer = NULL;
	if (!answer)
		return dispatch(rq);
	return answer(rq, rq->is_replied ? &rq->reply : NULL);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
			 enum MHD_RequestTerminationCode why)
{
	struct request *rq = *con_cls;

	if (!rq)
		return;
	*con_cls = NULL;
	api_events_ended(rq);
	rq->client->since_ms = clock_mono_ms();
	rq->admin->n_requests--;
	json_decref(rq->import.list);
	free(rq->body);
	free(rq);
}

/* ---- connections ---- */

static void describe(struct admin_client *client, struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct ucred cred;
	socklen_t n = sizeof cred;
	struct addr peer = {0};

	if (client->side->is_unix) {
		if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &cred, &n))
			cred.uid = (uid_t)-1;
		snprintf(client->who, sizeof client->who, "uid %d", (int)cred.uid);
		return;
	}
	snprintf(client->who, sizeof client->who, "an unknown address");
	if (!info || !info->client_addr)
		return;
	if (info->client_addr->sa_family == AF_INET)
		memcpy(&peer.in, info->client_addr, sizeof peer.in);
	else if (info->client_addr->sa_family == AF_INET6)
		memcpy(&peer.in6, info->client_addr, sizeof peer.in6);
	else
		return;
	addr_ip_text(&peer, client->who);
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct admin_side *side = cls;
	struct admin_client *client = *socket_context;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (!client)
			return;
		*client->at = client->next;
		if (client->next)
			client->next->at = client->at;
		side->n_clients--;
		free(client);
		*socket_context = NULL;
		return;
	}
	/* Without it the requests of this connection are refused in begin(). */
	client = calloc(1, sizeof *client);
	*socket_context = client;
	if (!client)
		return;
	client->side = side;
	client->fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	client->since_ms = clock_mono_ms();
	client->next = side->clients;
	client->at = &side->clients;
	if (client->next)
		client->next->at = &client->next;
	side->clients = client;
	side->n_clients++;
	describe(client, conn);
}

static void on_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* It complains of each unix connection that it is not TCP, so its words are for debugging. */
static void on_log(void *cls, const char *fmt, va_list ap)
{
	struct admin_side *side = cls;
	char text[ERROR_TEXT_MAX];
	size_t n;

	if (!log_wants(side->admin->env->log, LOG_LVL_DEBUG))
		return;
	vsnprintf(text, sizeof text, fmt, ap);
	n = strlen(text);
	while (n && text[n - 1] == '\n')
		text[--n] = 0;
	log_write(side->admin->env->log, LOG_LVL_DEBUG, 0, "admin: %s", text);
}

struct MHD_Daemon *serve_start(struct admin_side *side)
{
	unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
			 MHD_USE_ERROR_LOG;

	/* The logger comes first, so that the other options can complain. One connection of room
	 * more than admin.c accepts: it decides. */
	return MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, side, MHD_OPTION_EXTERNAL_LOGGER, on_log, side,
		MHD_OPTION_CONNECTION_LIMIT, side->admin->limits.max_clients + 1,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, side, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}
