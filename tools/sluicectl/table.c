/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the layout of tables: column widths, and that no cell can steer the terminal. */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

void table_clean(char *out, size_t room, const char *in)
{
	size_t o = 0;

	for (; *in && o + 1 < room; in++) {
		unsigned char c = (unsigned char)*in, next = (unsigned char)in[1];

		if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
			out[o++] = '?';
			in++;
		} else {
			out[o++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
		}
	}
	out[o] = 0;
}

static int width(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

char (*table_row(struct table *t))[CELL_MAX]
{
	if (t->n_rows == t->room) {
		size_t room = t->room ? 2 * t->room : 32;
		void *cells = realloc(t->cells, room * sizeof *t->cells);

		if (!cells) {
			client_fail("out of memory");
			exit(EXIT_REFUSED);
		}
		t->cells = cells;
		t->room = room;
	}
	memset(t->cells[t->n_rows], 0, sizeof t->cells[0]);
	return t->cells[t->n_rows++];
}

void table_init(struct table *t, const char *const *heads)
{
	char(*row)[CELL_MAX];

	memset(t, 0, sizeof *t);
	row = table_row(t);
	for (; heads[t->n_columns]; t->n_columns++) {
		const char *head = heads[t->n_columns];

		t->right[t->n_columns] = head[0] == '>';
		table_clean(row[t->n_columns], CELL_MAX, head + (head[0] == '>'));
	}
}

void table_print(struct table *t)
{
	int widths[COLUMNS_MAX] = {0};

	for (size_t i = 0; i < t->n_rows; i++)
		for (int c = 0; c < t->n_columns; c++)
			if (width(t->cells[i][c]) > widths[c])
				widths[c] = width(t->cells[i][c]);
	for (size_t i = 0; i < t->n_rows; i++) {
		int n = t->n_columns;

		while (n > 1 && !t->cells[i][n - 1][0])
			n--;
		for (int c = 0; c < n; c++) {
			int pad = widths[c] - width(t->cells[i][c]);

			if (t->right[c])
				printf("%*s%s", pad, "", t->cells[i][c]);
			else
				printf("%s%*s", t->cells[i][c], c + 1 < n ? pad : 0, "");
			fputs(c + 1 < n ? "  " : "\n", stdout);
		}
	}
	free(t->cells);
}
