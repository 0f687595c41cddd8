/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the layout of the ring and the order of stores in it. Knows neither who writes nor what the
 * events mean. */
#include "core/event_ring.h"

#include <string.h>

#include "core/err.h"

/* What is this close to being overwritten is not offered as the oldest. */
enum { MARGIN = EVENT_RING_ROOM / 16 };

struct slot {
	uint64_t number; /* 0: empty, or being written */
	struct event event;
};

struct event_ring {
	uint64_t epoch;
	uint64_t newest;
	uint64_t n_left_out;
	struct slot slot[EVENT_RING_ROOM];
};

size_t event_ring_bytes(void)
{
	return sizeof(struct event_ring);
}

void event_ring_init(struct event_ring *r, uint64_t epoch)
{
	r->epoch = epoch;
}

uint64_t event_ring_epoch(const struct event_ring *r)
{
	return r->epoch;
}

void event_ring_put(struct event_ring *r, const struct event *e)
{
	uint64_t number = r->newest + 1;
	struct slot *s = &r->slot[number % EVENT_RING_ROOM];

	__atomic_store_n(&s->number, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	s->event = *e;
	s->event.ifname[sizeof s->event.ifname - 1] = 0;
	s->event.text[sizeof s->event.text - 1] = 0;
	__atomic_store_n(&s->number, number, __ATOMIC_RELEASE);
	__atomic_store_n(&r->newest, number, __ATOMIC_RELEASE);
}

void event_ring_leave_out(struct event_ring *r, uint64_t n)
{
	__atomic_store_n(&r->n_left_out, r->n_left_out + n, __ATOMIC_RELAXED);
}

uint64_t event_ring_newest(const struct event_ring *r)
{
	return __atomic_load_n(&r->newest, __ATOMIC_ACQUIRE);
}

uint64_t event_ring_oldest(const struct event_ring *r)
{
	uint64_t newest = event_ring_newest(r);

	return newest > EVENT_RING_ROOM - MARGIN ? newest - (EVENT_RING_ROOM - MARGIN) + 1 : 1;
}

uint64_t event_ring_left_out(const struct event_ring *r)
{
	return __atomic_load_n(&r->n_left_out, __ATOMIC_RELAXED);
}

int event_ring_get(const struct event_ring *r, uint64_t number, struct event *out)
{
	const struct slot *s = &r->slot[number % EVENT_RING_ROOM];

	if (number == 0)
		return -SL_ENOTFOUND;
	if (number > event_ring_newest(r))
		return -SL_EAGAIN;
	if (__atomic_load_n(&s->number, __ATOMIC_ACQUIRE) != number)
		return -SL_ENOTFOUND;
	*out = s->event;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&s->number, __ATOMIC_RELAXED) == number ? 0 : -SL_ENOTFOUND;
}
