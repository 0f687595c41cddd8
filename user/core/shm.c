/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the mappings of the zones in the master; children only use them. */
#include "core/shm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

static bool same(const char *a, struct slice b)
{
	return slice_eq(slice_cstr(a), b);
}

static struct shm_zone *zone_new(const char *kind, struct slice name, struct slice key,
				 size_t bytes)
{
	struct shm_zone *z = calloc(1, sizeof *z);

	if (!z)
		return NULL;
	z->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	z->name = strndup(name.p ? name.p : "", name.n);
	z->key = strndup(key.p ? key.p : "", key.n);
	z->kind = strdup(kind);
	if (z->mem == MAP_FAILED || !z->name || !z->key || !z->kind) {
		if (z->mem != MAP_FAILED)
			munmap(z->mem, bytes);
		free(z->name);
		free(z->key);
		free(z->kind);
		free(z);
		errno = ENOMEM;
		return NULL;
	}
	z->bytes = bytes;
	z->fresh = true;
	return z;
}

struct shm_zone *shm_zone_ref(struct shm_registry *reg, const char *kind, struct slice name,
			      struct slice key, size_t bytes)
{
	struct shm_zone *z;

	for (z = reg->zones; z; z = z->next) {
		if (strcmp(z->kind, kind) == 0 && same(z->name, name) && same(z->key, key) &&
		    z->bytes == bytes) {
			z->n_refs++;
			return z;
		}
	}
	z = zone_new(kind, name, key, bytes);
	if (!z)
		return NULL;
	z->n_refs = 1;
	z->next = reg->zones;
	reg->zones = z;
	return z;
}

void shm_zone_unref(struct shm_registry *reg, struct shm_zone *z)
{
	if (!z || --z->n_refs)
		return;
	for (struct shm_zone **at = &reg->zones; *at; at = &(*at)->next) {
		if (*at == z) {
			*at = z->next;
			break;
		}
	}
	munmap(z->mem, z->bytes);
	free(z->name);
	free(z->key);
	free(z->kind);
	free(z);
}

void shm_lock_init(struct shm_lock *l)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&l->m, &attr);
	pthread_mutexattr_destroy(&attr);
}

bool shm_lock_get(struct shm_lock *l)
{
	if (pthread_mutex_lock(&l->m) != EOWNERDEAD)
		return false;
	pthread_mutex_consistent(&l->m);
	return true;
}

void shm_lock_put(struct shm_lock *l)
{
	pthread_mutex_unlock(&l->m);
}
