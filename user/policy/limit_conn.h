/* SPDX-License-Identifier: BSD-2-Clause */
/* limit_conn: how many requests of one key are being served now, in shared memory, one zone for all
 * workers. What a worker holds is counted by worker, so that a dead one's can be taken back. No
 * descriptors, no clock. */
#ifndef SL_POLICY_LIMIT_CONN_H
#define SL_POLICY_LIMIT_CONN_H

#include "core/shm.h"

struct limit_conn_zone;

/* The least that limit_conn_zone takes, as in nginx: 32 KB. */
size_t limit_conn_min_bytes(void);
/* Fills fresh memory of at least limit_conn_min_bytes(). */
void limit_conn_init(struct limit_conn_zone *z, size_t bytes);

/* Counts one more of KEY for the worker SLOT: its number, for limit_conn_leave(); 0 when there are MAX
 * already, or the zone is full. */
uint32_t limit_conn_enter(struct limit_conn_zone *z, struct slice key, unsigned slot, uint32_t max);
void limit_conn_leave(struct limit_conn_zone *z, uint32_t number);
/* The worker SLOT is dead: all that it held is given back. */
void limit_conn_worker_gone(struct limit_conn_zone *z, unsigned slot);
/* For status: nodes in use (one for each key and worker), room for. */
void limit_conn_usage(struct limit_conn_zone *z, uint32_t *used, uint32_t *room);

#endif
