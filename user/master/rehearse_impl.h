/* SPDX-License-Identifier: BSD-2-Clause */
/* What rehearse.c and rehearse_print.c share. */
#ifndef SL_MASTER_REHEARSE_IMPL_H
#define SL_MASTER_REHEARSE_IMPL_H

#include "kernel/capture.h"
#include "master/rehearse.h"
#include "master/tally.h"

struct rehearsal {
	const struct conf *conf;
	const struct rehearse_options *options;
	struct capture *capture;
	struct capture_packet packet; /* the one that is under way */
	struct guard *guard;
	struct guard_events *events;
	struct tally tally; /* sorted before it is printed */
	int failure;
	bool is_broken; /* the capture ended with an error */
	uint64_t n_bans;
	uint32_t n_auto; /* addresses that allow_auto lets through */
	uint64_t bytes, n_dropped, dropped_bytes;
	struct guard_total totals[GUARD_N_TOTALS];
};

/* To stdout; -SL_ESYS or -SL_ENOMEM. */
int rehearse_print(const struct rehearsal *r);

#endif
