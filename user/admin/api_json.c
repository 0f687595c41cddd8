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

const char *api_json_net(const struct ban_net *net, char out[static API_NET_MAX])
{
	struct guard_addr a = {.family = net->family};
	size_t n;

	memcpy(a.bytes, net->bytes, sizeof a.bytes);
	n = strlen(guard_addr_to_text(&a, out));
	if (!ban_net_is_single(net))
		snprintf(out + n, API_NET_MAX - n, "/%d", net->prefix_len);
	return out;
}

json_t *api_json_rule_id(uint32_t id)
{
	char text[16];

	snprintf(text, sizeof text, "%08x", id);
	return json_string(text);
}

json_t *api_json_ban(const struct admin *a, const struct ban_entry *e)
{
	uint64_t now_ms = clock_mono_ms();
	struct guard_cidr net = {.addr.family = e->net.family, .prefix_len = e->net.prefix_len};
	char text[API_NET_MAX];
	struct guard_deny deny;
	json_t *left = json_null(), *j;

	memcpy(net.addr.bytes, e->net.bytes, sizeof net.addr.bytes);
	api_json_net(&e->net, text);
	if (e->until_mono_ms)
		left = json_integer(e->until_mono_ms > now_ms
					    ? (json_int_t)((e->until_mono_ms - now_ms + 999) / 1000)
					    : 0);
	j = json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:I}", "address", text,
		      "reason", api_json_text(e->reason), "manual", (int)(e->manual != 0),
		      "rule_id", api_json_rule_id(e->rule_id), "since",
		      api_json_time(e->since_wall_ms), "until", api_json_time(e->until_wall_ms),
		      "left_s", left, "in_kernel", (int)(e->in_kernel != 0), "indirect",
		      (int)(e->indirect != 0), "dry_run", (int)(e->net.is_trial != 0), "times",
		      (json_int_t)(e->n_times ? e->n_times : 1));
	if (e->in_kernel && a->env->guard && guard_deny_get_net(a->env->guard, &net, &deny) == 0)
		json_object_set_new(j, "dropped",
				    json_pack("{s:I, s:I}", "packets", (json_int_t)deny.packets,
					      "bytes", (json_int_t)deny.bytes));
	return j;
}

bool api_json_ban_find(const struct admin *a, const struct ban_net *net, struct ban_entry *out)
{
	if (!ban_find(a->env->bans, net, out))
		return false;
	out->reason[sizeof out->reason - 1] = 0;
	return !ban_is_over(out, clock_mono_ms());
}
