/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The timer heap of mock-llm. Owns only its array; entries live in whoever started them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "timer.h"

uint64_t timer_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void heap_put(struct timer_heap *h, size_t i, struct timer *t)
{
	h->v[i] = t;
	t->pos = i + 1;
}

static void heap_up(struct timer_heap *h, size_t i, struct timer *t)
{
	while (i > 0) {
		size_t parent = (i - 1) / 2;
		if (h->v[parent]->due_ns <= t->due_ns)
			break;
		heap_put(h, i, h->v[parent]);
		i = parent;
	}
	heap_put(h, i, t);
}

static void heap_down(struct timer_heap *h, size_t i, struct timer *t)
{
	for (;;) {
		size_t kid = 2 * i + 1;
		if (kid >= h->n)
			break;
		if (kid + 1 < h->n && h->v[kid + 1]->due_ns < h->v[kid]->due_ns)
			kid++;
		if (h->v[kid]->due_ns >= t->due_ns)
			break;
		heap_put(h, i, h->v[kid]);
		i = kid;
	}
	heap_put(h, i, t);
}

void timer_start(struct timer_heap *h, struct timer *t, uint64_t due_ns)
{
	if (t->pos == 0) {
		if (h->n == h->cap) {
			size_t cap = h->cap ? h->cap * 2 : 256;
			struct timer **v = realloc(h->v, cap * sizeof(*v));
			if (v == NULL) {
				fprintf(stderr, "mock-llm: out of memory\n");
				abort();
			}
			h->v = v;
			h->cap = cap;
		}
		t->due_ns = due_ns;
		heap_up(h, h->n++, t);
		return;
	}
	uint64_t was = t->due_ns;
	t->due_ns = due_ns;
	if (due_ns < was)
		heap_up(h, t->pos - 1, t);
	else
		heap_down(h, t->pos - 1, t);
}

void timer_cancel(struct timer_heap *h, struct timer *t)
{
	if (t->pos == 0)
		return;
	size_t i = t->pos - 1;
	struct timer *last = h->v[--h->n];
	t->pos = 0;
	if (last == t)
		return;
	if (i > 0 && h->v[(i - 1) / 2]->due_ns > last->due_ns)
		heap_up(h, i, last);
	else
		heap_down(h, i, last);
}

uint64_t timer_next_ns(const struct timer_heap *h)
{
	return h->n > 0 ? h->v[0]->due_ns : UINT64_MAX;
}

struct timer *timer_pop(struct timer_heap *h, uint64_t now_ns)
{
	if (h->n == 0 || h->v[0]->due_ns > now_ns)
		return NULL;
	struct timer *t = h->v[0];
	timer_cancel(h, t);
	return t;
}

void timer_fini(struct timer_heap *h)
{
	free(h->v);
	*h = (struct timer_heap){0};
}
