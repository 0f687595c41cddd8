/* SPDX-License-Identifier: BSD-2-Clause */
/* allow and deny: the first rule that names an address decides. */
#ifndef SL_POLICY_ACCESS_H
#define SL_POLICY_ACCESS_H

#include "net/addr.h"

enum access_kind { ACCESS_ALL, ACCESS_UNIX, ACCESS_CIDR };

struct access_rule {
	struct access_rule *next;
	enum access_kind kind;
	bool deny;
	struct cidr cidr;
};

enum access_result { ACCESS_UNNAMED, ACCESS_ALLOWED, ACCESS_DENIED };

/* "all", "unix:", an address or a CIDR. -SL_EINVAL. */
int access_parse(struct slice s, struct access_rule *out);
enum access_result access_check(const struct access_rule *rules, const struct addr *a);

#endif
