/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What the steering program and userspace agree on. Fixed-width types, explicit padding, no code. */
#ifndef SL_BPF_STEER_SHARED_H
#define SL_BPF_STEER_SHARED_H

#include <linux/types.h>

#define STEER_WORKERS_MAX 128 /* sockets of a listener, and processes that write their load */
#define STEER_BUSY_FULL 16    /* of struct steer_load's busy: the loop never sleeps */

/* loads: one slot a process, a cache line each; mapped by the workers, written with plain stores. */
struct steer_load {
	__u64 given; /* connections that the program sent here; the program's alone to write */
	__u64 taken; /* ... of which the worker knows: those between wait to be accepted */
	__u32 conns; /* open connections of clients */
	__u32 busy;  /* share of its time that the loop works, in parts of STEER_BUSY_FULL */
	__u8 pad[40];
};

enum steer_how {
	STEER_KERNEL, /* as the kernel spreads them: nothing here is known to be right */
	STEER_HASH,   /* by the hash of addresses and ports, among the places */
	STEER_LOAD,   /* the less busy of two places */
};

/* settings: one entry a listener. This and places are the master's to write. */
struct steer_settings {
	__u32 how;	/* enum steer_how */
	__u32 n_places; /* of places, from 0 */
};

/* places: a socket that somebody accepts from. */
struct steer_place {
	__u32 socket; /* in the map sockets */
	__u32 slot;   /* of its worker, in loads */
};

_Static_assert(sizeof(struct steer_load) == 64, "layout");
_Static_assert(sizeof(struct steer_settings) == 8, "layout");
_Static_assert(sizeof(struct steer_place) == 8, "layout");

#endif
