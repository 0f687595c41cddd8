/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of server-sent events: lines to events, events to lines, and going on behind the
 * last one when the connection ends. */
#include "watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "show.h"
#include "table.h"

enum { RETRY_US = 250000, TRIES_MAX = 240 };

struct watch {
	bool is_json;
	int failure;
	bool is_alive; /* something came over this connection */
	char id[64];
};

/* The clock's part of "2026-11-22T23:10:00.250Z". */
static void put_clock(char out[CELL_MAX], const json_t *j)
{
	const char *time = show_text(j, "time");

	table_clean(out, CELL_MAX, strlen(time) > 23 ? time + 11 : time);
	if (strlen(out) > 12)
		out[12] = 0;
}

static void print_part(const json_t *j, const char *key, const char *before)
{
	char text[CELL_MAX];

	table_clean(text, sizeof text, show_text(j, key));
	if (text[0])
		printf("%s%s", before, text);
}

static void print_event(const json_t *j)
{
	const json_t *packets = json_object_get(j, "packets"), *left = json_object_get(j, "for_s");
	const json_t *lost = json_object_get(j, "lost");
	char clock[CELL_MAX];

	put_clock(clock, j);
	printf("%-12s", clock[0] ? clock : "-");
	print_part(j, "event", " ");
	if (json_is_true(json_object_get(j, "dry_run")))
		fputs(" (dry run)", stdout);
	print_part(j, "address", " ");
	print_part(j, "network", " of ");
	print_part(j, "verdict", " ");
	print_part(j, "interface", " on ");
	if (json_is_integer(packets))
		printf(" %" JSON_INTEGER_FORMAT " packets", json_integer_value(packets));
	if (json_is_integer(left))
		printf(" for %" JSON_INTEGER_FORMAT "s", json_integer_value(left));
	else if (json_is_null(left))
		fputs(" for ever", stdout);
	print_part(j, "rule", " rule ");
	print_part(j, "reason", ": ");
	print_part(j, "text", ": ");
	if (json_is_integer(lost))
		printf(" %" JSON_INTEGER_FORMAT " events are lost", json_integer_value(lost));
	else if (json_is_null(lost))
		fputs(" another master tells now: what came before may be lost", stdout);
	putchar('\n');
}

/* One line of the stream. Comments and fields that are not asked for are passed over. */
static int on_line(void *arg, char *text)
{
	struct watch *w = arg;
	json_error_t error;
	json_t *j;

	w->is_alive = true;
	if (strncmp(text, "id: ", 4) == 0)
		snprintf(w->id, sizeof w->id, "%s", text + 4);
	if (strncmp(text, "data: ", 6))
		return 0;
	if (w->is_json) {
		puts(text + 6);
	} else {
		j = json_loads(text + 6, 0, &error);
		if (json_is_object(j))
			print_event(j);
		json_decref(j);
	}
	if (fflush(stdout) || ferror(stdout))
		w->failure = client_fail("cannot write: %s", strerror(errno));
	return w->failure;
}

static int refused(const struct answer *a)
{
	json_error_t error;
	json_t *j = json_loadb(a->body, a->body_len, 0, &error);
	const char *why = show_text(json_object_get(j, "error"), "message");
	int r = client_fail("%s%s(HTTP %d)", why, why[0] ? " " : "refused ", a->status);

	json_decref(j);
	return r;
}

int watch_run(const char *socket_path, const char *last, bool is_json)
{
	struct watch w = {.is_json = is_json};
	char path[128], extra[96] = "";
	bool was_there = false;
	int tries = 0, r;

	snprintf(path, sizeof path, "/api/v1/events%s%s", last[0] ? "?last=" : "", last);
	for (;;) {
		struct answer a;

		w.is_alive = false;
		if (w.id[0])
			snprintf(extra, sizeof extra, "Last-Event-ID: %s\r\n", w.id);
		r = client_stream(socket_path, path, extra, was_there && tries < TRIES_MAX, on_line,
				  &w, &a);
		/* A process that is about to end, or to begin, has no events: 503. */
		if (!r && a.raw && !(was_there && a.status == 503 && tries < TRIES_MAX))
			r = refused(&a);
		free(a.raw);
		if (w.failure || (r && (r != EXIT_CONNECT || !was_there || tries >= TRIES_MAX)))
			return r;
		tries = w.is_alive ? 0 : tries + 1;
		was_there |= w.is_alive;
		if (!was_there && !r)
			return client_fail("what came from %s is no stream of events", socket_path);
		usleep(RETRY_US);
	}
}
