/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the io module; what sizes must be to each other is checked as nginx does. */
#include "proxy/io_conf.h"

#include "core/err.h"
#include "core/num.h"

/* client_body_temp_path and proxy_temp_path. */
static int set_temp_path(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	struct io_temp **at = (void *)((char *)mod + row->offset), *t;
	uint64_t digits;

	if (*at)
		return conf_error(c, n, "\"%.*s\" directive is duplicate", SLICE_FMT(n->name));
	t = *at = arena_zalloc(&c->arena, sizeof *t);
	t->dir = conf_prefix_path(c, n->args[0]);
	for (int i = 1; i < n->n_args; i++) {
		if (num_u63(n->args[i], &digits) || digits == 0 || digits > 3)
			return conf_error_hint(c, n, "1, 2 or 3 digits of a file's name",
					       "invalid value \"%.*s\"", SLICE_FMT(n->args[i]));
		t->level[t->n_levels++] = (uint8_t)digits;
	}
	return 0;
}

static int set_buffers(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	struct io_scope *s = mod;
	struct io_buffers *p = arena_zalloc(&c->arena, sizeof *p);
	uint64_t count;

	if (s->buffers)
		return conf_error(c, n, "\"proxy_buffers\" directive is duplicate");
	if (num_u63(n->args[0], &count) || count == 0 || count > 4096 ||
	    conf_parse_size(n->args[1], &p->bytes) || p->bytes < 512 || p->bytes > 16 << 20)
		return conf_error_hint(c, n, "a number from 2, a size from 512",
				       "\"proxy_buffers\" directive invalid value");
	if (count < 2)
		return conf_error(c, n, "there must be at least 2 \"proxy_buffers\"");
	p->n = (int64_t)count;
	s->buffers = p;
	return 0;
}

static int set_hints(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct io_scope *s = mod;
	struct io_hints *h = arena_zalloc(&c->arena, sizeof *h);

	if (s->early_hints)
		return conf_error(c, n, "\"early_hints\" directive is duplicate");
	s->early_hints = h;
	h->v = arena_zalloc(&c->arena, (size_t)n->n_args * sizeof *h->v);
	for (; h->n < n->n_args; h->n++)
		if (conf_tmpl(c, n, n->args[h->n], &h->v[h->n]))
			return -SL_EINVAL;
	return 0;
}

static int wrong_size(struct conf *c, const struct conf_block *b, const char *name,
		      const char *must)
{
	return conf_error(c, b->node,
			  "\"%s\" %s equal to or greater than the maximum of the value of "
			  "\"proxy_buffer_size\" and one of the \"proxy_buffers\"",
			  name, must);
}

static int inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	struct io_scope *s = mod;
	int64_t one = s->buffer_bytes > s->buffers->bytes ? s->buffer_bytes : s->buffers->bytes;

	s->buffers_bytes = s->buffers->n * s->buffers->bytes;
	s->busy_bytes = s->busy_conf == CONF_UNSET ? 2 * one : s->busy_conf;
	s->temp_write_bytes = s->temp_write_conf == CONF_UNSET ? 2 * one : s->temp_write_conf;
	if (s->busy_bytes < one)
		return wrong_size(c, b, "proxy_busy_buffers_size", "must be");
	if (s->busy_bytes > s->buffers_bytes - s->buffers->bytes)
		return conf_error(c, b->node,
				  "\"proxy_busy_buffers_size\" must be less than the size of all "
				  "\"proxy_buffers\" minus one buffer");
	if (s->temp_write_bytes < one)
		return wrong_size(c, b, "proxy_temp_file_write_size", "must be");
	if (s->temp_max_bytes != 0 && s->temp_max_bytes < one)
		return wrong_size(
			c, b, "proxy_max_temp_file_size",
			"must be equal to zero to disable temporary files usage or must be");
	return 0;
}

static const struct conf_value in_file_values[] = {
	{"off", IN_FILE_OFF}, {"on", IN_FILE_ON}, {"clean", IN_FILE_CLEAN}, {NULL, 0}};

#define AT(field) offsetof(struct io_scope, field)
#define TYPED(dname, t, field, dflt, text) \
	{ \
		.name = dname, .contexts = CTX_SCOPE, .args_min = 1, .args_max = 1, .type = t, \
		.offset = AT(field), .deflt = dflt, .help = text \
	}

static const struct conf_row rows[] = {
	{.name = "client_body_in_file_only",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(in_file_only),
	 .values = in_file_values,
	 .deflt = "off",
	 .help = "each request body goes to a file with a name, $request_body_file; on: it stays there, "
		 "clean: it is removed with its request"},
	TYPED("client_body_in_single_buffer", CONF_FLAG, in_single_buffer, "off",
	      "a body in memory is in one piece; with sluice it always is"),
	{.name = "client_body_temp_path",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 4,
	 .type = CONF_CUSTOM,
	 .offset = AT(client_temp),
	 .deflt = "/tmp",
	 .flags = CONF_INHERIT,
	 .set = set_temp_path,
	 .help = "PATH [DIGITS [DIGITS [DIGITS]]] -- folder of the files that hold large request bodies, "
		 "without a name unless client_body_in_file_only"},
	TYPED("proxy_request_buffering", CONF_FLAG, request_buffering, "on",
	      "off: a request body goes to the upstream as it comes in, and cannot be sent twice"),
	TYPED("proxy_buffering", CONF_FLAG, buffering, "on",
	      "take up to proxy_buffers ahead of a slow client; event streams are never held back"),
	{.name = "proxy_buffer_size",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = AT(buffer_bytes),
	 .min = 512,
	 .max = 16 << 20,
	 .deflt = "4k",
	 .help = "the head of an answer must fit; without buffering also what is taken ahead"},
	{.name = "proxy_buffers",
	 .contexts = CTX_SCOPE,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(buffers),
	 .deflt = "8 4k",
	 .flags = CONF_INHERIT,
	 .set = set_buffers,
	 .help = "NUMBER SIZE -- NUMBER * SIZE bytes of an answer may wait for its client"},
	TYPED("proxy_busy_buffers_size", CONF_SIZE, busy_conf, NULL,
	      "so much of them may be on its way to the client while the rest collects what goes to a "
	      "temporary file; default: two buffers"),
	TYPED("proxy_max_temp_file_size", CONF_SIZE, temp_max_bytes, "0",
	      "so much of an answer that its client does not take in time goes to a temporary file, and "
	      "frees its upstream; 0: nothing does"),
	TYPED("proxy_temp_file_write_size", CONF_SIZE, temp_write_conf, NULL,
	      "goes to a temporary file at once, at most; default: two buffers"),
	{.name = "proxy_temp_path",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 4,
	 .type = CONF_CUSTOM,
	 .offset = AT(proxy_temp),
	 .deflt = "/tmp",
	 .flags = CONF_INHERIT,
	 .set = set_temp_path,
	 .help = "PATH [DIGITS [DIGITS [DIGITS]]] -- folder of temporary files of answers; they have no "
		 "name, so that there are no subfolders"},
	{.name = "proxy_limit_rate",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = AT(limit_rate),
	 .max = (int64_t)1 << 40,
	 .deflt = "0",
	 .help = "bytes a second that are read of an answer, with proxy_buffering; 0: no limit"},
	TYPED("proxy_ignore_client_abort", CONF_FLAG, ignore_client_abort, "off",
	      "an upstream is asked to the end of its answer's head although the client closed its HTTP/1 "
	      "connection"),
	{.name = "early_hints",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .offset = AT(early_hints),
	 .flags = CONF_INHERIT,
	 .set = set_hints,
	 .help = "STRING ... -- a 103 of an upstream reaches the client when one of them is neither empty "
		 "nor 0"},
	TYPED("proxy_pass_trailers", CONF_FLAG, pass_trailers, "off",
	      "fields behind a chunked answer reach the client, but those that frame, route or "
	      "authenticate"),
};

const struct conf_module io_module = {
	.name = "io",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct io_scope),
	.inherit = inherit,
};
