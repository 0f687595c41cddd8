/* SPDX-License-Identifier: BSD-2-Clause */
/* What happened, for whoever watches: a ring in shared memory that the master writes and the admin
 * process reads. Nobody waits for anybody: a reader that is too slow finds that what it wanted is
 * overwritten, and a writer that died in the middle leaves one event unread. No locks. */
#ifndef SL_CORE_EVENT_RING_H
#define SL_CORE_EVENT_RING_H

#include <stddef.h>
#include <stdint.h>

enum { EVENT_TEXT_MAX = 112, EVENT_RING_ROOM = 2048 };

enum event_kind {
	EVENT_DROP = 1,	  /* the guard drops packets, or in a dry run would */
	EVENT_BAN,	  /* or, with is_dry_run, what would be one */
	EVENT_BAN_LIFTED, /* by hand, or because the address is allowed now */
	EVENT_BAN_OVER,
	EVENT_GUARD_ON,	 /* on an interface; text: the mode, and why it is not the one wanted */
	EVENT_GUARD_OFF, /* text: why */
	EVENT_PEER_DOWN, /* an upstream peer; text: group and peer */
	EVENT_PEER_UP,
	EVENT_N_KINDS
};

/* What a kind has no use for is 0. */
struct event {
	uint64_t wall_ms;
	uint64_t packets; /* EVENT_DROP: of the entry or source so far */
	uint64_t for_ms;  /* EVENT_BAN: 0: for ever */
	uint32_t rule_id;
	uint8_t kind;	 /* enum event_kind */
	uint8_t verdict; /* EVENT_DROP: enum guard_total_index */
	uint8_t is_dry_run;
	uint8_t is_manual;
	uint8_t in_kernel;
	uint8_t family;	    /* 4, 6; 0: of no single source */
	uint8_t prefix_len; /* of what is banned, or of what a drop is counted at: addr is in it */
	uint8_t addr[16];   /* IPv4: the first four */
	char ifname[16];
	char text[EVENT_TEXT_MAX]; /* NUL-terminated */
};

struct event_ring;

size_t event_ring_bytes(void);
/* Zeroed memory only. EPOCH tells this ring's numbers from those of another one. */
void event_ring_init(struct event_ring *r, uint64_t epoch);
uint64_t event_ring_epoch(const struct event_ring *r);

/* Writer. Events are numbered from 1. */
void event_ring_put(struct event_ring *r, const struct event *e);
/* Counts N events that are left out, there being too many. */
void event_ring_leave_out(struct event_ring *r, uint64_t n);

/* Any process. The number of the newest; 0: none yet. */
uint64_t event_ring_newest(const struct event_ring *r);
/* The number of the oldest that is still there and not about to go; newest + 1 when there is none. */
uint64_t event_ring_oldest(const struct event_ring *r);
uint64_t event_ring_left_out(const struct event_ring *r);
/* 0; -SL_EAGAIN: not there yet; -SL_ENOTFOUND: not there any more. */
int event_ring_get(const struct event_ring *r, uint64_t number, struct event *out);

#endif
