/* SPDX-License-Identifier: BSD-2-Clause */
/* The API's answers for people, on stdout. */
#ifndef SL_SLUICECTL_SHOW_H
#define SL_SLUICECTL_SHOW_H

#include <jansson.h>

void show_status(const json_t *j);
void show_upstreams(const json_t *j);
void show_bans(const json_t *j);
void show_rules(const json_t *j);
void show_denied(const json_t *j);
void show_sources(const json_t *j);
void show_ban(const json_t *ban);
void show_reload(const json_t *j);
/* A string member; "" when there is none. */
const char *show_text(const json_t *j, const char *key);

#endif
