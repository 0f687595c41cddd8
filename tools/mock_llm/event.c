/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text of server-sent events: OpenAI chat chunks and Anthropic messages. Pace, framing and
 * faults are reply.c's.
 */
#include "mock.h"

enum { ANTHROPIC_BEFORE = 3, ANTHROPIC_AFTER = 3 };

static void add_text(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

void event_start(struct stream *s, struct span model, uint64_t id, long created_s)
{
	s->id = id;
	buf_span(&s->model, model);
	if (s->anthropic)
		return;
	buf_span(&s->prefix, SPAN("data: {\"id\":\"chatcmpl-"));
	buf_hex64(&s->prefix, id);
	buf_span(&s->prefix, SPAN("\",\"object\":\"chat.completion.chunk\",\"created\":"));
	buf_u64(&s->prefix, (uint64_t)created_s);
	buf_span(&s->prefix, SPAN(",\"model\":\""));
	buf_span(&s->prefix, model);
	buf_span(&s->prefix, SPAN("\",\"system_fingerprint\":\"fp_mock\",\"choices\":["));
}

uint64_t event_count(const struct stream *s)
{
	if (s->anthropic)
		return (uint64_t)s->n_tokens + ANTHROPIC_BEFORE + ANTHROPIC_AFTER;
	/* the role, the words, the finish reason, [DONE] */
	return (uint64_t)s->n_tokens + 3 + (s->include_usage ? 1 : 0);
}

bool event_paced(const struct stream *s, uint64_t i)
{
	uint64_t first = s->anthropic ? ANTHROPIC_BEFORE : 1;

	return i >= first && i <= first + s->n_tokens;
}

uint64_t event_middle(const struct stream *s)
{
	return (s->anthropic ? ANTHROPIC_BEFORE : 1) + s->n_tokens / 2;
}

static void end_event(const struct stream *s, struct buf *b)
{
	if (s->timestamps) {
		buf_span(b, SPAN(",\"sent_ns\":"));
		buf_u64(b, timer_now_ns());
	}
	buf_span(b, SPAN("}"));
	add_text(b, s->eol_cstr);
	add_text(b, s->eol_cstr);
}

static void openai_usage(const struct stream *s, struct buf *b)
{
	buf_span(b, SPAN("],\"usage\":{\"prompt_tokens\":"));
	buf_u64(b, s->prompt_tokens);
	buf_span(b, SPAN(",\"completion_tokens\":"));
	buf_u64(b, s->n_tokens);
	buf_span(b, SPAN(",\"total_tokens\":"));
	buf_u64(b, (uint64_t)s->prompt_tokens + s->n_tokens);
	buf_span(b, SPAN(",\"prompt_tokens_details\":{\"cached_tokens\":0},"
			 "\"completion_tokens_details\":{\"reasoning_tokens\":0}}"));
	end_event(s, b);
}

static void openai_event(const struct stream *s, uint64_t i, struct buf *b)
{
	if (i == event_count(s) - 1) {
		buf_span(b, SPAN("data: [DONE]"));
		add_text(b, s->eol_cstr);
		add_text(b, s->eol_cstr);
		return;
	}
	buf_add(b, buf_head(&s->prefix), buf_pending(&s->prefix));
	if (i == (uint64_t)s->n_tokens + 2) {
		openai_usage(s, b);
		return;
	}
	if (i == 0)
		buf_span(b, SPAN("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\","
				 "\"refusal\":null},"
				 "\"logprobs\":null,\"finish_reason\":null}]"));
	else if (i == (uint64_t)s->n_tokens + 1)
		buf_span(b, SPAN("{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":"
				 "\"stop\"}]"));
	else {
		buf_span(b, SPAN("{\"index\":0,\"delta\":{\"content\":\""));
		buf_span(b, route_word(i - 1));
		buf_span(b, SPAN("\"},\"logprobs\":null,\"finish_reason\":null}]"));
	}
	if (s->include_usage)
		buf_span(b, SPAN(",\"usage\":null"));
	end_event(s, b);
}

static void anthropic_begin(const struct stream *s, const char *type, struct buf *b)
{
	buf_span(b, SPAN("event: "));
	add_text(b, type);
	add_text(b, s->eol_cstr);
	buf_span(b, SPAN("data: {\"type\":\""));
	add_text(b, type);
	buf_span(b, SPAN("\""));
}

static void anthropic_message(const struct stream *s, struct buf *b)
{
	anthropic_begin(s, "message_start", b);
	buf_span(b, SPAN(",\"message\":{\"id\":\"msg_"));
	buf_hex64(b, s->id);
	buf_span(b, SPAN("\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\""));
	buf_add(b, buf_head(&s->model), buf_pending(&s->model));
	buf_span(b, SPAN("\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,"
			 "\"usage\":{\"input_tokens\":"));
	buf_u64(b, s->prompt_tokens);
	buf_span(b, SPAN(",\"output_tokens\":1}}"));
}

static void anthropic_event(const struct stream *s, uint64_t i, struct buf *b)
{
	uint64_t after = i < ANTHROPIC_BEFORE + (uint64_t)s->n_tokens
				 ? 0
				 : i - s->n_tokens - ANTHROPIC_BEFORE + 1;

	if (i == 0) {
		anthropic_message(s, b);
	} else if (i == 1) {
		anthropic_begin(s, "content_block_start", b);
		buf_span(b,
			 SPAN(",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}"));
	} else if (i == 2) {
		anthropic_begin(s, "ping", b);
	} else if (after == 0) {
		anthropic_begin(s, "content_block_delta", b);
		buf_span(b, SPAN(",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\""));
		buf_span(b, route_word(i - ANTHROPIC_BEFORE));
		buf_span(b, SPAN("\"}"));
	} else if (after == 1) {
		anthropic_begin(s, "content_block_stop", b);
		buf_span(b, SPAN(",\"index\":0"));
	} else if (after == 2) {
		anthropic_begin(s, "message_delta", b);
		buf_span(b, SPAN(",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},"
				 "\"usage\":{\"output_tokens\":"));
		buf_u64(b, s->n_tokens);
		buf_span(b, SPAN("}"));
	} else {
		anthropic_begin(s, "message_stop", b);
	}
	end_event(s, b);
}

void event_render(const struct stream *s, uint64_t i, struct buf *b)
{
	if (s->anthropic)
		anthropic_event(s, i, b);
	else
		openai_event(s, i, b);
}

void event_error(const struct stream *s, struct buf *b)
{
	if (s->anthropic) {
		anthropic_begin(s, "error", b);
		buf_span(b, SPAN(",\"error\":{\"type\":\"overloaded_error\",\"message\":\"mock "
				 "error event\"}"));
	} else {
		buf_span(b, SPAN("data: {\"error\":{\"message\":\"mock error "
				 "event\",\"type\":\"server_error\","
				 "\"param\":null,\"code\":null}"));
	}
	end_event(s, b);
}

void event_free(struct stream *s)
{
	buf_free(&s->prefix);
	buf_free(&s->model);
}
