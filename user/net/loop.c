/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the epoll descriptor, the timer heap and what waits for the end of a turn. */
#include "net/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/err.h"

struct loop_garbage {
	struct loop_garbage *next;
};

int loop_init(struct loop *l, uint32_t n_events)
{
	*l = (struct loop){.n_events = n_events};
	l->tasks_tail = &l->tasks;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		return -SL_ESYS;
	l->events = calloc(n_events, sizeof *l->events);
	if (!l->events) {
		close(l->epoll_fd);
		return -SL_ESYS;
	}
	clock_update(&l->clock);
	return 0;
}

static void collect(struct loop *l)
{
	struct loop_garbage *g;

	while ((g = l->garbage)) {
		l->garbage = g->next;
		free(g);
	}
}

void loop_fini(struct loop *l)
{
	collect(l);
	free(l->events);
	free(l->heap);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	*l = (struct loop){.epoll_fd = -1};
}

void loop_free(struct loop *l, void *p)
{
	struct loop_garbage *g = p;

	if (!p)
		return;
	g->next = l->garbage;
	l->garbage = g;
}

static void ignore(struct io *io, uint32_t events)
{
}

int io_add(struct loop *l, struct io *io, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = io};

	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -SL_ESYS;
	io->fd = fd;
	return 0;
}

int io_mod(struct loop *l, struct io *io, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = io};

	return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0 ? -SL_ESYS : 0;
}

/* Events of this turn may still stand in the array; loop_free keeps the memory until they are passed, but
 * uses its first word, so they are taken out of the array here. */
void io_forget(struct loop *l, struct io *io)
{
	static struct io nobody = {.fn = ignore, .fd = -1};

	for (int i = l->at_event; i < l->n_ready; i++)
		if (l->events[i].data.ptr == io)
			l->events[i].data.ptr = &nobody;
}

void io_del(struct loop *l, struct io *io)
{
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	io_forget(l, io);
}

/* The timer heap: a binary heap by heap_ms. */

static bool before(const struct timer *a, const struct timer *b)
{
	return a->heap_ms < b->heap_ms;
}

static void place(struct loop *l, uint32_t at, struct timer *t)
{
	l->heap[at] = t;
	t->heap_at = at + 1;
}

static void sift_up(struct loop *l, uint32_t at, struct timer *t)
{
	while (at && before(t, l->heap[(at - 1) / 2])) {
		place(l, at, l->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	place(l, at, t);
}

static void sift_down(struct loop *l, uint32_t at, struct timer *t)
{
	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= l->n_heap)
			break;
		if (child + 1 < l->n_heap && before(l->heap[child + 1], l->heap[child]))
			child++;
		if (!before(l->heap[child], t))
			break;
		place(l, at, l->heap[child]);
		at = child;
	}
	place(l, at, t);
}

static void heap_remove(struct loop *l, struct timer *t)
{
	uint32_t at = t->heap_at - 1;
	struct timer *last = l->heap[--l->n_heap];

	t->heap_at = 0;
	if (last == t)
		return;
	if (at && before(last, l->heap[(at - 1) / 2]))
		sift_up(l, at, last);
	else
		sift_down(l, at, last);
}

static void heap_add(struct loop *l, struct timer *t)
{
	if (l->n_heap == l->heap_room) {
		uint32_t room = l->heap_room ? l->heap_room * 2 : 256;
		struct timer **heap = realloc(l->heap, room * sizeof(struct timer *));

		if (!heap) {
			fputs("sluice: [emerg] out of memory\n", stderr);
			abort();
		}
		l->heap = heap;
		l->heap_room = room;
	}
	l->n_heap++;
	sift_up(l, l->n_heap - 1, t);
}

void timer_set(struct loop *l, struct timer *t, uint64_t after_ms)
{
	t->deadline_ms = l->clock.mono_ms + after_ms;
	if (t->heap_at && t->deadline_ms >= t->heap_ms)
		return;
	if (t->heap_at)
		heap_remove(l, t);
	t->heap_ms = t->deadline_ms;
	heap_add(l, t);
}

void timer_cancel(struct loop *l, struct timer *t)
{
	t->deadline_ms = 0;
	if (t->heap_at)
		heap_remove(l, t);
}

/* Timers that moved are put back; those that are due run. A timer set by another runs next turn at the
 * earliest only when it lies ahead, so a chain of zero timers cannot hold the loop. */
static void run_timers(struct loop *l)
{
	uint64_t now = l->clock.mono_ms;
	uint32_t budget = l->n_heap;

	while (budget-- && l->n_heap && l->heap[0]->heap_ms <= now) {
		struct timer *t = l->heap[0];

		heap_remove(l, t);
		if (t->deadline_ms == 0)
			continue;
		if (t->deadline_ms > now) {
			t->heap_ms = t->deadline_ms;
			heap_add(l, t);
			continue;
		}
		t->deadline_ms = 0;
		t->fn(t);
	}
}

void task_post(struct loop *l, struct task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*l->tasks_tail = t;
	l->tasks_tail = &t->next;
}

void task_cancel(struct loop *l, struct task *t)
{
	struct task **at = &l->tasks;

	if (!t->queued)
		return;
	while (*at && *at != t)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = t->next;
	if (l->tasks_tail == &t->next)
		l->tasks_tail = at;
	t->queued = false;
}

/* Tasks posted while these run wait for the next turn, which then does not sleep. */
static void run_tasks(struct loop *l)
{
	uint32_t n = 0;

	/* Counted, since any of them may be cancelled by another. */
	for (const struct task *t = l->tasks; t; t = t->next)
		n++;
	while (n-- && l->tasks) {
		struct task *t = l->tasks;

		l->tasks = t->next;
		if (!l->tasks)
			l->tasks_tail = &l->tasks;
		t->queued = false;
		t->fn(t);
	}
}

static int wait_ms(const struct loop *l, int max_wait_ms)
{
	uint64_t ms;

	if (l->tasks)
		return 0;
	if (!l->n_heap)
		return max_wait_ms;
	ms = l->heap[0]->heap_ms > l->clock.mono_ms ? l->heap[0]->heap_ms - l->clock.mono_ms : 0;
	if (ms > 3600000)
		ms = 3600000;
	return max_wait_ms >= 0 && (uint64_t)max_wait_ms < ms ? max_wait_ms : (int)ms;
}

void loop_turn(struct loop *l, int max_wait_ms)
{
	int n = epoll_wait(l->epoll_fd, l->events, (int)l->n_events, wait_ms(l, max_wait_ms));

	uint64_t from_ns = l->on_turn ? clock_mono_ns() : 0, now_ns;

	clock_update(&l->clock);
	l->n_ready = n > 0 ? n : 0;
	for (l->at_event = 0; l->at_event < l->n_ready; l->at_event++) {
		struct epoll_event *ev = &l->events[l->at_event];
		struct io *io = ev->data.ptr;

		io->fn(io, ev->events);
	}
	l->n_ready = 0;
	run_timers(l);
	run_tasks(l);
	collect(l);
	if (l->on_turn && from_ns) {
		now_ns = clock_mono_ns();
		l->on_turn(l, now_ns, now_ns - from_ns);
	}
}

void loop_run(struct loop *l)
{
	while (!l->stop)
		loop_turn(l, -1);
}
