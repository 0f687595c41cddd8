/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The endpoints of mock-llm: which there are and what each says. Fills struct reply with status,
 * type and body; heads, framing, pace and faults are reply.c's.
 */
#define _GNU_SOURCE
#include <time.h>

#include "json.h"
#include "mock.h"

enum { M_GET = 1, M_POST = 2, M_ANY = 4, MODEL_MAX = 256, EMBEDDING_DIMENSIONS = 1536 };

/* What the body of an API request asks for. */
struct ask {
	struct span model; /* raw JSON text */
	bool stream, include_usage;
	const char *error;
};

struct route {
	const char *path;
	bool deeper; /* anything below the path too */
	unsigned methods;
	const char *allow;
	bool api; /* has a JSON body with a model */
	void (*answer)(struct conn *c, const struct ask *ask);
};

static const struct {
	const char *p;
	size_t n;
} words[] = {
#define W(text) \
	{ \
		text, sizeof(text) - 1 \
	}
	W(" A"),     W(" gate"), W(" lets"),	W(" water"),   W(" through"), W(" and"),
	W(" holds"), W(" the"),	 W(" rest"),	W(" back,"),   W(" so"),      W(" fields"),
	W(" below"), W(" stay"), W(" green"),	W(" while"),   W(" rivers"),  W(" above"),
	W(" rise"),  W(" in"),	 W(" spring;"), W(" whoever"), W(" turns"),   W(" its"),
	W(" wheel"), W(" must"), W(" watch"),	W(" both"),    W(" sides"),   W(" at"),
	W(" once."), W(" Then"), W(" morning"), W(" comes:")
#undef W
};

struct span route_word(uint64_t i)
{
	size_t w = i % (sizeof(words) / sizeof(words[0]));

	return i == 0 ? (struct span){words[w].p + 1, words[w].n - 1}
		      : (struct span){words[w].p, words[w].n};
}

void route_words(struct buf *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		buf_span(b, route_word(i));
}

const char *route_reason_cstr(unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason;
	} rows[] = {
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{301, "Moved Permanently"},
		{302, "Found"},
		{304, "Not Modified"},
		{307, "Temporary Redirect"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{413, "Content Too Large"},
		{422, "Unprocessable Content"},
		{429, "Too Many Requests"},
		{500, "Internal Server Error"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{529, "Overloaded"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].reason;
	return "Mock";
}

static const char *error_type(unsigned status, bool anthropic)
{
	switch (status) {
	case 401:
		return "authentication_error";
	case 403:
		return "permission_error";
	case 404:
		return anthropic ? "not_found_error" : "invalid_request_error";
	case 429:
		return "rate_limit_error";
	case 503:
	case 529:
		return "overloaded_error";
	}
	if (status < 500)
		return "invalid_request_error";
	return anthropic ? "api_error" : "server_error";
}

/* An empty JSON answer to fill. */
static struct buf *json_body(struct conn *c)
{
	c->reply.body = BODY_MEM;
	c->reply.type_cstr = "application/json";
	buf_reset(&c->reply.mem, SIZE_MAX);
	return &c->reply.mem;
}

void route_error(struct conn *c, unsigned status, const char *message)
{
	struct buf *b = json_body(c);

	c->reply.status = status;
	if (c->req.endpoint == EP_MESSAGES) {
		buf_printf(b,
			   "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"%s\"},"
			   "\"request_id\":\"req_%016llx\"}\n",
			   error_type(status, true), message,
			   (unsigned long long)c->reply.request_id);
		return;
	}
	const char *code = status == 429   ? "\"rate_limit_exceeded\""
			   : status == 401 ? "\"invalid_api_key\""
					   : "null";
	buf_printf(b,
		   "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":%s}}\n",
		   message, error_type(status, false), code);
}

static uint32_t prompt_tokens(const struct conn *c)
{
	return (uint32_t)(c->req.body_bytes / 4 + 1);
}

static void stream_answer(struct conn *c, const struct ask *ask, bool anthropic)
{
	struct reply *r = &c->reply;

	r->body = BODY_EVENTS;
	r->type_cstr = "text/event-stream; charset=utf-8";
	r->stream.anthropic = anthropic;
	r->stream.include_usage = ask->include_usage;
	r->stream.timestamps = r->behave.timestamps;
	r->stream.eol_cstr = r->behave.fault == FAULT_SPLIT_EVENTS ? "\r\n" : "\n";
	r->stream.n_tokens = r->behave.tokens;
	r->stream.prompt_tokens = prompt_tokens(c);
	event_start(&r->stream, ask->model, r->request_id, c->srv->date_s);
}

static void chat_answer(struct conn *c, const struct ask *ask)
{
	if (ask->stream) {
		stream_answer(c, ask, false);
		return;
	}
	struct buf *b = json_body(c);
	uint32_t n = c->reply.behave.tokens, prompt = prompt_tokens(c);
	buf_span(b, SPAN("{\"id\":\"chatcmpl-"));
	buf_hex64(b, c->reply.request_id);
	buf_span(b, SPAN("\",\"object\":\"chat.completion\",\"created\":"));
	buf_u64(b, (uint64_t)c->srv->date_s);
	buf_span(b, SPAN(",\"model\":\""));
	buf_span(b, ask->model);
	buf_span(b, SPAN("\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
			 "\"content\":\""));
	route_words(b, n);
	buf_span(b, SPAN("\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
			 "\"usage\":{\"prompt_tokens\":"));
	buf_u64(b, prompt);
	buf_span(b, SPAN(",\"completion_tokens\":"));
	buf_u64(b, n);
	buf_span(b, SPAN(",\"total_tokens\":"));
	buf_u64(b, (uint64_t)prompt + n);
	buf_span(b, SPAN(",\"prompt_tokens_details\":{\"cached_tokens\":0},"
			 "\"completion_tokens_details\":{\"reasoning_tokens\":0}},"
			 "\"system_fingerprint\":\"fp_mock\"}\n"));
}

static void messages_answer(struct conn *c, const struct ask *ask)
{
	if (ask->stream) {
		stream_answer(c, ask, true);
		return;
	}
	struct buf *b = json_body(c);
	buf_span(b, SPAN("{\"id\":\"msg_"));
	buf_hex64(b, c->reply.request_id);
	buf_span(b, SPAN("\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\""));
	buf_span(b, ask->model);
	buf_span(b, SPAN("\",\"content\":[{\"type\":\"text\",\"text\":\""));
	route_words(b, c->reply.behave.tokens);
	buf_span(b, SPAN("\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{"
			 "\"input_tokens\":"));
	buf_u64(b, prompt_tokens(c));
	buf_span(b, SPAN(",\"output_tokens\":"));
	buf_u64(b, c->reply.behave.tokens);
	buf_span(b, SPAN("}}\n"));
}

static void embeddings_answer(struct conn *c, const struct ask *ask)
{
	struct buf *vector = &c->srv->embedding, *b = json_body(c);
	uint32_t x = 1;

	if (buf_pending(vector) == 0) {
		for (int i = 0; i < EMBEDDING_DIMENSIONS; i++) {
			x = x * 1664525u + 1013904223u;
			double v = ((double)x / 4294967296.0 - 0.5) / 8;
			buf_printf(vector, "%s%.17f", i > 0 ? "," : "", v);
		}
	}
	buf_span(b, SPAN("{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,"
			 "\"embedding\":["));
	buf_add(b, buf_head(vector), buf_pending(vector));
	buf_span(b, SPAN("]}],\"model\":\""));
	buf_span(b, ask->model);
	buf_printf(b, "\",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}\n",
		   prompt_tokens(c), prompt_tokens(c));
}

static void models_answer(struct conn *c, const struct ask *ask)
{
	static const char *const models[] = {"mock-gpt",	  "gpt-4.1",
					     "claude-sonnet-4.5", "gemini-2.5-flash",
					     "deepseek-v3.2",	  "text-embedding-3-small"};
	struct buf *b = json_body(c);

	buf_span(b, SPAN("{\"object\":\"list\",\"data\":["));
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
		buf_printf(b,
			   "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":1700000000,\"owned_"
			   "by\":\"%s\"}",
			   i > 0 ? "," : "", models[i], c->srv->name_cstr);
	buf_span(b, SPAN("]}\n"));
}

static void health_answer(struct conn *c, const struct ask *ask)
{
	buf_printf(json_body(c), "{\"status\":\"ok\",\"name\":\"%s\"}\n", c->srv->name_cstr);
}

static struct span path_of(struct span target)
{
	if (span_starts(target, "http://") || span_starts(target, "https://")) {
		size_t skip = span_starts(target, "https://") ? 8 : 7;
		const char *slash = memchr(target.p + skip, '/', target.n - skip);
		if (slash == NULL)
			return SPAN("/");
		target.n -= (size_t)(slash - target.p);
		target.p = slash;
	}
	const char *mark = memchr(target.p, '?', target.n);
	if (mark != NULL)
		target.n = (size_t)(mark - target.p);
	return target;
}

static void bytes_answer(struct conn *c, const struct ask *ask)
{
	struct span path = path_of(c->req.head.target);
	const char *slash = memrchr(path.p, '/', path.n);
	size_t skip = (size_t)(slash + 1 - path.p);

	if (!span_u64((struct span){slash + 1, path.n - skip}, INT64_MAX, &c->reply.total)) {
		route_error(c, 404, "the path wants a number of bytes");
		return;
	}
	c->reply.body = BODY_BYTES;
	c->reply.type_cstr = "application/octet-stream";
	if (c->req.endpoint == EP_CHUNKED)
		c->reply.framing = FRAME_CHUNKED;
}

static void stats_answer(struct conn *c, const struct ask *ask)
{
	stats_json(c->srv, json_body(c));
}

static void upload_answer(struct conn *c, const struct ask *ask)
{
	echo_upload(c);
}

static void any_answer(struct conn *c, const struct ask *ask)
{
	echo_answer(c);
}

static void other_answer(struct conn *c, const struct ask *ask)
{
	struct buf message = {0};

	buf_span(&message, SPAN("Invalid URL ("));
	buf_json(&message, c->req.head.method);
	buf_span(&message, SPAN(" "));
	buf_json(&message, c->req.head.target);
	buf_add(&message, ")", 2);
	route_error(c, 404, buf_head(&message));
	buf_free(&message);
}

static const struct route routes[EP_MAX] = {
	[EP_CHAT] = {"/v1/chat/completions", false, M_POST, "POST", true, chat_answer},
	[EP_EMBEDDINGS] = {"/v1/embeddings", false, M_POST, "POST", true, embeddings_answer},
	[EP_MESSAGES] = {"/v1/messages", false, M_POST, "POST", true, messages_answer},
	[EP_MODELS] = {"/v1/models", false, M_GET, "GET, HEAD", false, models_answer},
	[EP_HEALTH] = {"/health", false, M_GET, "GET, HEAD", false, health_answer},
	[EP_BYTES] = {"/bytes", true, M_GET, "GET, HEAD", false, bytes_answer},
	[EP_CHUNKED] = {"/chunked", true, M_GET, "GET, HEAD", false, bytes_answer},
	[EP_UPLOAD] = {"/upload", false, M_POST, "POST, PUT", false, upload_answer},
	[EP_ECHO] = {"/echo", true, M_ANY, "", false, any_answer},
	[EP_STATS] = {"/stats", false, M_GET, "GET, HEAD", false, stats_answer},
	[EP_OTHER] = {"other", false, M_ANY, "", false, other_answer},
};

const char *route_path_cstr(enum endpoint ep)
{
	return routes[ep].path;
}

enum endpoint route_find(struct span target)
{
	struct span path = path_of(target);

	for (int i = 0; i < EP_OTHER; i++) {
		size_t n = strlen(routes[i].path);
		if (path.n < n || memcmp(path.p, routes[i].path, n) != 0)
			continue;
		if (path.n == n || (routes[i].deeper && path.p[n] == '/'))
			return (enum endpoint)i;
	}
	return EP_OTHER;
}

static bool method_ok(const struct conn *c)
{
	struct span m = c->req.head.method;

	switch (routes[c->req.endpoint].methods) {
	case M_GET:
		return span_is(m, "GET") || span_is(m, "HEAD");
	case M_POST:
		return span_is(m, "POST") || (c->req.endpoint == EP_UPLOAD && span_is(m, "PUT"));
	}
	return true;
}

static struct ask read_ask(struct span body)
{
	struct ask ask = {.model = SPAN("mock-gpt")};
	struct json_iter it, options;
	struct span key, value;
	int rc;

	json_start(&it, body);
	while ((rc = json_next(&it, &key, &value)) > 0) {
		if (span_is(key, "model")) {
			if (!json_string(value, &ask.model) || ask.model.n > MODEL_MAX)
				ask.error = "model is no string, or too long";
		} else if (span_is(key, "stream")) {
			ask.stream = span_is(value, "true");
		} else if (span_is(key, "stream_options")) {
			json_start(&options, value);
			while (json_next(&options, &key, &value) > 0)
				if (span_is(key, "include_usage"))
					ask.include_usage = span_is(value, "true");
		}
	}
	if (rc < 0)
		ask.error = "the body is no JSON object";
	if (ask.error != NULL)
		ask.model = SPAN("");
	return ask;
}

/* Settings from all their sources; on a bad one answers 400 and returns false. */
static bool settle_behave(struct conn *c, const struct ask *ask)
{
	struct behave *b = &c->reply.behave;
	struct span bad = {0};

	*b = c->srv->defaults;
	if (c->req.endpoint == EP_STATS)
		b->status = 0, b->fault = FAULT_NONE, b->delay_ms = 0,
		b->retry_after_cstr[0] = '\0';
	if (behave_model(b, ask->model, &bad) == 0 &&
	    behave_query(b, c->req.head.target, &bad) == 0 &&
	    behave_headers(b, &c->req.head, &bad) == 0) {
		if (b->fault != FAULT_REFUSE)
			return true;
		bad = SPAN("refuse is for --fault only");
	}
	struct buf message = {0};
	buf_span(&message, SPAN("bad mock setting: "));
	buf_json(&message, bad);
	buf_add(&message, "", 1);
	*b = (struct behave){0};
	route_error(c, 400, buf_head(&message));
	buf_free(&message);
	return false;
}

void route_answer(struct conn *c)
{
	struct request *q = &c->req;
	const struct route *route = &routes[q->endpoint];
	struct ask ask = {0};

	c->reply.status = 200;
	if (route->api && method_ok(c) && !q->too_large)
		ask = read_ask((struct span){buf_head(&q->body), buf_pending(&q->body)});
	if (!settle_behave(c, &ask))
		return;
	unsigned status = c->reply.behave.status;
	if (q->too_large) {
		route_error(c, 413, "the body is too large for the mock");
	} else if (!method_ok(c)) {
		route_error(c, 405, "method not allowed");
		c->reply.allow_cstr = route->allow;
	} else if (status >= 400) {
		route_error(c, status, "the mock was told to fail");
	} else if (ask.error != NULL) {
		route_error(c, 400, ask.error);
	} else {
		route->answer(c, &ask);
		if (status != 0)
			c->reply.status = status;
	}
}
