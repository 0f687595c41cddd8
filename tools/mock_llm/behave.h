/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How mock-llm is told to behave: the process's defaults, then the model's name, then the query,
 * then headers; the later one wins, setting by setting.
 */
#ifndef MOCK_BEHAVE_H
#define MOCK_BEHAVE_H

#include "buf.h"
#include "head.h"

enum fault {
	FAULT_NONE,
	FAULT_REFUSE,
	FAULT_CLOSE_BEFORE_HEAD,
	FAULT_RESET_BEFORE_HEAD,
	FAULT_CLOSE_IN_HEAD,
	FAULT_RESET_IN_HEAD,
	FAULT_CLOSE_IN_BODY,
	FAULT_RESET_IN_BODY,
	FAULT_STALL_BEFORE_HEAD,
	FAULT_STALL_IN_BODY,
	FAULT_DRIP,
	FAULT_SHORT_LENGTH,
	FAULT_LONG_LENGTH,
	FAULT_BAD_CHUNK,
	FAULT_NO_FINAL_CHUNK,
	FAULT_HUGE_HEADER,
	FAULT_MANY_1XX,
	FAULT_UNREQUESTED_101,
	FAULT_GARBAGE_STATUS,
	FAULT_BAD_HEADER,
	FAULT_BAD_HEADER_CR,
	FAULT_BOTH_LENGTHS,
	FAULT_TLS_NO_CLOSE_NOTIFY,
	FAULT_CLOSE_AFTER,
	FAULT_HTTP10_CLOSE,
	FAULT_ERROR_EVENT,
	FAULT_SPLIT_EVENTS,
	FAULT_EARLY_ANSWER,
	FAULT_MAX
};

enum { TOKENS_MAX = 1000000, DELAY_MAX_MS = 3600000, RETRY_AFTER_MAX = 64 };

struct behave {
	uint32_t delay_ms, chunk_delay_ms, tokens;
	uint32_t status; /* 0: what the endpoint says */
	enum fault fault;
	bool timestamps;
	char retry_after_cstr[RETRY_AFTER_MAX]; /* empty: no header */
};

/* FAULT_NONE for "none", FAULT_MAX when there is no such fault. */
enum fault behave_fault(struct span name);
const char *behave_fault_cstr(enum fault fault);
/* One setting by its name, as in "delay-ms" or "fault". 0: taken or no such setting; -1: bad value.
 */
int behave_set(struct behave *b, struct span name, struct span value);
/* Settings in a model's name; each function leaves the bad name in *bad and returns -1 when one is
 * wrong. */
int behave_model(struct behave *b, struct span model, struct span *bad);
int behave_query(struct behave *b, struct span target, struct span *bad);
int behave_headers(struct behave *b, const struct head *h, struct span *bad);

#endif
