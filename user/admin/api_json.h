/* SPDX-License-Identifier: BSD-2-Clause */
/* Values as all resources of the API write them. */
#ifndef SL_ADMIN_API_JSON_H
#define SL_ADMIN_API_JSON_H

#include "admin/admin_impl.h"

/* New references. Text that is not UTF-8 comes out with '?'. */
json_t *api_json_text(const char *text);
json_t *api_json_slice(struct slice text);
/* "2026-11-22T23:10:00.250Z"; null for 0. */
json_t *api_json_time(uint64_t wall_ms);
json_t *api_json_ban(const struct admin *a, const struct ban_entry *e);
/* A ban that is in force. */
bool api_json_ban_find(const struct admin *a, uint8_t family, const uint8_t *bytes,
		       struct ban_entry *out);

#endif
