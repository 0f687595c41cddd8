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
bool api_json_ban_find(const struct admin *a, const struct ban_net *net, struct ban_entry *out);
enum { API_NET_MAX = GUARD_ADDR_TEXT_MAX + 4 };
/* "192.0.2.1", "192.0.2.0/24"; returns OUT. */
const char *api_json_net(const struct ban_net *net, char out[static API_NET_MAX]);
/* 8 hexadecimal digits, as in the log. */
json_t *api_json_rule_id(uint32_t id);

#endif
