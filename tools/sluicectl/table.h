/* SPDX-License-Identifier: BSD-2-Clause */
/* Aligned tables for a terminal. */
#ifndef SL_SLUICECTL_TABLE_H
#define SL_SLUICECTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum { CELL_MAX = 160, COLUMNS_MAX = 12 };

struct table {
	int n_columns;
	bool right[COLUMNS_MAX];
	size_t n_rows, room;
	char (*cells)[COLUMNS_MAX][CELL_MAX];
};

/* HEADS ends with NULL; one that begins with '>' is of a column of numbers. */
void table_init(struct table *t, const char *const *heads);
/* The cells of a new row, empty; valid until the next call. Never NULL: the process ends when
 * memory is exhausted. */
char (*table_row(struct table *t))[CELL_MAX];
/* To stdout, and frees it. */
void table_print(struct table *t);
/* A copy, cut to fit, of what the terminal would not obey. */
void table_clean(char *out, size_t room, const char *in);

#endif
