/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What mock-llm counted, as JSON, and its log. Counting itself is done where things happen.
 */
#include <time.h>

#include "mock.h"

void stats_json(const struct server *srv, struct buf *b)
{
	const struct stats *s = &srv->stats;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"connections_total", s->connections},
		{"connections_active", s->connections_active},
		{"requests", s->requests},
		{"requests_active", s->requests_active},
		{"streams_total", s->streams},
		{"streams_active", s->streams_active},
		{"aborted_streams", s->aborted_streams},
		{"aborted_answers", s->aborted_answers},
		{"aborted_requests", s->aborted_requests},
		{"bad_requests", s->bad_requests},
		{"tls_failed", s->tls_failed},
		{"tls_resumed", s->tls_resumed},
	};

	buf_printf(b, "{\"name\":\"%s\"", srv->name_cstr);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		buf_printf(b, ",\"%s\":%llu", rows[i].name, (unsigned long long)rows[i].value);
	buf_span(b, SPAN(",\"paths\":{"));
	for (int i = 0; i < EP_MAX; i++)
		buf_printf(b, "%s\"%s\":%llu", i > 0 ? "," : "", route_path_cstr((enum endpoint)i),
			   (unsigned long long)s->paths[i]);
	buf_span(b, SPAN("}}\n"));
}

void stats_log(struct conn *c, bool aborted)
{
	struct server *srv = c->srv;
	struct buf b = {0};
	struct timespec ts;

	if (srv->log == NULL)
		return;
	clock_gettime(CLOCK_REALTIME, &ts);
	buf_printf(&b,
		   "{\"time\":%lld.%03ld,\"name\":\"%s\",\"connection\":%llu,\"request\":%llu,"
		   "\"id\":\"req_",
		   (long long)ts.tv_sec, ts.tv_nsec / 1000000, srv->name_cstr,
		   (unsigned long long)c->id, (unsigned long long)c->n_requests);
	buf_hex64(&b, c->reply.request_id);
	buf_span(&b, SPAN("\",\"method\":\""));
	buf_json(&b, c->req.head.method);
	buf_span(&b, SPAN("\",\"target\":\""));
	buf_json(&b, c->req.head.target);
	buf_printf(&b, "\",\"status\":%u,\"bytes\":%llu,\"fault\":\"%s\",\"aborted\":%s}\n",
		   c->reply.status, (unsigned long long)c->reply.bytes,
		   behave_fault_cstr(c->reply.behave.fault), aborted ? "true" : "false");
	fwrite(buf_head(&b), 1, buf_pending(&b), srv->log);
	buf_free(&b);
}
