/* SPDX-License-Identifier: BSD-2-Clause */
/* A checker of the Prometheus text format 0.0.4 and of the rules that `promtool check metrics` has,
 * written for this test. Knows nothing of what sluice counts. */
#ifndef SL_TESTS_PROM_H
#define SL_TESTS_PROM_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROM_SERIES_MAX = 4096, PROM_FAMILIES_MAX = 256 };

struct prom {
	char error[256]; /* the first thing that is wrong; empty: nothing */
	char family[128];
	bool is_counter, has_type;
	int n_families, n_series, n_samples_of_family;
	char *families[PROM_FAMILIES_MAX];
	char *series[PROM_SERIES_MAX]; /* name with labels */
};

static inline void prom_fini(struct prom *p)
{
	for (int i = 0; i < p->n_families; i++)
		free(p->families[i]);
	for (int i = 0; i < p->n_series; i++)
		free(p->series[i]);
}

static inline bool prom_fail(struct prom *p, const char *what, const char *line)
{
	if (!p->error[0])
		snprintf(p->error, sizeof p->error, "%s: %.150s", what, line);
	return false;
}

static inline size_t prom_name_len(const char *s, bool is_label)
{
	size_t n = 0;

	while (isalpha((unsigned char)s[n]) || s[n] == '_' || (!is_label && s[n] == ':') ||
	       (n && isdigit((unsigned char)s[n])))
		n++;
	return n;
}

static inline bool prom_ends(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

/* Names: snake_case, our prefix, base units written out, suffixes as types demand. */
static inline bool prom_check_name(struct prom *p, const char *name)
{
	static const char *const bad[] = {
		"ms",	"us",	     "ns",	  "sec",	  "secs",    "min",   "kb",
		"mb",	"kib",	     "mib",	  "milliseconds", "minutes", "hours", "days",
		"bits", "kilobytes", "megabytes", "percent",	  "counter", "gauge"};
	char copy[128], *save = NULL;

	if (strncmp(name, "sluice_", 7))
		return prom_fail(p, "no sluice_ prefix", name);
	for (const char *s = name; *s; s++)
		if (isupper((unsigned char)*s) || (s[0] == '_' && s[1] == '_'))
			return prom_fail(p, "not snake_case", name);
	snprintf(copy, sizeof copy, "%s", name);
	for (char *w = strtok_r(copy, "_", &save); w; w = strtok_r(NULL, "_", &save))
		for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
			if (strcmp(w, bad[i]) == 0)
				return prom_fail(p, "a word that names must not have", name);
	if (prom_ends(name, "_count") || prom_ends(name, "_sum") || prom_ends(name, "_bucket"))
		return prom_fail(p, "a suffix of histograms", name);
	return true;
}

static inline bool prom_help(struct prom *p, const char *line)
{
	size_t n = prom_name_len(line + 7, false);

	if (p->family[0] && !p->has_type)
		return prom_fail(p, "HELP without TYPE before", line);
	if (!n || line[7 + n] != ' ' || !line[8 + n])
		return prom_fail(p, "HELP without name or text", line);
	if (n >= sizeof p->family || p->n_families == PROM_FAMILIES_MAX)
		return prom_fail(p, "too much", line);
	memcpy(p->family, line + 7, n);
	p->family[n] = 0;
	p->has_type = false;
	p->n_samples_of_family = 0;
	for (int i = 0; i < p->n_families; i++)
		if (strcmp(p->families[i], p->family) == 0)
			return prom_fail(p, "a family twice", line);
	p->families[p->n_families++] = strdup(p->family);
	return prom_check_name(p, p->family);
}

static inline bool prom_type(struct prom *p, const char *line)
{
	size_t n = strlen(p->family);

	if (!n || strncmp(line + 7, p->family, n) || line[7 + n] != ' ' || p->has_type)
		return prom_fail(p, "TYPE without its HELP just before", line);
	p->has_type = true;
	p->is_counter = strcmp(line + 8 + n, "counter") == 0;
	if (!p->is_counter && strcmp(line + 8 + n, "gauge"))
		return prom_fail(p, "an unknown TYPE", line);
	if (p->is_counter != prom_ends(p->family, "_total"))
		return prom_fail(p, "counters, and only counters, end with _total", line);
	return true;
}

/* {name="value",...}; the length, 0 for malformed. */
static inline size_t prom_labels_len(struct prom *p, const char *s)
{
	char names[8][64];
	int n_names = 0;
	size_t at = 1, n;

	for (;;) {
		n = prom_name_len(s + at, true);
		if (!n || n >= sizeof names[0] || n_names == 8 || s[at + n] != '=' ||
		    s[at + n + 1] != '"')
			return 0;
		memcpy(names[n_names], s + at, n);
		names[n_names][n] = 0;
		for (int i = 0; i < n_names; i++)
			if (strcmp(names[i], names[n_names]) == 0)
				return 0;
		n_names++;
		for (at += n + 2; s[at] && s[at] != '"'; at++) {
			if ((unsigned char)s[at] < 0x20)
				return 0;
			if (s[at] == '\\' && !strchr("\\\"n", s[++at]))
				return 0;
		}
		if (s[at] != '"')
			return 0;
		if (s[++at] == '}')
			return at + 1;
		if (s[at++] != ',')
			return 0;
	}
}

static inline bool prom_sample(struct prom *p, const char *line)
{
	size_t n = prom_name_len(line, false), m = 0;
	char *end, *series;
	double value;

	if (!n || n != strlen(p->family) || strncmp(line, p->family, n) || !p->has_type)
		return prom_fail(p, "a sample out of its family", line);
	if (line[n] == '{') {
		m = prom_labels_len(p, line + n);
		if (!m)
			return prom_fail(p, "malformed labels", line);
	}
	if (line[n + m] != ' ' || isspace((unsigned char)line[n + m + 1]))
		return prom_fail(p, "no single space before the value", line);
	value = strtod(line + n + m + 1, &end);
	if (end == line + n + m + 1 || *end)
		return prom_fail(p, "malformed value", line);
	if (p->is_counter && !(value >= 0))
		return prom_fail(p, "a counter below 0", line);
	series = strndup(line, n + m);
	for (int i = 0; i < p->n_series; i++) {
		if (strcmp(p->series[i], series))
			continue;
		free(series);
		return prom_fail(p, "a series twice", line);
	}
	if (p->n_series == PROM_SERIES_MAX) {
		free(series);
		return prom_fail(p, "too much", line);
	}
	p->series[p->n_series++] = series;
	p->n_samples_of_family++;
	return true;
}

/* P was zeroed; prom_fini() is due also on failure. */
static inline bool prom_check(struct prom *p, const char *text)
{
	char line[4096];
	const char *nl;

	for (; *text; text = nl + 1) {
		nl = strchr(text, '\n');
		if (!nl)
			return prom_fail(p, "the last line does not end", text);
		if ((size_t)(nl - text) >= sizeof line)
			return prom_fail(p, "a line is too long", text);
		memcpy(line, text, (size_t)(nl - text));
		line[nl - text] = 0;
		if (strncmp(line, "# HELP ", 7) == 0) {
			if (!prom_help(p, line))
				return false;
		} else if (strncmp(line, "# TYPE ", 7) == 0) {
			if (!prom_type(p, line))
				return false;
		} else if (!prom_sample(p, line)) {
			return false;
		}
	}
	return p->n_series > 0 || prom_fail(p, "no sample at all", "");
}

#endif
