/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tells a client of mock-llm what arrived: /echo and /upload. Changes nothing of the request.
 */
#include "mock.h"

static struct buf *json_body(struct conn *c)
{
	c->reply.body = BODY_MEM;
	c->reply.type_cstr = "application/json";
	return &c->reply.mem;
}

static void add_string(struct buf *b, const char *key, struct span text)
{
	buf_printf(b, ",\"%s\":\"", key);
	buf_json(b, text);
	buf_span(b, SPAN("\""));
}

static void add_cstr(struct buf *b, const char *key, const char *text)
{
	if (text == NULL)
		buf_printf(b, ",\"%s\":null", key);
	else
		add_string(b, key, (struct span){text, strlen(text)});
}

static void add_digest(struct conn *c, struct buf *b, const char *key)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	EVP_DigestFinal_ex(c->req.sha, digest, &n);
	buf_printf(b, ",\"%s\":\"", key);
	for (unsigned i = 0; i < n; i++)
		buf_printf(b, "%02x", digest[i]);
	buf_span(b, SPAN("\""));
}

static void add_headers(struct conn *c, struct buf *b)
{
	struct head_iter it;
	struct span name, value;
	const char *sep = "";

	buf_span(b, SPAN(",\"headers\":["));
	head_start(&it, &c->req.head);
	while (head_next(&it, &name, &value)) {
		buf_printf(b, "%s[\"", sep);
		buf_json(b, name);
		buf_span(b, SPAN("\",\""));
		buf_json(b, value);
		buf_span(b, SPAN("\"]"));
		sep = ",";
	}
	buf_span(b, SPAN("]"));
}

static void add_tls(struct conn *c, struct buf *b)
{
	if (c->ssl == NULL) {
		buf_span(b, SPAN(",\"sni\":null,\"tls\":null"));
		return;
	}
	const unsigned char *alpn = NULL;
	unsigned n_alpn = 0;
	add_cstr(b, "sni", SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name));
	buf_span(b, SPAN(",\"tls\":{\"resumed\":"));
	buf_printf(b, "%s", SSL_session_reused(c->ssl) ? "true" : "false");
	add_cstr(b, "protocol", SSL_get_version(c->ssl));
	add_cstr(b, "cipher", SSL_get_cipher_name(c->ssl));
	SSL_get0_alpn_selected(c->ssl, &alpn, &n_alpn);
	if (n_alpn > 0)
		add_string(b, "alpn", (struct span){(const char *)alpn, n_alpn});
	else
		add_cstr(b, "alpn", NULL);
	buf_span(b, SPAN("}"));
}

void echo_answer(struct conn *c)
{
	struct request *q = &c->req;
	struct buf *b = json_body(c);

	buf_printf(b, "{\"connection\":%llu,\"request\":%llu", (unsigned long long)c->id,
		   (unsigned long long)c->n_requests);
	add_cstr(b, "name", c->srv->name_cstr);
	add_cstr(b, "listener", c->listener->name_cstr);
	add_string(b, "method", q->head.method);
	add_string(b, "target", q->head.target);
	buf_printf(b, ",\"version\":\"HTTP/1.%d\"", q->head.minor);
	add_headers(c, b);
	add_cstr(b, "framing",
		 q->head.chunked      ? "chunked"
		 : q->head.has_length ? "length"
				      : "none");
	buf_printf(b, ",\"body_length\":%llu", (unsigned long long)q->body_bytes);
	add_digest(c, b, "body_sha256");
	if (q->body_bytes <= BODY_KEEP_MAX)
		add_string(b, "body", (struct span){buf_head(&q->body), buf_pending(&q->body)});
	else
		add_cstr(b, "body", NULL);
	add_tls(c, b);
	buf_span(b, SPAN("}\n"));
}

void echo_upload(struct conn *c)
{
	struct buf *b = json_body(c);

	buf_printf(b, "{\"length\":%llu", (unsigned long long)c->req.body_bytes);
	add_digest(c, b, "sha256");
	buf_span(b, SPAN("}\n"));
}
