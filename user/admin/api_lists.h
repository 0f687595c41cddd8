/* SPDX-License-Identifier: BSD-2-Clause */
/* The lists of the configuration, as the API shows them. */
#ifndef SL_ADMIN_API_LISTS_H
#define SL_ADMIN_API_LISTS_H

#include "admin/api_json.h"
#include "policy/lists.h"

/* Each `deny` and `deny_file` line, behind what LIST has. */
void api_lists_rules(const struct admin *a, json_t *list);

#endif
