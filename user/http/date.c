/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads and writes dates. Knows no field and no time zone but UTC. */
#include "http/date.h"

#include <time.h>

enum format {
	FIXDATE, /* Sun, 06 Nov 1994 08:49:37 GMT */
	RFC850,	 /* Sunday, 06-Nov-94 08:49:37 GMT */
	ASCTIME, /* Sun Nov  6 08:49:37 1994 */
};

struct cursor {
	const char *p, *end;
	bool bad;
};

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static int take_digits(struct cursor *c, int n)
{
	int v = 0;

	for (; n; n--, c->p++) {
		if (c->p >= c->end || *c->p < '0' || *c->p > '9') {
			c->bad = true;
			return 0;
		}
		v = v * 10 + (*c->p - '0');
	}
	return v;
}

static void take_char(struct cursor *c, char ch)
{
	if (c->p < c->end && *c->p == ch)
		c->p++;
	else
		c->bad = true;
}

static int take_month(struct cursor *c)
{
	for (int i = 0; i < 12 && c->end - c->p >= 3; i++)
		if (memcmp(c->p, months + 3 * (size_t)i, 3) == 0) {
			c->p += 3;
			return i;
		}
	c->bad = true;
	return 0;
}

/* The day's name, up to ',' or, in asctime's format, ' '; then spaces. */
static enum format skip_day_name(struct cursor *c)
{
	enum format f;

	while (c->p < c->end && *c->p != ',' && *c->p != ' ')
		c->p++;
	f = c->p < c->end && *c->p == ' ' ? ASCTIME : FIXDATE;
	if (c->p < c->end)
		c->p++;
	while (c->p < c->end && *c->p == ' ')
		c->p++;
	return f;
}

static void take_time(struct cursor *c, struct tm *tm)
{
	take_char(c, ' ');
	tm->tm_hour = take_digits(c, 2);
	take_char(c, ':');
	tm->tm_min = take_digits(c, 2);
	take_char(c, ':');
	tm->tm_sec = take_digits(c, 2);
}

static void take_asctime(struct cursor *c, struct tm *tm)
{
	tm->tm_mon = take_month(c);
	take_char(c, ' ');
	if (c->p < c->end && *c->p == ' ')
		c->p++;
	tm->tm_mday = take_digits(c, 1);
	if (c->p < c->end && *c->p != ' ')
		tm->tm_mday = tm->tm_mday * 10 + take_digits(c, 1);
	take_time(c, tm);
	take_char(c, ' ');
	tm->tm_year = take_digits(c, 4);
}

static void take_fixdate(struct cursor *c, struct tm *tm)
{
	char between;

	tm->tm_mday = take_digits(c, 2);
	between = c->p < c->end && *c->p == '-' ? '-' : ' ';
	take_char(c, between);
	tm->tm_mon = take_month(c);
	take_char(c, between);
	tm->tm_year = take_digits(c, between == '-' ? 2 : 4);
	if (between == '-')
		tm->tm_year += tm->tm_year < 70 ? 2000 : 1900;
	take_time(c, tm);
}

static bool is_date(const struct tm *tm)
{
	static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int y = tm->tm_year;
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

	return y >= 1970 && tm->tm_mday >= 1 &&
	       tm->tm_mday <= lengths[tm->tm_mon] + (leap && tm->tm_mon == 1) && tm->tm_hour < 24 &&
	       tm->tm_min < 60 && tm->tm_sec < 60;
}

int64_t date_parse(struct slice s)
{
	struct cursor c = {s.p, s.p + s.n, false};
	struct tm tm = {0};

	if (!s.n)
		return -1;
	if (skip_day_name(&c) == ASCTIME)
		take_asctime(&c, &tm);
	else
		take_fixdate(&c, &tm);
	if (c.bad || !is_date(&tm))
		return -1;
	tm.tm_year -= 1900;
	return timegm(&tm);
}

static char *put_number(char *at, int v, int digits)
{
	for (int i = digits - 1; i >= 0; i--, v /= 10)
		at[i] = (char)('0' + v % 10);
	return at + digits;
}

static char *put_text(char *at, const char *p, size_t n)
{
	memcpy(at, p, n);
	return at + n;
}

struct slice date_put(char *at, int64_t t)
{
	static const int64_t last = 253402300799; /* of the year 9999 */
	time_t when = (time_t)(t < 0 ? 0 : t > last ? last : t);
	struct tm tm;
	char *p = at;

	gmtime_r(&when, &tm);
	p = put_text(p, days + 3 * tm.tm_wday, 3);
	p = put_text(p, ", ", 2);
	p = put_number(p, tm.tm_mday, 2);
	*p++ = ' ';
	p = put_text(p, months + 3 * tm.tm_mon, 3);
	*p++ = ' ';
	p = put_number(p, tm.tm_year + 1900, 4);
	*p++ = ' ';
	p = put_number(p, tm.tm_hour, 2);
	*p++ = ':';
	p = put_number(p, tm.tm_min, 2);
	*p++ = ':';
	p = put_number(p, tm.tm_sec, 2);
	p = put_text(p, " GMT", 4);
	return slice_make(at, (size_t)(p - at));
}
