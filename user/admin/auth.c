/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides who may ask. A unix socket is guarded by its file mode. Over TCP a request needs the
 * token, and a Host that is an address or localhost: a web page whose own name was made to resolve
 * to this address (DNS rebinding) sends that name. Never logs what was sent as a token. */
#include "admin/admin_impl.h"
#include "core/clock.h"
#include "http/host.h"

enum { LOG_EVERY_MS = 1000, TELL_EVERY_MS = 60000 };

static enum MHD_Result count_host(void *cls, enum MHD_ValueKind kind, const char *key,
				  const char *value)
{
	if (strcasecmp(key, "Host") == 0)
		++*(int *)cls;
	return MHD_YES;
}

static bool host_ok(struct MHD_Connection *conn)
{
	const char *text = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "Host");
	struct slice host;
	struct arena arena;
	struct addr ip;
	uint16_t port;
	int n = 0;
	bool ok;

	MHD_get_connection_values(conn, MHD_HEADER_KIND, count_host, &n);
	if (!text || n != 1)
		return false;
	arena_init(&arena, 512);
	ok = host_parse(slice_cstr(text), &arena, &host, &port) == 0 &&
	     (slice_eq(host, SLICE("localhost")) || addr_from_ip(host, 0, &ip) == 0);
	arena_fini(&arena);
	return ok;
}

/* Takes the same time wherever the first difference is. */
static bool token_ok(const struct admin_conf *conf, const char *header)
{
	struct slice got = slice_cstr(header ? header : "");
	unsigned diff;

	if (!conf->token || !conf->token_len || !slice_istarts(got, SLICE("Bearer ")))
		return false;
	got = slice_trim(slice_skip(got, 7));
	diff = got.n != conf->token_len;
	for (size_t i = 0; i < ADMIN_TOKEN_MAX; i++) {
		unsigned char c = i < got.n ? (unsigned char)got.p[i] : 0;

		diff |= (unsigned)(c ^ (unsigned char)conf->token[i]);
	}
	return diff == 0;
}

static void complain(struct request *rq, const char *what)
{
	struct admin *a = rq->admin;
	uint64_t now_ms = clock_mono_ms();

	if (a->auth_logged_ms && now_ms < a->auth_logged_ms + LOG_EVERY_MS)
		return;
	a->auth_logged_ms = now_ms;
	log_write(a->env->log, LOG_LVL_WARN, 0, "admin: %s refused, client: %s, %s %.100s", what,
		  rq->client->who, rq->method, rq->path);
}

/* Who may administrate is not to be banned by a rule: the guard would drop all that it sends. */
static void tell_master(struct request *rq)
{
	struct msg m = {.type = MSG_ADMIN_PEER};
	uint64_t now_ms = clock_mono_ms();
	const uint8_t *bytes;
	struct addr a;
	size_t n;

	if (rq->client->told_ms && now_ms - rq->client->told_ms < TELL_EVERY_MS)
		return;
	if (addr_from_ip(slice_cstr(rq->client->who), 0, &a))
		return;
	rq->client->told_ms = now_ms;
	n = addr_bytes(&a, &bytes);
	m.ban.family = n == 4 ? 4 : 6;
	memcpy(m.ban.bytes, bytes, n);
	msg_send(rq->admin->env->channel_fd, &m);
}

unsigned auth_check(struct request *rq, bool is_open, const char **code, const char **text)
{
	const char *header;

	if (rq->client->side->is_unix)
		return 0;
	if (!host_ok(rq->conn)) {
		rq->admin->n_host_failures++;
		complain(rq, "a Host that is neither an address nor localhost");
		*code = "bad_host";
		*text = "the Host of a request must be an IP address or localhost";
		return 403;
	}
	header = MHD_lookup_connection_value(rq->conn, MHD_HEADER_KIND, "Authorization");
	if (is_open)
		return 0;
	if (token_ok(rq->admin->env->conf, header)) {
		tell_master(rq);
		return 0;
	}
	rq->admin->n_auth_failures++;
	complain(rq, header ? "a wrong token" : "a request without a token");
	*code = "unauthorized";
	*text = header ? "the token is wrong" : "send \"Authorization: Bearer TOKEN\"";
	return 401;
}
