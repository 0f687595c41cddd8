/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the resources that carry all bans out and in again. What comes in is checked as a whole before the
 * master is asked for the first; then it is asked for one after the other. */
#include <stdlib.h>
#include <string.h>

#include "admin/admin_impl.h"
#include "admin/api_json.h"
#include "core/clock.h"
#include "core/err.h"
#include "policy/lists.h"

enum MHD_Result api_bans_export(struct request *rq)
{
	json_t *list = json_array();
	struct ban_entry *bans;
	struct view_bans v;
	size_t n;

	bans = view_bans_new(rq->admin->env->bans, &n, &v);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, api_json_ban(rq->admin, &bans[i]));
	free(bans);
	return serve_json(rq, 200, json_pack("{s:o}", "bans", list));
}

static bool flag(const json_t *j, const char *key)
{
	return json_is_true(json_object_get(j, key));
}

/* "2026-12-01T12:30:00.250Z" */
static int parse_until(const char *text, uint64_t *wall_ms)
{
	char whole[32];
	size_t n = strlen(text);

	if (n != 24 || text[19] != '.')
		return lists_parse_time(slice_cstr(text), wall_ms);
	memcpy(whole, text, 19);
	memcpy(whole + 19, "Z", 2);
	return lists_parse_time(slice_cstr(whole), wall_ms);
}

/* NULL, or what is wrong; *is_over: nothing is left of it. */
static const char *parse_ban(const json_t *j, struct msg_ban *out, bool *is_over)
{
	const char *address = json_string_value(json_object_get(j, "address"));
	const char *reason = json_string_value(json_object_get(j, "reason"));
	const char *rule = json_string_value(json_object_get(j, "rule_id"));
	const json_t *until = json_object_get(j, "until");
	uint64_t wall_ms, now_ms = clock_wall_ms();
	struct ban_net net;
	struct cidr c;

	*out = (struct msg_ban){.is_import = 1};
	*is_over = false;
	if (!address || !address[0] || address[0] == '[' || cidr_parse(slice_cstr(address), &c) ||
	    !c.prefix_len)
		return "\"address\" is no address or network";
	net = (struct ban_net){.family = c.family, .prefix_len = c.prefix_len};
	memcpy(net.bytes, c.bytes, sizeof net.bytes);
	if (!ban_net_clean(&net))
		return "\"address\" is no address or network";
	out->family = net.family;
	out->prefix_len = net.prefix_len;
	memcpy(out->bytes, net.bytes, sizeof out->bytes);
	if (!until || !(json_is_null(until) || json_is_string(until)))
		return "\"until\" must be a time or null";
	if (json_is_string(until)) {
		if (parse_until(json_string_value(until), &wall_ms))
			return "\"until\" must be a time as 2026-12-01T12:30:00Z, or null";
		*is_over = wall_ms <= now_ms;
		out->for_ms = *is_over ? 1 : wall_ms - now_ms;
	}
	if (reason) {
		if (strlen(reason) >= sizeof out->reason)
			return "\"reason\" is longer than 95 bytes";
		for (const char *p = reason; *p; p++)
			if ((unsigned char)*p < 0x20 || *p == 0x7f)
				return "\"reason\" has control characters";
		strcpy(out->reason, reason);
	}
	if (rule && (strlen(rule) != 8 || strspn(rule, "0123456789abcdef") != 8))
		return "\"rule_id\" must be 8 hexadecimal digits";
	out->rule_id = rule ? (uint32_t)strtoul(rule, NULL, 16) : 0;
	out->manual = flag(j, "manual") || !out->rule_id;
	out->indirect = flag(j, "indirect");
	out->dry_run = flag(j, "dry_run");
	return NULL;
}

static enum MHD_Result next(struct request *rq);

static enum MHD_Result one_done(struct request *rq, const struct msg *reply)
{
	struct admin_import *im = &rq->import;

	if (!reply) {
		json_decref(im->list);
		im->list = NULL;
		return serve_error(rq, 504, "timeout",
				   "the master did not answer: %zu bans were added", im->n_added);
	}
	im->n_added += reply->result == 0;
	im->n_kept += reply->result == -SL_EEXIST;
	im->n_refused += reply->result && reply->result != -SL_EEXIST;
	return next(rq);
}

static enum MHD_Result next(struct request *rq)
{
	struct admin_import *im = &rq->import;
	struct msg m = {.type = MSG_BAN};
	bool is_over;

	while (im->at < json_array_size(im->list)) {
		if (parse_ban(json_array_get(im->list, im->at++), &m.ban, &is_over) || is_over) {
			im->n_over++;
			continue;
		}
		return admin_ask(rq, &m, rq->admin->limits.master_timeout_ms, one_done);
	}
	json_decref(im->list);
	im->list = NULL;
	return serve_json(rq, 200,
			  json_pack("{s:I, s:I, s:I, s:I}", "added", (json_int_t)im->n_added,
				    "kept", (json_int_t)im->n_kept, "over", (json_int_t)im->n_over,
				    "refused", (json_int_t)im->n_refused));
}

static enum MHD_Result import(struct request *rq, bool is_check)
{
	json_error_t error;
	json_t *j =
		json_loadb(rq->body ? rq->body : "", rq->body_len, JSON_REJECT_DUPLICATES, &error);
	json_t *list = json_object_get(j, "bans");
	struct msg_ban ban;
	bool is_over;

	if (!json_is_array(list)) {
		json_decref(j);
		return serve_error(rq, 400, "bad_request", "the body must be {\"bans\": [...]}");
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *wrong = parse_ban(json_array_get(list, i), &ban, &is_over);

		if (wrong) {
			json_decref(j);
			return serve_error(rq, 400, "bad_request", "ban %zu: %s", i + 1, wrong);
		}
	}
	rq->import = (struct admin_import){.list = json_incref(list)};
	json_decref(j);
	if (is_check)
		rq->import.at = json_array_size(rq->import.list);
	return next(rq);
}

enum MHD_Result api_bans_import(struct request *rq)
{
	return import(rq, false);
}

enum MHD_Result api_bans_check(struct request *rq)
{
	return import(rq, true);
}
