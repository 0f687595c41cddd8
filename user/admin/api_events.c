/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns /api/v1/events: server-sent events (the WHATWG's format) out of the ring in shared memory. A
 * watcher is a place in the ring and the text of one event: who reads slowly loses events and is told
 * how many, and holds no memory. Changes nothing in the ring. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "admin/admin_impl.h"
#include "admin/api_json.h"
#include "core/clock.h"
#include "core/err.h"

enum {
	BLOCK_BYTES = 8192, /* what libmicrohttpd asks for at once */
	PEEK_EVERY_MS = 1000,
	TEXT_BYTES = 1536,
};

struct watcher {
	struct watcher *next, **at;
	struct admin *admin;
	struct request *rq; /* NULL: it has ended */
	uint64_t wanted;    /* number of the next event */
	uint64_t n_lost;    /* to be told */
	bool is_other_ring; /* it came with a number of another ring, so nobody knows how many */
	bool is_asleep, is_greeted;
	uint64_t beat_ms, peek_ms;
	size_t at_byte, n_bytes; /* of text */
	char text[TEXT_BYTES];
};

/* ---- an event as JSON ---- */

const char *api_events_kind_name(unsigned kind)
{
	static const char *const names[EVENT_N_KINDS] = {
		[EVENT_DROP] = "drop",
		[EVENT_BAN] = "ban",
		[EVENT_BAN_LIFTED] = "ban_lifted",
		[EVENT_BAN_OVER] = "ban_over",
		[EVENT_GUARD_ON] = "guard_on",
		[EVENT_GUARD_OFF] = "guard_off",
		[EVENT_PEER_DOWN] = "peer_down",
		[EVENT_PEER_UP] = "peer_up",
	};

	return kind < EVENT_N_KINDS && names[kind] ? names[kind] : "unknown";
}

/* Of a drop, the packet's source, and where that is counted at a network, it. */
static void put_source(json_t *j, const struct event *e)
{
	struct guard_cidr c = {.addr.family = e->family, .prefix_len = e->prefix_len};
	char text[GUARD_ADDR_TEXT_MAX], net[GUARD_CIDR_TEXT_MAX];

	if (e->family != 4 && e->family != 6)
		return;
	memcpy(c.addr.bytes, e->addr, e->family == 4 ? 4 : 16);
	guard_addr_to_text(&c.addr, text);
	guard_addr_cidr_to_text(&c, net);
	json_object_set_new(j, "address", json_string(e->kind == EVENT_DROP ? text : net));
	if (e->kind == EVENT_DROP && strchr(net, '/'))
		json_object_set_new(j, "network", json_string(net));
}

static void put_rule(json_t *j, const struct event *e)
{
	char id[9];

	snprintf(id, sizeof id, "%08" PRIx32, e->rule_id);
	json_object_set_new(j, "rule", json_string(id));
	json_object_set_new(j, "dry_run", json_boolean(e->is_dry_run));
}

static json_t *event_json(const struct event *e)
{
	json_t *j = json_pack("{s:s, s:o}", "event", api_events_kind_name(e->kind), "time",
			      api_json_time(e->wall_ms));
	bool is_ban =
		e->kind == EVENT_BAN || e->kind == EVENT_BAN_LIFTED || e->kind == EVENT_BAN_OVER;

	put_source(j, e);
	if (e->kind == EVENT_DROP) {
		json_object_set_new(j, "verdict", json_string(guard_stats_total_name(e->verdict)));
		json_object_set_new(j, "packets", json_integer((json_int_t)e->packets));
	}
	if (is_ban || e->kind == EVENT_DROP)
		put_rule(j, e);
	if (is_ban) {
		json_object_set_new(j, "manual", json_boolean(e->is_manual));
		json_object_set_new(j, "reason", api_json_text(e->text));
	} else if (e->text[0]) {
		json_object_set_new(j, "text", api_json_text(e->text));
	}
	if (e->kind == EVENT_BAN) {
		json_object_set_new(j, "for_s",
				    e->for_ms ? json_integer((json_int_t)((e->for_ms + 999) / 1000))
					      : json_null());
		json_object_set_new(j, "in_kernel", json_boolean(e->in_kernel));
	}
	if (e->ifname[0])
		json_object_set_new(j, "interface", api_json_text(e->ifname));
	return j;
}

/* ---- a watcher's text ---- */

static void put_text(struct watcher *w, int n)
{
	w->at_byte = 0;
	w->n_bytes = n > 0 && (size_t)n < sizeof w->text ? (size_t)n : 0;
	w->beat_ms = clock_mono_ms() + w->admin->limits.heartbeat_ms;
}

enum { ID_BYTES = 40 };

static void put_id(const struct watcher *w, uint64_t number, char out[static ID_BYTES])
{
	snprintf(out, ID_BYTES, "%" PRIx64 "-%" PRIu64, event_ring_epoch(w->admin->env->events),
		 number);
}

/* An id without data: nothing happened, but who comes back now misses nothing. */
static void put_greeting(struct watcher *w)
{
	char id[ID_BYTES];

	put_id(w, w->wanted - 1, id);
	put_text(w, snprintf(w->text, sizeof w->text, "retry: 1000\nid: %s\n\n", id));
}

static void put_event(struct watcher *w, uint64_t number, const struct event *e)
{
	char id[ID_BYTES], *data;
	json_t *j = event_json(e);

	put_id(w, number, id);
	json_object_set_new(j, "id", json_string(id));
	data = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	put_text(w, snprintf(w->text, sizeof w->text, "id: %s\nevent: %s\ndata: %s\n\n", id,
			     api_events_kind_name(e->kind), data ? data : "{}"));
	free(data);
}

static void put_gap(struct watcher *w)
{
	char lost[24] = "null", id[ID_BYTES];

	put_id(w, w->wanted - 1, id);
	if (!w->is_other_ring)
		snprintf(lost, sizeof lost, "%" PRIu64, w->n_lost);
	put_text(w, snprintf(w->text, sizeof w->text,
			     "id: %s\nevent: gap\ndata: {\"event\":\"gap\",\"lost\":%s}\n\n", id,
			     lost));
	w->n_lost = 0;
	w->is_other_ring = false;
}

/* The next event that is still there; those before it are lost. False: none yet. */
static bool next_event(struct watcher *w, struct event *e)
{
	const struct event_ring *ring = w->admin->env->events;
	int r;

	while ((r = event_ring_get(ring, w->wanted, e)) == -SL_ENOTFOUND) {
		uint64_t oldest = event_ring_oldest(ring);

		if (oldest <= w->wanted)
			oldest = w->wanted + 1;
		w->n_lost += oldest - w->wanted;
		w->admin->n_events_lost += oldest - w->wanted;
		w->wanted = oldest;
	}
	return r == 0;
}

/* False: there is nothing to say now. */
static bool fill(struct watcher *w)
{
	struct event e;
	bool has_event;

	if (!w->is_greeted) {
		w->is_greeted = true;
		put_greeting(w);
		return true;
	}
	has_event = next_event(w, &e);
	if (w->n_lost || w->is_other_ring) {
		put_gap(w);
	} else if (has_event) {
		put_event(w, w->wanted++, &e);
	} else if (clock_mono_ms() >= w->beat_ms) {
		put_text(w, snprintf(w->text, sizeof w->text, ":\n\n"));
	} else {
		return false;
	}
	return true;
}

static ssize_t read_events(void *cls, uint64_t pos, char *buf, size_t room)
{
	struct watcher *w = cls;
	size_t n = 0;

	if (!w->rq || (w->admin->is_draining && w->at_byte == w->n_bytes))
		return MHD_CONTENT_READER_END_OF_STREAM;
	while (n < room) {
		size_t part = w->n_bytes - w->at_byte;

		if (!part && !fill(w))
			break;
		part = w->n_bytes - w->at_byte;
		if (part > room - n)
			part = room - n;
		memcpy(buf + n, w->text + w->at_byte, part);
		w->at_byte += part;
		n += part;
	}
	if (n == 0) {
		w->is_asleep = true;
		MHD_suspend_connection(w->rq->conn);
	}
	return (ssize_t)n;
}

/* ---- its life ---- */

void api_events_ended(struct request *rq)
{
	struct watcher *w = rq->watcher;

	if (!w)
		return;
	rq->watcher = NULL;
	rq->client->is_watching = false;
	w->rq = NULL;
	*w->at = w->next;
	if (w->next)
		w->next->at = w->at;
	rq->admin->n_watchers--;
}

static void free_watcher(void *cls)
{
	struct watcher *w = cls;

	if (w->rq)
		api_events_ended(w->rq);
	free(w);
}

/* A connection that is asleep is not read: who has gone would stay until the next heartbeat. */
static bool has_gone(struct watcher *w, uint64_t now_ms)
{
	char byte;

	if (now_ms < w->peek_ms)
		return false;
	w->peek_ms = now_ms + PEEK_EVERY_MS;
	return recv(w->rq->client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void api_events_wake(struct admin *a, uint64_t now_ms)
{
	uint64_t newest = a->env->events ? event_ring_newest(a->env->events) : 0;

	for (struct watcher *w = a->watchers; w; w = w->next) {
		if (!w->is_asleep || (newest < w->wanted && now_ms < w->beat_ms &&
				      !a->is_draining && !has_gone(w, now_ms)))
			continue;
		if (now_ms < w->beat_ms && newest < w->wanted)
			w->beat_ms = now_ms; /* so that it is written to, and ends */
		w->is_asleep = false;
		MHD_resume_connection(w->rq->conn);
	}
}

/* "EPOCH-NUMBER" as in `id:`. */
static int parse_id(const char *text, uint64_t *epoch, uint64_t *number)
{
	int n = 0;

	if (sscanf(text, "%16" SCNx64 "-%19" SCNu64 "%n", epoch, number, &n) != 2 || text[n] ||
	    text[0] == '-' || text[0] == '+')
		return -SL_EINVAL;
	return 0;
}

/* Where it begins: behind what it had, the last N, or with what comes. */
static int set_start(struct watcher *w, struct request *rq)
{
	const struct event_ring *ring = w->admin->env->events;
	const char *had = MHD_lookup_connection_value(rq->conn, MHD_HEADER_KIND, "Last-Event-ID");
	uint64_t newest = event_ring_newest(ring), oldest = event_ring_oldest(ring);
	uint64_t epoch, number, last;

	if (serve_query_num(rq, "last", 0, EVENT_RING_ROOM, &last))
		return -SL_EINVAL;
	w->wanted = newest + 1;
	if (last)
		w->wanted =
			newest >= last && newest - last + 1 > oldest ? newest - last + 1 : oldest;
	if (!had || !had[0])
		return 0;
	if (parse_id(had, &epoch, &number))
		return -SL_EINVAL;
	w->is_other_ring = epoch != event_ring_epoch(ring) || number > newest;
	w->wanted = w->is_other_ring ? oldest : number + 1;
	return 0;
}

static enum MHD_Result answer(struct request *rq, struct watcher *w)
{
	struct MHD_Response *response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_events, w, free_watcher);
	struct admin *a = rq->admin;

	if (!response) {
		free(w);
		return serve_text(rq, 200, NULL, NULL, 0);
	}
	w->rq = rq;
	w->next = a->watchers;
	w->at = &a->watchers;
	if (w->next)
		w->next->at = &w->next;
	a->watchers = w;
	a->n_watchers++;
	rq->watcher = w;
	rq->client->is_watching = true;
	return serve_response(rq, 200, response, "text/event-stream");
}

enum MHD_Result api_events(struct request *rq)
{
	struct admin *a = rq->admin;
	struct watcher *w;

	if (!a->env->events || a->is_draining)
		return serve_error(rq, 503, "busy", "there are no events now");
	if (a->n_watchers >= a->limits.max_watchers)
		return serve_error(rq, 503, "full", "there are %u watchers already", a->n_watchers);
	w = calloc(1, sizeof *w);
	if (!w)
		return serve_text(rq, 200, NULL, NULL, 0);
	w->admin = a;
	if (set_start(w, rq)) {
		free(w);
		return serve_error(rq, 400, "bad_request",
				   "\"last\" must be a number from 1 to %d, Last-Event-ID what an "
				   "event had as its id",
				   EVENT_RING_ROOM);
	}
	return answer(rq, w);
}
