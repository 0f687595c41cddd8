/* SPDX-License-Identifier: BSD-2-Clause */
/* One event loop a process: epoll (edge-triggered), timers, and tasks to run at the end of a turn. */
#ifndef SL_NET_LOOP_H
#define SL_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/clock.h"

struct loop;

/* What epoll points to: the first member of whatever has a descriptor. */
struct io {
	/* EVENTS are EPOLL… bits. May cancel and free anything, by io_del + loop_free. */
	void (*fn)(struct io *io, uint32_t events);
	int fd;
};

/* A timer's deadline may be moved later at no cost: the heap notices when the old one comes. */
struct timer {
	void (*fn)(struct timer *t);
	uint64_t deadline_ms; /* CLOCK_MONOTONIC; 0: not set */
	uint64_t heap_ms;     /* the deadline under which it stands in the heap */
	uint32_t heap_at;     /* index + 1; 0: not in the heap */
};

/* Runs once at the end of this turn, after all events and timers. */
struct task {
	struct task *next;
	void (*fn)(struct task *t);
	bool queued;
};

struct loop {
	struct clock clock;
	int epoll_fd;
	bool stop;
	uint32_t n_events; /* size of the array for one epoll_wait */
	struct epoll_event *events;
	int at_event, n_ready; /* where in this turn's events the loop is */
	struct timer **heap;
	uint32_t n_heap, heap_room;
	struct task *tasks, **tasks_tail;
	struct loop_garbage *garbage;
	/* NULL: nobody wants to know how long a turn worked, without its wait. */
	void (*on_turn)(struct loop *l, uint64_t now_ns, uint64_t busy_ns);
	void *turn_data;
};

/* N_EVENTS is how many events one turn takes. 0 or -SL_ESYS. */
int loop_init(struct loop *l, uint32_t n_events);
void loop_fini(struct loop *l);
/* Runs until loop->stop. */
void loop_run(struct loop *l);
/* One turn, waiting at most MAX_WAIT_MS (-1: for ever). */
void loop_turn(struct loop *l, int max_wait_ms);

/* EVENTS as for epoll_ctl (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET for connections). -SL_ESYS. */
int io_add(struct loop *l, struct io *io, int fd, uint32_t events);
int io_mod(struct loop *l, struct io *io, uint32_t events);
/* Takes it out of epoll; events of this turn that are still to come for it are dropped. Does not close. */
void io_del(struct loop *l, struct io *io);
/* The same for a descriptor that is closed next: epoll forgets it by itself then, which saves a system
 * call. Only where no other process or descriptor shares the socket. */
void io_forget(struct loop *l, struct io *io);
/* free(P) at the end of this turn, when no event can point to it any more. */
void loop_free(struct loop *l, void *p);

static inline void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	t->fn = fn;
	t->deadline_ms = 0;
	t->heap_ms = 0;
	t->heap_at = 0;
}

static inline bool timer_is_set(const struct timer *t)
{
	return t->deadline_ms != 0;
}

/* Sets or moves it to AFTER_MS from the turn's clock. */
void timer_set(struct loop *l, struct timer *t, uint64_t after_ms);
/* Takes it out of the heap: needed before its memory goes. */
void timer_cancel(struct loop *l, struct timer *t);
/* Leaves it in the heap, to be passed over silently: for timers that are set again soon. */
static inline void timer_pause(struct timer *t)
{
	t->deadline_ms = 0;
}

void task_post(struct loop *l, struct task *t);
void task_cancel(struct loop *l, struct task *t);

#endif
