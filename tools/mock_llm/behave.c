/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads the settings of a request of mock-llm from its model, query and headers. Decides nothing
 * about what they do: that is reply.c.
 */
#include "behave.h"

static const char *const fault_names[FAULT_MAX] = {
	[FAULT_NONE] = "none",
	[FAULT_REFUSE] = "refuse",
	[FAULT_CLOSE_BEFORE_HEAD] = "close-before-head",
	[FAULT_RESET_BEFORE_HEAD] = "reset-before-head",
	[FAULT_CLOSE_IN_HEAD] = "close-in-head",
	[FAULT_RESET_IN_HEAD] = "reset-in-head",
	[FAULT_CLOSE_IN_BODY] = "close-in-body",
	[FAULT_RESET_IN_BODY] = "reset-in-body",
	[FAULT_STALL_BEFORE_HEAD] = "stall-before-head",
	[FAULT_STALL_IN_BODY] = "stall-in-body",
	[FAULT_DRIP] = "drip",
	[FAULT_SHORT_LENGTH] = "short-length",
	[FAULT_LONG_LENGTH] = "long-length",
	[FAULT_BAD_CHUNK] = "bad-chunk",
	[FAULT_NO_FINAL_CHUNK] = "no-final-chunk",
	[FAULT_HUGE_HEADER] = "huge-header",
	[FAULT_MANY_1XX] = "many-1xx",
	[FAULT_UNREQUESTED_101] = "unrequested-101",
	[FAULT_GARBAGE_STATUS] = "garbage-status",
	[FAULT_BAD_HEADER] = "bad-header",
	[FAULT_BAD_HEADER_CR] = "bad-header-cr",
	[FAULT_BOTH_LENGTHS] = "both-lengths",
	[FAULT_TLS_NO_CLOSE_NOTIFY] = "tls-no-close-notify",
	[FAULT_CLOSE_AFTER] = "close-after",
	[FAULT_HTTP10_CLOSE] = "http10-close",
	[FAULT_ERROR_EVENT] = "error-event",
	[FAULT_SPLIT_EVENTS] = "split-events",
	[FAULT_EARLY_ANSWER] = "early-answer",
};

enum fault behave_fault(struct span name)
{
	int i = 0;

	while (i < FAULT_MAX && !span_is(name, fault_names[i]))
		i++;
	return (enum fault)i;
}

const char *behave_fault_cstr(enum fault fault)
{
	return fault_names[fault];
}

static int set_u32(struct span value, uint64_t min, uint64_t max, uint32_t *to)
{
	uint64_t v;

	if (!span_u64(value, max, &v) || v < min)
		return -1;
	*to = (uint32_t)v;
	return 0;
}

static int set_retry_after(struct span value, char *to_cstr)
{
	if (value.n == 0 || value.n >= RETRY_AFTER_MAX)
		return -1;
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < ' ' || value.p[i] > '~')
			return -1;
	memcpy(to_cstr, value.p, value.n);
	to_cstr[value.n] = '\0';
	return 0;
}

int behave_set(struct behave *b, struct span name, struct span value)
{
	if (span_is(name, "delay-ms") || span_is(name, "delay"))
		return set_u32(value, 0, DELAY_MAX_MS, &b->delay_ms);
	if (span_is(name, "chunk-delay-ms") || span_is(name, "chunk-delay"))
		return set_u32(value, 0, DELAY_MAX_MS, &b->chunk_delay_ms);
	if (span_is(name, "tokens"))
		return set_u32(value, 0, TOKENS_MAX, &b->tokens);
	if (span_is(name, "status"))
		return set_u32(value, 200, 599, &b->status);
	if (span_is(name, "retry-after"))
		return set_retry_after(value, b->retry_after_cstr);
	if (span_is(name, "sent-at")) {
		b->timestamps = !span_is(value, "0");
		return 0;
	}
	if (span_is(name, "fault")) {
		b->fault = behave_fault(value);
		return b->fault == FAULT_MAX ? -1 : 0;
	}
	return 0;
}

/* "delay-500" is the setting "delay" and the value "500"; names hold no digits, values start where
 * they end. */
static int set_joined(struct behave *b, struct span part)
{
	static const char *const names[] = {"chunk-delay-ms-", "chunk-delay-", "delay-ms-",
					    "delay-",	       "tokens-",      "status-",
					    "retry-after-",    "sent-at-",     "fault-"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t n = strlen(names[i]);
		if (span_starts(part, names[i]))
			return behave_set(b, (struct span){part.p, n - 1},
					  (struct span){part.p + n, part.n - n});
	}
	return 0;
}

int behave_model(struct behave *b, struct span model, struct span *bad)
{
	if (!span_starts(model, "mock-"))
		return 0;
	while (model.n > 0) {
		const char *plus = memchr(model.p, '+', model.n);
		struct span part = {model.p, plus ? (size_t)(plus - model.p) : model.n};
		model.p += part.n, model.n -= part.n;
		if (plus)
			model.p++, model.n--;
		if (span_starts(part, "mock-"))
			part.p += 5, part.n -= 5;
		*bad = part;
		if (set_joined(b, part) < 0)
			return -1;
	}
	return 0;
}

static int hex_value(char ch)
{
	const char *digits = "0123456789abcdef";
	const char *at = ch ? strchr(digits, ch >= 'A' && ch <= 'F' ? ch | 0x20 : ch) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Percent-decodes into to, cutting what does not fit. */
static struct span decode(struct span s, char *to, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n && n < max; i++) {
		if (s.p[i] == '%' && i + 2 < s.n && hex_value(s.p[i + 1]) >= 0 &&
		    hex_value(s.p[i + 2]) >= 0) {
			to[n++] = (char)(hex_value(s.p[i + 1]) * 16 + hex_value(s.p[i + 2]));
			i += 2;
		} else {
			to[n++] = s.p[i] == '+' ? ' ' : s.p[i];
		}
	}
	return (struct span){to, n};
}

/* Takes "x-mock-" or "mock-" off the name; false when it has neither. */
static bool own_name(struct span *name)
{
	size_t n = span_starts(*name, "x-mock-") ? 7 : span_starts(*name, "mock-") ? 5 : 0;

	name->p += n, name->n -= n;
	return n > 0;
}

int behave_query(struct behave *b, struct span target, struct span *bad)
{
	const char *mark = memchr(target.p, '?', target.n);
	char value[RETRY_AFTER_MAX + 1];

	if (mark == NULL)
		return 0;
	struct span rest = {mark + 1, target.n - (size_t)(mark + 1 - target.p)};
	while (rest.n > 0) {
		const char *amp = memchr(rest.p, '&', rest.n);
		struct span arg = {rest.p, amp ? (size_t)(amp - rest.p) : rest.n};
		rest.p += arg.n, rest.n -= arg.n;
		if (amp)
			rest.p++, rest.n--;
		const char *eq = memchr(arg.p, '=', arg.n);
		struct span name = {arg.p, eq ? (size_t)(eq - arg.p) : arg.n};
		if (eq == NULL || !own_name(&name))
			continue;
		*bad = arg;
		size_t n_name = (size_t)(eq + 1 - arg.p);
		if (behave_set(b, name,
			       decode((struct span){eq + 1, arg.n - n_name}, value,
				      sizeof(value))) < 0)
			return -1;
	}
	return 0;
}

int behave_headers(struct behave *b, const struct head *h, struct span *bad)
{
	struct head_iter it;
	struct span name, value;

	head_start(&it, h);
	while (head_next(&it, &name, &value)) {
		if (!span_starts(name, "x-mock-"))
			continue;
		name.p += 7, name.n -= 7;
		*bad = value;
		if (behave_set(b, name, value) < 0)
			return -1;
	}
	return 0;
}
