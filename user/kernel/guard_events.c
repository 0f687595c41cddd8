/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading end of the ring buffer `events`: the only consumer, in the master. Reads what is
 * there and no more than it is asked to, so that a flood of events cannot hold the master. What the
 * events mean is for the caller. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

struct guard_events {
	struct ring_buffer *ring;
	guard_event_fn fn;
	void *arg;
	unsigned n_left; /* of this reading */
};

/* libbpf goes on until the ring is empty or this is negative; the event counts as read then, too. */
static int on_sample(void *ctx, void *data, size_t n)
{
	struct guard_events *e = ctx;
	struct guard_event event;

	if (n >= sizeof event) {
		memcpy(&event, data, sizeof event);
		e->fn(e->arg, &event);
	}
	return --e->n_left ? 0 : -ENOBUFS;
}

int guard_events_open(struct guard_events **out, const struct guard_maps *m, guard_event_fn fn,
		      void *arg, char *err, size_t err_size)
{
	struct guard_events *e = calloc(1, sizeof *e);

	*out = NULL;
	if (!e)
		return guard_fail(-SL_ENOMEM, err, err_size, "no memory for the guard's events");
	e->fn = fn;
	e->arg = arg;
	e->ring = ring_buffer__new(m->fd[GUARD_MAP_EVENTS], on_sample, e, NULL);
	if (!e->ring) {
		int saved = errno;

		free(e);
		errno = saved;
		return guard_fail(-SL_ESYS, err, err_size, "cannot map the guard's events: %s",
				  strerror(saved));
	}
	*out = e;
	return 0;
}

int guard_events_fd(const struct guard_events *e)
{
	return ring_buffer__epoll_fd(e->ring);
}

int guard_events_read(struct guard_events *e, unsigned n_max)
{
	int r;

	e->n_left = n_max;
	r = ring_buffer__consume(e->ring);
	return r < 0 && r != -ENOBUFS ? -SL_ESYS : (int)(n_max - e->n_left);
}

void guard_events_close(struct guard_events *e)
{
	if (!e)
		return;
	ring_buffer__free(e->ring);
	free(e);
}
