/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the resources of the API that change something: bans and reload. They check what was asked
 * for and hand it to the master, which decides; nothing is changed here. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/admin_impl.h"
#include "admin/api_json.h"
#include "core/err.h"

#define BAN_FOR_MAX_MS (10ull * 365 * 86400 * 1000)

/* The master's word, as the status of HTTP. */
static enum MHD_Result refused(struct request *rq, const char *what, const struct msg *reply)
{
	static const struct {
		int result;
		unsigned status;
		const char *code, *text; /* text: when the master gave none */
	} rows[] = {
		{-SL_EINVAL, 400, "bad_request", "the master refuses it as malformed"},
		{-SL_ENOTFOUND, 404, "not_found", "that address is not banned"},
		{-SL_EPERM, 409, "refused", "the master refuses it"},
		{-SL_EEXIST, 409, "refused", "the master refuses it"},
		{-SL_ELIMIT, 503, "full", "there is no room for another ban"},
	};

	if (!reply && rq->is_gone)
		return serve_error(
			rq, 503, "master_gone",
			"the master closed the connection: whether the %s took effect is not "
			"known",
			what);
	if (!reply)
		return serve_error(
			rq, 504, "timeout",
			"the master did not answer in time: whether the %s took effect is not "
			"known",
			what);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (reply->result == rows[i].result)
			return serve_error(rq, rows[i].status, rows[i].code, "%s",
					   reply->text[0] ? reply->text : rows[i].text);
	return serve_error(rq, 500, "internal", "%s",
			   reply->text[0] ? reply->text : "the master failed");
}

static void log_change(const struct request *rq, const char *what, const char *address)
{
	log_write(rq->admin->env->log, LOG_LVL_NOTICE, 0, "admin: %s%s%s asked for by %s", what,
		  address ? " " : "", address ? address : "", rq->client->who);
}

/* TEXT into the form of messages; PRINTED gets its usual spelling. */
static int parse_address(const char *text, struct msg_ban *out, char printed[static API_NET_MAX])
{
	struct ban_net net;
	struct cidr c;

	/* cidr_parse() takes brackets and an empty text, too. */
	if (!text[0] || text[0] == '[' || cidr_parse(slice_cstr(text), &c) || !c.prefix_len)
		return -SL_EINVAL;
	net = (struct ban_net){.family = c.family, .prefix_len = c.prefix_len};
	memcpy(net.bytes, c.bytes, sizeof net.bytes);
	if (!ban_net_clean(&net))
		return -SL_EINVAL;
	out->family = net.family;
	out->prefix_len = net.prefix_len;
	memcpy(out->bytes, net.bytes, sizeof out->bytes);
	api_json_net(&net, printed);
	return 0;
}

static struct ban_net net_of(const struct msg_ban *b)
{
	struct ban_net net = {.family = b->family, .prefix_len = b->prefix_len};

	memcpy(net.bytes, b->bytes, sizeof net.bytes);
	return net;
}

static enum MHD_Result bad_address(struct request *rq, const char *text)
{
	return serve_error(rq, 400, "bad_request", "\"%.100s\" is not an IP address or network",
			   text);
}

/* ---- bans: list, get ---- */

enum MHD_Result api_bans_list(struct request *rq)
{
	json_t *list;
	struct ban_entry *bans;
	struct view_bans v;
	uint64_t limit;
	size_t n;

	if (serve_query_num(rq, "limit", 1000, ADMIN_BANS_MAX, &limit))
		return serve_error(rq, 400, "bad_request",
				   "\"limit\" must be a number from 1 to %d", ADMIN_BANS_MAX);
	bans = view_bans_new(rq->admin->env->bans, &n, &v);
	list = json_array();
	for (size_t i = 0; i < n && i < limit; i++)
		json_array_append_new(list, api_json_ban(rq->admin, &bans[i]));
	free(bans);
	return serve_json(rq, 200,
			  json_pack("{s:I, s:I, s:o}", "total", (json_int_t)n, "in_kernel",
				    (json_int_t)v.n_in_kernel, "bans", list));
}

enum MHD_Result api_bans_get(struct request *rq)
{
	char printed[API_NET_MAX];
	struct msg_ban ban = {0};
	struct ban_entry e;
	struct ban_net net;

	if (parse_address(rq->rest, &ban, printed))
		return bad_address(rq, rq->rest);
	net = net_of(&ban);
	if (!api_json_ban_find(rq->admin, &net, &e))
		return serve_error(rq, 404, "not_found", "%s is not banned", printed);
	return serve_json(rq, 200, api_json_ban(rq->admin, &e));
}

/* ---- bans: add, remove ---- */

/* NULL, or what is wrong with the members that a ban has. */
static const char *check_members(json_t *j)
{
	if (!json_is_object(j))
		return "the body must be an object {\"address\", \"for\", \"reason\"}";
	for (void *at = json_object_iter(j); at; at = json_object_iter_next(j, at)) {
		const char *key = json_object_iter_key(at);

		if (strcmp(key, "address") && strcmp(key, "for") && strcmp(key, "reason"))
			return "the members of a ban are \"address\", \"for\" and \"reason\"";
		if (!json_is_string(json_object_iter_value(at)))
			return "\"address\", \"for\" and \"reason\" must be strings";
	}
	if (!json_object_get(j, "address") || !json_object_get(j, "for"))
		return "\"address\" and \"for\" are needed";
	return NULL;
}

/* NULL, or what is wrong. */
static const char *parse_for(const char *text, uint64_t *for_ms)
{
	int64_t ms;

	*for_ms = 0;
	if (strcmp(text, "forever") == 0)
		return NULL;
	if (conf_parse_msec(slice_cstr(text), &ms) || ms <= 0 || (uint64_t)ms > BAN_FOR_MAX_MS)
		return "\"for\" must be a time as 30s, 10m, 1h30m or 7d, at most 10 years, or "
		       "\"forever\"";
	*for_ms = (uint64_t)ms;
	return NULL;
}

/* NULL, or what is wrong. It goes into logs and a file of lines. */
static const char *parse_reason(const char *text, char out[static BAN_REASON_MAX])
{
	if (strlen(text) >= BAN_REASON_MAX)
		return "\"reason\" is longer than 95 bytes";
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return "\"reason\" has control characters";
	memcpy(out, text, strlen(text) + 1);
	return NULL;
}
_Static_assert(BAN_REASON_MAX == 96, "the text says so");
_Static_assert(sizeof((struct msg_ban *)0)->reason == BAN_REASON_MAX, "copied as it is");

static json_t *asked_json(const struct msg_ban *b, const char *printed)
{
	return json_pack("{s:s, s:o, s:b, s:o}", "address", printed, "reason",
			 api_json_text(b->reason), "manual", 1, "left_s",
			 b->for_ms ? json_integer((json_int_t)(b->for_ms / 1000)) : json_null());
}

static enum MHD_Result ban_added(struct request *rq, const struct msg *reply)
{
	const struct msg_ban *b = &rq->asked.ban;
	struct ban_net net = net_of(b);
	char printed[API_NET_MAX], location[API_NET_MAX + 32];
	struct MHD_Response *response;
	struct ban_entry e;
	json_t *j;
	char *text;

	if (!reply || reply->result)
		return refused(rq, "ban", reply);
	api_json_net(&net, printed);
	log_change(rq, "ban of", printed);
	j = api_json_ban_find(rq->admin, &net, &e) ? api_json_ban(rq->admin, &e)
						   : asked_json(b, printed);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!text)
		return serve_text(rq, 201, NULL, NULL, 0);
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(text);
	snprintf(location, sizeof location, "/api/v1/bans/%s", printed);
	if (response)
		MHD_add_response_header(response, "Location", location);
	return serve_response(rq, 201, response, "application/json");
}

enum MHD_Result api_bans_add(struct request *rq)
{
	struct msg m = {.type = MSG_BAN, .ban.manual = 1};
	char printed[API_NET_MAX];
	const char *wrong, *address;
	json_error_t error;
	json_t *j =
		json_loadb(rq->body ? rq->body : "", rq->body_len, JSON_REJECT_DUPLICATES, &error);
	enum MHD_Result r;

	if (!j)
		return serve_error(rq, 400, "bad_request", "the body is not JSON: line %d: %s",
				   error.line, error.text);
	wrong = check_members(j);
	if (wrong)
		goto bad;
	wrong = parse_for(json_string_value(json_object_get(j, "for")), &m.ban.for_ms);
	if (wrong)
		goto bad;
	if (json_object_get(j, "reason"))
		wrong = parse_reason(json_string_value(json_object_get(j, "reason")), m.ban.reason);
	if (wrong)
		goto bad;
	address = json_string_value(json_object_get(j, "address"));
	r = parse_address(address, &m.ban, printed)
		    ? bad_address(rq, address)
		    : admin_ask(rq, &m, rq->admin->limits.master_timeout_ms, ban_added);
	json_decref(j);
	return r;
bad:
	json_decref(j);
	return serve_error(rq, 400, "bad_request", "%s", wrong);
}

static enum MHD_Result ban_removed(struct request *rq, const struct msg *reply)
{
	if (!reply || reply->result)
		return refused(rq, "end of the ban", reply);
	log_change(rq, "end of the ban of", rq->rest);
	return serve_empty(rq, 204);
}

enum MHD_Result api_bans_remove(struct request *rq)
{
	struct msg m = {.type = MSG_UNBAN};
	char printed[API_NET_MAX];

	if (parse_address(rq->rest, &m.ban, printed))
		return bad_address(rq, rq->rest);
	return admin_ask(rq, &m, rq->admin->limits.master_timeout_ms, ban_removed);
}

/* ---- reload ---- */

static enum MHD_Result reloaded(struct request *rq, const struct msg *reply)
{
	if (!reply || reply->result)
		return refused(rq, "reload", reply);
	return serve_json(rq, 200,
			  json_pack("{s:s, s:I, s:o}", "result", "reloaded", "generation",
				    (json_int_t)rq->admin->env->stats->generation, "message",
				    api_json_text(reply->text)));
}

enum MHD_Result api_reload(struct request *rq)
{
	struct msg m = {.type = MSG_RELOAD};

	if (rq->n_seen)
		return serve_error(rq, 400, "bad_request", "a reload takes no body");
	log_change(rq, "reload", NULL);
	return admin_ask(rq, &m, rq->admin->limits.reload_timeout_ms, reloaded);
}
