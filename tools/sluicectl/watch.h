/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens, as it happens, on stdout. */
#ifndef SL_SLUICECTL_WATCH_H
#define SL_SLUICECTL_WATCH_H

#include <stdbool.h>

/* LAST: how many of the last events come first, escaped for a query; may be empty. Goes on over reloads,
 * restarts and upgrades of sluice, until it is interrupted. Returns the exit code. */
int watch_run(const char *socket_path, const char *last, bool is_json);

#endif
