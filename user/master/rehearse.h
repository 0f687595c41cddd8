/* SPDX-License-Identifier: BSD-2-Clause */
/* `sluice -t --pcap FILE`: what the guard would have dropped of a capture with this configuration. */
#ifndef SL_MASTER_REHEARSE_H
#define SL_MASTER_REHEARSE_H

#include <stdbool.h>

#include "conf/conf.h"

enum { REHEARSE_TOP = 10 };

struct rehearse_options {
	const char *pcap;   /* "-": standard input */
	const char *filter; /* pcap-filter(7), or NULL */
	const char *bans;   /* a file of bans that are in force, or NULL */
	unsigned top;	    /* sources of each rule */
	bool is_json;
};

/* Attaches and pins nothing, and leaves a running sluice alone. Prints to stdout; messages go to stderr.
 * Returns the exit code: 0, or 1 when it could not be done. */
int rehearse_run(const struct conf *c, const struct rehearse_options *o);

#endif
