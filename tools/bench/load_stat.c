/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sl-load's small tools: text that grows, a histogram of times, and samples of the processes it is
 * told to watch. It must not know how load is made.
 */
#define _GNU_SOURCE
#include "load.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void load_die(const char *format, ...)
{
	va_list args;

	fputs("sl-load: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

uint64_t load_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void load_text_add(struct text *t, const char *p, size_t n)
{
	if (t->len + n + 1 > t->room) {
		t->room = (t->len + n + 1) * 2;
		t->p = realloc(t->p, t->room);
		if (t->p == NULL)
			load_die("out of memory");
	}
	memcpy(t->p + t->len, p, n);
	t->len += n;
	t->p[t->len] = '\0';
}

void load_text_addf(struct text *t, const char *format, ...)
{
	va_list args;
	char *s;
	int n;

	va_start(args, format);
	n = vasprintf(&s, format, args);
	va_end(args);
	if (n < 0)
		load_die("out of memory");
	load_text_add(t, s, (size_t)n);
	free(s);
}

void load_hist_add(struct hist *h, uint64_t v)
{
	unsigned shift = v < 2 * HIST_SUB ? 0 : (unsigned)(63 - __builtin_clzll(v)) - 7;
	size_t i = (size_t)shift * HIST_SUB + (size_t)(v >> shift);

	h->slot[i < HIST_SLOTS ? i : HIST_SLOTS - 1]++;
	h->count++;
	if (v > h->max)
		h->max = v;
}

uint64_t load_hist_quantile(const struct hist *h, unsigned per_mille)
{
	uint64_t rank = (h->count * per_mille + 999) / 1000, seen = 0, edge;
	size_t i, shift;

	for (i = 0; i < HIST_SLOTS && h->count > 0; i++) {
		seen += h->slot[i];
		if (seen < rank || h->slot[i] == 0)
			continue;
		shift = i < 2 * HIST_SUB ? 0 : i / HIST_SUB - 1;
		edge = ((uint64_t)(i - shift * HIST_SUB + 1) << shift) - 1;
		return edge < h->max ? edge : h->max;
	}
	return 0;
}

static bool read_small(const char *path, char *out, size_t room)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (f == NULL)
		return false;
	n = fread(out, 1, room - 1, f);
	out[n] = '\0';
	fclose(f);
	return n > 0;
}

/* In ticks, for kernels without schedstat. */
static uint64_t pid_cpu_ticks_ns(pid_t pid)
{
	unsigned long user, sys;
	char path[64], text[4096];
	char *s;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (!read_small(path, text, sizeof(text)) || (s = strrchr(text, ')')) == NULL ||
	    sscanf(s + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
		load_die("watched process %d is gone", pid);
	return (uint64_t)(user + sys) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* Time on a CPU of all threads, in nanoseconds. */
static uint64_t pid_cpu_ns(pid_t pid)
{
	char path[320], text[128];
	uint64_t ns, sum = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (dir == NULL)
		load_die("watched process %d is gone", pid);
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, e->d_name);
		if (read_small(path, text, sizeof(text)) && sscanf(text, "%" SCNu64, &ns) == 1)
			sum += ns;
	}
	closedir(dir);
	return sum > 0 ? sum : pid_cpu_ticks_ns(pid);
}

static uint64_t pid_pss_kb(pid_t pid)
{
	char path[64], text[4096];
	uint64_t kb;
	char *s;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	if (!read_small(path, text, sizeof(text)) || (s = strstr(text, "\nPss:")) == NULL ||
	    sscanf(s + 5, "%" SCNu64, &kb) != 1)
		load_die("cannot read %s: watching needs the same user or root", path);
	return kb;
}

void load_sample_take(const struct load *l, struct sample *s, uint64_t items, bool with_pss)
{
	size_t i;

	memset(s, 0, sizeof(*s));
	s->at_ns = load_clock_ns();
	s->items = items;
	for (i = 0; i < l->opt.n_watch; i++)
		s->cpu_ns += pid_cpu_ns(l->opt.watch[i]);
	for (i = 0; with_pss && i < l->opt.n_watch; i++)
		s->pss_kb += pid_pss_kb(l->opt.watch[i]);
}
