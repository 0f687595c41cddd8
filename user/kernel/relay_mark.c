/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the slots that connections share with the kernel: who has which. A worker takes them by chunks, without a
 * lock, and keeps them until it ends; the master takes back what a dead one had. */
#include <bpf/bpf.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "core/err.h"
#include "kernel/relay_impl.h"

#define OWNERS_BYTES (RELAY_N_CHUNKS * sizeof(uint32_t))

int relay_mark_init(struct relay *r)
{
	void *mem =
		mmap(NULL, OWNERS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	r->owners = mem == MAP_FAILED ? NULL : mem;
	return r->owners ? 0 : -SL_ENOMEM;
}

void relay_mark_fini(struct relay *r)
{
	if (r->owners)
		munmap(r->owners, OWNERS_BYTES);
	free(r->free_slots);
}

void relay_mark_begin(struct relay *r, unsigned worker)
{
	if (r)
		r->worker = worker;
}

void relay_mark_worker_gone(struct relay *r, unsigned worker)
{
	for (uint32_t i = 0; r && i < RELAY_N_CHUNKS; i++) {
		uint32_t owner = worker + 1;

		__atomic_compare_exchange_n(&r->owners[i], &owner, 0, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED);
	}
}

static bool take_chunk(struct relay *r)
{
	uint32_t *grown, i = 0, nobody = 0;

	/* All that we have may be given back. */
	grown = realloc(r->free_slots, (r->n_slots + RELAY_CHUNK_SLOTS) * sizeof *grown);
	if (!grown)
		return false;
	r->free_slots = grown;
	while (i < RELAY_N_CHUNKS &&
	       !__atomic_compare_exchange_n(&r->owners[i], &nobody, r->worker + 1, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		nobody = 0;
		i++;
	}
	if (i == RELAY_N_CHUNKS)
		return false;
	r->n_slots += RELAY_CHUNK_SLOTS;
	for (uint32_t k = 0; k < RELAY_CHUNK_SLOTS; k++)
		r->free_slots[r->n_free++] = i * RELAY_CHUNK_SLOTS + RELAY_CHUNK_SLOTS - 1 - k;
	return true;
}

/* What is redirected counts as received: with the buffer that a socket begins with, TCP's first bytes behind it
 * would find it full, be dropped, and come again when a timer says so. A low-water mark, set and taken back, is
 * what makes room without a privilege. */
static void make_room(int fd, uint32_t limit_bytes)
{
	int low = (int)limit_bytes, one = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low);
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
}

struct detour *relay_mark(struct relay *r, int fd, int group, uint32_t limit_bytes)
{
	struct relay_end end = {.group = (uint32_t)group, .limit_bytes = limit_bytes};

	if (!r || r->marks_fd < 0 || group < 0 || (!r->n_free && !take_chunk(r)))
		return NULL;
	end.slot = r->free_slots[r->n_free - 1];
	r->slots[end.slot] = (struct relay_slot){0};
	if (bpf_map_update_elem(r->marks_fd, &fd, &end, BPF_NOEXIST))
		return NULL;
	make_room(fd, limit_bytes);
	r->n_free--;
	return (struct detour *)&r->slots[end.slot];
}

void relay_mark_release(struct relay *r, struct detour *d)
{
	if (d)
		r->free_slots[r->n_free++] = (uint32_t)((struct relay_slot *)d - r->slots);
}
