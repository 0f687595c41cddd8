/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the clocks and formats the second's texts once. */
#include "core/clock.h"

#include <stdio.h>

static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
				     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

uint64_t clock_mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000u;
}

uint64_t clock_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* The fields are in their ranges; the modulo tells the compiler so. */
static void format_second(struct clock *c)
{
	struct tm l, g;
	long off;
	char sign;

	localtime_r(&c->wall_s, &l);
	gmtime_r(&c->wall_s, &g);
	off = l.tm_gmtoff / 60;
	sign = off < 0 ? '-' : '+';
	off = off < 0 ? -off : off;
	snprintf(c->time_local, sizeof c->time_local, "%02d/%s/%04d:%02d:%02d:%02d %c%02ld%02ld",
		 l.tm_mday % 100, months[l.tm_mon], (l.tm_year + 1900) % 10000, l.tm_hour % 100,
		 l.tm_min % 100, l.tm_sec % 100, sign, off / 60 % 100, off % 60);
	snprintf(c->time_iso8601, sizeof c->time_iso8601,
		 "%04d-%02d-%02dT%02d:%02d:%02d%c%02ld:%02ld", (l.tm_year + 1900) % 10000,
		 (l.tm_mon + 1) % 100, l.tm_mday % 100, l.tm_hour % 100, l.tm_min % 100,
		 l.tm_sec % 100, sign, off / 60 % 100, off % 60);
	snprintf(c->log_time, sizeof c->log_time, "%04d/%02d/%02d %02d:%02d:%02d",
		 (l.tm_year + 1900) % 10000, (l.tm_mon + 1) % 100, l.tm_mday % 100, l.tm_hour % 100,
		 l.tm_min % 100, l.tm_sec % 100);
	snprintf(c->http_date, sizeof c->http_date, "%s, %02d %s %04d %02d:%02d:%02d GMT",
		 days[g.tm_wday], g.tm_mday % 100, months[g.tm_mon], (g.tm_year + 1900) % 10000,
		 g.tm_hour % 100, g.tm_min % 100, g.tm_sec % 100);
}

void clock_update(struct clock *c)
{
	time_t s;

	c->mono_ms = clock_mono_ms();
	c->wall_ms = clock_wall_ms();
	s = (time_t)(c->wall_ms / 1000);
	if (s != c->wall_s) {
		c->wall_s = s;
		format_second(c);
	}
}
