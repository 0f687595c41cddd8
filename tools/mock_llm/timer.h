/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers of mock-llm: a binary heap of intrusive entries, CLOCK_MONOTONIC nanoseconds. A zeroed
 * struct timer is idle; it must be cancelled before its memory goes away.
 */
#ifndef MOCK_TIMER_H
#define MOCK_TIMER_H

#include <stddef.h>
#include <stdint.h>

struct timer {
	uint64_t due_ns;
	size_t pos; /* place in the heap + 1; 0 when idle */
};

struct timer_heap {
	struct timer **v;
	size_t n, cap;
};

uint64_t timer_now_ns(void);
/* Starts, or moves one that is running. */
void timer_start(struct timer_heap *h, struct timer *t, uint64_t due_ns);
void timer_cancel(struct timer_heap *h, struct timer *t);
/* When the next one is due, UINT64_MAX when there is none. */
uint64_t timer_next_ns(const struct timer_heap *h);
/* Takes out one that is due, NULL when none is. */
struct timer *timer_pop(struct timer_heap *h, uint64_t now_ns);
void timer_fini(struct timer_heap *h);

#endif
