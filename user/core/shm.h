/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that the master maps before it forks and that every later process inherits: limit zones,
 * peers' state, counters, bans. A zone is found by name and kind, so that a reload keeps it when its
 * size and key stay. Locks recover from a holder that died. */
#ifndef SL_CORE_SHM_H
#define SL_CORE_SHM_H

#include <pthread.h>
#include <stdint.h>

#include "core/slice.h"

struct shm_zone {
	struct shm_zone *next;
	char *name, *kind, *key; /* heap; key is what must stay equal for the memory to stay */
	size_t bytes;
	void *mem;	 /* zeroed when new, page aligned */
	uint32_t n_refs; /* configurations that use it */
	bool fresh;	 /* nobody has initialised it yet */
};

/* The master's list of zones; one a process tree. */
struct shm_registry {
	struct shm_zone *zones;
};

/* Borrowed from the registry, one reference taken; NULL with errno when mmap fails. A zone of the same
 * name and kind but another size or key is new memory: the old one lives until its users unref it. */
struct shm_zone *shm_zone_ref(struct shm_registry *reg, const char *kind, struct slice name,
			      struct slice key, size_t bytes);
/* The last unref unmaps it. */
void shm_zone_unref(struct shm_registry *reg, struct shm_zone *z);

/* A robust process-shared mutex, to be placed in a zone. */
struct shm_lock {
	pthread_mutex_t m;
};

void shm_lock_init(struct shm_lock *l);
/* True when the last holder died inside: the caller must put its data into a sane state. */
bool shm_lock_get(struct shm_lock *l);
void shm_lock_put(struct shm_lock *l);

#endif
