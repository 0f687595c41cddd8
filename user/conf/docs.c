/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what is printed from the tables and the files: docs/directives.md and -T. */
#include <stdio.h>

#include "conf/load.h"

static const char *type_shape(enum conf_type type)
{
	switch (type) {
	case CONF_FLAG:
		return "on | off";
	case CONF_NUM:
		return "number";
	case CONF_SIZE:
		return "size";
	case CONF_MSEC:
	case CONF_SEC:
		return "time";
	case CONF_STR:
		return "string";
	case CONF_TMPL:
		return "text";
	default:
		return "value";
	}
}

static void print_words(const struct conf_value *v, bool more)
{
	for (; v && v->name; v++) {
		printf("%s%s", more ? " | " : "", v->name);
		more = true;
	}
}

/* Arguments by count, where nothing better is known. */
static void print_counted(const struct conf_row *row)
{
	for (int i = 0; i < row->args_min; i++)
		printf(" value");
	if (row->args_max < 0)
		printf(" [value ...]");
	for (int i = row->args_min; i < row->args_max; i++)
		printf(" [value]");
}

static void print_syntax(const struct conf_row *row, const char *args_end)
{
	printf("- Syntax: `%s", row->name);
	if (args_end) {
		printf(" %.*s", (int)(args_end - row->help), row->help);
	} else if (row->type == CONF_CUSTOM || row->type == CONF_BLOCK) {
		print_counted(row);
	} else if (row->type == CONF_ENUM || row->type == CONF_BITS) {
		putchar(' ');
		print_words(row->values, false);
		printf("%s", row->type == CONF_BITS ? " ..." : "");
	} else {
		printf(" %s", type_shape(row->type));
		print_words(row->values, true);
	}
	printf("%s`\n", row->type == CONF_BLOCK ? " { ... }" : ";");
}

static void print_row(const struct conf_row *row)
{
	const char *help = row->help ? row->help : "";
	const char *args_end = strstr(help, " -- ");
	char names[200];

	conf_ctx_names(row->contexts, names, sizeof names);
	printf("### %s\n\n", row->name);
	print_syntax(row, args_end);
	if (row->deflt)
		printf("- Default: `%s%s%s;`\n", row->name, row->deflt[0] ? " " : "", row->deflt);
	else
		printf("- Default: none\n");
	printf("- Context: %s%s\n", names, row->flags & CONF_MULTI ? "; may be repeated" : "");
	if (help[0])
		printf("\n%s\n", args_end ? args_end + 4 : help);
	printf("\n");
}

void conf_print_docs(const struct conf_module *const *modules)
{
	printf("# Directives\n\n"
	       "Made from the tables in the source: edit those, not this file.\n\n"
	       "Sizes take `k`, `m` and `g` (`4k`, `10m`); times take `ms`, `s`, `m`, `h`, `d`, "
	       "`w`, "
	       "`M` (30 days) and `y` (365 days), larger units first (`1h30m`), and are seconds "
	       "without one.\n\n"
	       "## every block\n\n"
	       "### include\n\n"
	       "- Syntax: `include file | mask;`\n"
	       "- Default: none\n"
	       "- Context: any; may be repeated\n\n"
	       "Reads a file, or all files that match, as if their text stood here; relative names "
	       "start from the folder of the configuration file.\n\n");
	for (int id = 0; id < CONF_N_MODULES; id++) {
		if (!modules[id] || modules[id]->n_rows == 0)
			continue;
		printf("## %s\n\n", modules[id]->name);
		for (size_t i = 0; i < modules[id]->n_rows; i++)
			print_row(&modules[id]->rows[i]);
	}
}

void conf_print_sources(const struct conf *c)
{
	for (const struct conf_source *s = c->sources; s; s = s->next) {
		printf("# configuration file %s:\n", s->path);
		fwrite(s->text.p, 1, s->text.n, stdout);
		putchar('\n');
	}
}
