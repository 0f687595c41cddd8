/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the JSON form of texts, times and bans. */
#include "admin/api_json.h"

#include <stdio.h>
#include <time.h>

#include "core/clock.h"

json_t *api_json_text(const char *text)
{
	char clean[512];

	return json_string(view_utf8(text, clean, sizeof clean));
}

json_t *api_json_slice(struct slice text)
{
	char raw[256];

	snprintf(raw, sizeof raw, "%.*s", SLICE_FMT(text));
	return api_json_text(raw);
}

json_t *api_json_time(uint64_t wall_ms)
{
	time_t wall_s = (time_t)(wall_ms / 1000);
	char text[48];
	struct tm tm;
	size_t n;

	if (!wall_ms || !gmtime_r(&wall_s, &tm))
		return json_null();
	n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof text - n, ".%03uZ", (unsigned)(wall_ms % 1000));
	return json_string(text);
}

static void ban_addr(const struct ban_entry *e, struct guard_addr *out)
{
	*out = (struct guard_addr){.family = e->family};
	memcpy(out->bytes, e->bytes, e->family == 4 ? 4 : 16);
}

json_t *api_json_ban(const struct admin *a, const struct ban_entry *e)
{
	uint64_t now_ms = clock_mono_ms();
	char text[GUARD_ADDR_TEXT_MAX];
	struct guard_deny deny;
	struct guard_addr addr;
	json_t *left = json_null(), *j;

	ban_addr(e, &addr);
	guard_addr_to_text(&addr, text);
	if (e->until_mono_ms)
		left = json_integer(e->until_mono_ms > now_ms
					    ? (json_int_t)((e->until_mono_ms - now_ms + 999) / 1000)
					    : 0);
	j = json_pack("{s:s, s:o, s:b, s:I, s:o, s:o, s:o, s:b}", "address", text, "reason",
		      api_json_text(e->reason), "manual", (int)(e->manual != 0), "rule_id",
		      (json_int_t)e->rule_id, "since", api_json_time(e->since_wall_ms), "until",
		      api_json_time(e->until_wall_ms), "left_s", left, "in_kernel",
		      (int)(e->in_kernel != 0));
	if (e->in_kernel && a->env->guard && guard_deny_get(a->env->guard, &addr, &deny) == 0)
		json_object_set_new(j, "dropped",
				    json_pack("{s:I, s:I}", "packets", (json_int_t)deny.packets,
					      "bytes", (json_int_t)deny.bytes));
	return j;
}

bool api_json_ban_find(const struct admin *a, uint8_t family, const uint8_t *bytes,
		       struct ban_entry *out)
{
	if (!ban_find(a->env->bans, family, bytes, out))
		return false;
	out->reason[sizeof out->reason - 1] = 0;
	return !out->until_mono_ms || out->until_mono_ms > clock_mono_ms();
}
