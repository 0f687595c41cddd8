/* SPDX-License-Identifier: BSD-2-Clause */
/* What a rehearsal refused, by rule and by source, in bounded memory. */
#ifndef SL_MASTER_TALLY_H
#define SL_MASTER_TALLY_H

#include "kernel/guard.h"

enum { TALLY_RULES_MAX = 1024, TALLY_SOURCES_MAX = 1 << 20 };

struct tally_rule {
	uint32_t id;
	uint8_t verdict; /* enum guard_total_index */
	bool is_dry_run;
	uint64_t packets, bytes;
	uint64_t n_sources;  /* listed */
	uint64_t n_unlisted; /* packets of sources for which there was no room */
};

struct tally_source {
	struct guard_cidr net; /* an address, or what a rate holds together; family 0: free */
	uint16_t rule;	       /* index */
	uint64_t packets, bytes;
};

struct tally {
	struct tally_rule rules[TALLY_RULES_MAX];
	unsigned n_rules;
	struct tally_source *sources; /* a hash, until tally_sort() */
	size_t n_sources, room;
};

/* T is zeroed. -SL_ENOMEM; -SL_ELIMIT: more rules than fit. */
int tally_add(struct tally *t, const struct guard_event *e, size_t bytes);
/* Rules as they came; their sources by rule, most packets first: n_sources from sources[0]. */
void tally_sort(struct tally *t);
void tally_fini(struct tally *t);

#endif
