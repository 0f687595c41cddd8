/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may come in: allow, deny, satisfy, auth_basic, auth_request and their kin (module MOD_ACCESS). */
#ifndef SL_PROXY_ACCESS_CONF_H
#define SL_PROXY_ACCESS_CONF_H

#include "conf/conf.h"
#include "policy/access.h"

extern const struct conf_module access_module;

struct user_var;

enum { SATISFY_ALL, SATISFY_ANY };

struct access_set { /* one auth_request_set */
	struct access_set *next;
	const struct user_var *var;
	struct tmpl *value;
};

struct entry_scope { /* MOD_ACCESS's struct in http, server, location */
	struct access_rule *rules;
	int64_t satisfy;
	int64_t delay_ms; /* auth_delay */
	struct tmpl *realm, *user_file;
	struct slice request; /* auth_request; n 0: off */
	struct access_set *sets;
	int64_t log_subrequest;
};

#endif
