/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides by address who may come in. Reads no configuration. */
#include "policy/access.h"

int access_parse(struct slice s, struct access_rule *out)
{
	out->kind = ACCESS_ALL;
	if (slice_eq(s, SLICE("all")))
		return 0;
	out->kind = ACCESS_UNIX;
	if (slice_eq(s, SLICE("unix:")))
		return 0;
	out->kind = ACCESS_CIDR;
	return cidr_parse(s, &out->cidr);
}

static bool names(const struct access_rule *rule, const struct addr *a)
{
	switch (rule->kind) {
	case ACCESS_ALL:
		return true;
	case ACCESS_UNIX:
		return a->sa.sa_family == AF_UNIX;
	default:
		return cidr_match(&rule->cidr, a);
	}
}

enum access_result access_check(const struct access_rule *rules, const struct addr *a)
{
	for (; rules; rules = rules->next)
		if (names(rules, a))
			return rules->deny ? ACCESS_DENIED : ACCESS_ALLOWED;
	return ACCESS_UNNAMED;
}
