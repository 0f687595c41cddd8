/* SPDX-License-Identifier: BSD-2-Clause */
/* Measures how busy this worker is and writes it where the steering program reads it: plain stores at the end of a
 * turn of the loop, no system call. */
#ifndef SL_WORKER_LOAD_H
#define SL_WORKER_LOAD_H

#include "bpf/steer_shared.h"
#include "core/stats.h"
#include "net/loop.h"

struct load {
	struct steer_load *at; /* NULL: nobody wants to know */
	struct loop *loop;
	const struct stats_worker *stats;
	struct timer timer;	  /* an idle loop must wake up to say that it is idle */
	uint64_t since_ns;	  /* the present window's beginning */
	uint64_t busy_ns;	  /* ... and how much of it was work */
	uint64_t n_accepted;	  /* as of the last turn */
	uint32_t busy_thousandth; /* over the last windows, the newer the more */
};

void load_start(struct load *l, struct steer_load *at, struct loop *loop,
		const struct stats_worker *stats);
void load_stop(struct load *l);
/* The end of a turn at NOW_NS that worked for BUSY_NS. */
void load_turn(struct load *l, uint64_t now_ns, uint64_t busy_ns);

#endif
