/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the file of exported bans and the pieces in which it is sent. */
#include "carry.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "show.h"

enum { PIECE = 100, BAN_LINE_BYTES = 4096 };

static FILE *open_at(const char *path, const char *mode, FILE *standard)
{
	FILE *f = strcmp(path, "-") == 0 ? standard : fopen(path, mode);

	if (!f)
		client_fail("cannot open %s: %s", path, strerror(errno));
	return f;
}

/* The answer's JSON, or NULL with *r. */
static json_t *ask(const char *socket_path, const char *method, const char *path, const char *body,
		   int *r)
{
	struct answer a;
	json_error_t error;
	json_t *j = NULL;

	*r = client_request(socket_path, method, path, body, &a);
	if (*r == 0)
		j = json_loadb(a.body, a.body_len, 0, &error);
	if (*r == 0 && (a.status != 200 || !j)) {
		*r = client_fail("%s (HTTP %d)", show_text(json_object_get(j, "error"), "message"),
				 a.status);
		json_decref(j);
		j = NULL;
	}
	free(a.raw);
	return j;
}

int carry_export(const char *socket_path, const char *path)
{
	json_t *j, *list;
	FILE *f;
	int r;

	j = ask(socket_path, "GET", "/api/v1/bans/export", NULL, &r);
	if (!j)
		return r;
	list = json_object_get(j, "bans");
	f = open_at(path, "w", stdout);
	for (size_t i = 0; f && i < json_array_size(list); i++) {
		json_dumpf(json_array_get(list, i), f, JSON_COMPACT);
		putc('\n', f);
	}
	if (!f)
		r = EXIT_REFUSED;
	else if (fflush(f) || ferror(f) || (f != stdout && fclose(f)))
		r = client_fail("cannot write %s: %s", path, strerror(errno));
	else
		fprintf(stderr, "%zu bans\n", json_array_size(list));
	json_decref(j);
	return r;
}

static json_t *read_lines(FILE *f, const char *path)
{
	json_t *list = json_array(), *j;
	char line[BAN_LINE_BYTES];
	json_error_t error;
	unsigned n = 0;

	while (fgets(line, sizeof line, f)) {
		n++;
		if (line[strspn(line, " \t\r\n")] == 0 || line[0] == '#')
			continue;
		j = json_loads(line, JSON_REJECT_DUPLICATES, &error);
		if (!json_is_object(j)) {
			client_fail("%s:%u is no ban: %s", path, n, error.text);
			json_decref(j);
			json_decref(list);
			return NULL;
		}
		json_array_append_new(list, j);
	}
	return list;
}

/* All of LIST in pieces to PATH; adds up what was answered. */
static int send_pieces(const char *socket_path, const char *path, json_t *list, json_int_t sums[4])
{
	static const char *const keys[] = {"added", "kept", "over", "refused"};
	int r = 0;

	for (size_t at = 0; r == 0 && at < json_array_size(list); at += PIECE) {
		json_t *piece = json_array(), *whole, *j;
		char *body;

		for (size_t i = at; i < at + PIECE && i < json_array_size(list); i++)
			json_array_append(piece, json_array_get(list, i));
		whole = json_pack("{s:o}", "bans", piece);
		body = json_dumps(whole, JSON_COMPACT);
		j = ask(socket_path, "POST", path, body, &r);
		for (int k = 0; j && k < 4; k++)
			sums[k] += json_integer_value(json_object_get(j, keys[k]));
		if (!j)
			fprintf(stderr, "in the piece that begins with ban %zu\n", at + 1);
		json_decref(j);
		json_decref(whole);
		free(body);
	}
	return r;
}

int carry_import(const char *socket_path, const char *path)
{
	FILE *f = open_at(path, "r", stdin);
	json_t *list = f ? read_lines(f, path) : NULL;
	json_int_t sums[4] = {0}, none[4] = {0};
	int r = EXIT_REFUSED;

	if (f && f != stdin)
		fclose(f);
	if (!list)
		return r;
	r = send_pieces(socket_path, "/api/v1/bans/check", list, none);
	if (r == 0)
		r = send_pieces(socket_path, "/api/v1/bans/import", list, sums);
	if (r == 0)
		printf("%lld added, %lld known already, %lld over, %lld refused\n",
		       (long long)sums[0], (long long)sums[1], (long long)sums[2],
		       (long long)sums[3]);
	if (r == 0 && sums[3])
		r = client_fail(
			"refused is who is in the allow list, or finds no room in the table of "
			"bans: the error log says which");
	json_decref(list);
	return r;
}
