/* SPDX-License-Identifier: BSD-2-Clause */
/* What relay*.c share and nobody else sees. */
#ifndef SL_KERNEL_RELAY_IMPL_H
#define SL_KERNEL_RELAY_IMPL_H

#include "bpf/relay_shared.h"
#include "kernel/relay.h"

enum {
	RELAY_CHUNK_SLOTS = 256, /* a worker takes so many at once */
	RELAY_N_CHUNKS = RELAY_SLOTS_MAX / RELAY_CHUNK_SLOTS,
	RELAY_TRIAL_GROUP = RELAY_GROUPS_MAX - 1, /* of relay_trial.c */
};

struct relay_bpf;

struct relay {
	struct relay_bpf *skel;
	int link_fd, marks_fd;
	struct relay_slot *slots;	   /* mapped, all processes */
	const struct relay_totals *totals; /* the same, read only */
	uint32_t *owners;		   /* shared: who has which chunk, a worker's slot + 1 */
	uint32_t n_groups;
	char group[RELAY_GROUPS_MAX][RELAY_NAME_MAX + 1];
	/* of one worker */
	unsigned worker;
	uint32_t *free_slots;	  /* a stack */
	uint32_t n_free, n_slots; /* of N_SLOTS that it has */
};

/* relay_mark.c: 0 or -SL_ENOMEM. */
int relay_mark_init(struct relay *r);
void relay_mark_fini(struct relay *r);

/* relay_trial.c: sends through a pair of its own. 0, or -SL_ESYS with the reason. */
int relay_trial_run(struct relay *r, char *err, size_t err_size);

/* One line to ERR; hands CODE back, keeps errno. */
int relay_fail(int code, char *err, size_t err_size, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
