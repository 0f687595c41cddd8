/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads `expires`, and writes Expires and Cache-Control in place of what is there. */
#include "proxy/expires.h"

#include "conf/conf.h"
#include "http/date.h"
#include "proxy/add_header.h"
#include "proxy/filters_conf.h"
#include "proxy/request.h"

enum { DAY_S = 24 * 60 * 60 };

const char *expires_parse(struct slice value, struct expires *e)
{
	bool modified = e->kind == EXPIRES_MODIFIED, minus = false;

	if (!modified) {
		e->kind = EXPIRES_ACCESS;
		if (slice_eq(value, SLICE("epoch")))
			e->kind = EXPIRES_EPOCH;
		else if (slice_eq(value, SLICE("max")))
			e->kind = EXPIRES_MAX;
		else if (slice_eq(value, SLICE("off")))
			e->kind = EXPIRES_OFF;
		if (e->kind != EXPIRES_ACCESS)
			return NULL;
	}
	if (value.n && value.p[0] == '@') {
		if (modified)
			return "daily time cannot be used with \"modified\" parameter";
		e->kind = EXPIRES_DAILY;
		value = slice_skip(value, 1);
	} else if (value.n && (value.p[0] == '+' || value.p[0] == '-')) {
		minus = value.p[0] == '-';
		value = slice_skip(value, 1);
	}
	if (conf_parse_sec(value, &e->time_s))
		return "invalid value";
	if (e->kind == EXPIRES_DAILY && e->time_s > DAY_S)
		return "daily time value must be less than 24 hours";
	if (minus)
		e->time_s = -e->time_s;
	return NULL;
}

time_t expires_next_daily(time_t now, int64_t time_s)
{
	struct tm tm;
	time_t next;

	localtime_r(&now, &tm);
	tm.tm_hour = (int)(time_s / 3600);
	tm.tm_min = (int)(time_s / 60 % 60);
	tm.tm_sec = (int)(time_s % 60);
	tm.tm_isdst = -1;
	next = mktime(&tm);
	if (next > now)
		return next;
	tm.tm_mday++;
	tm.tm_isdst = -1;
	return mktime(&tm);
}

static void put(struct request *r, struct slice expires, struct slice cache_control)
{
	struct hdrs *fields = &r->resp.fields;
	struct hdr *h = hdrs_find(fields, HDR_EXPIRES);

	if (h) {
		h->value = expires;
		hdrs_remove(fields, HDR_EXPIRES, h);
	} else {
		hdrs_add(fields, &r->arena, SLICE("Expires"), expires);
	}
	h = hdrs_find(fields, HDR_CACHE_CONTROL);
	if (h) {
		h->value = cache_control;
		hdrs_remove(fields, HDR_CACHE_CONTROL, h);
	} else {
		hdrs_add(fields, &r->arena, SLICE("Cache-Control"), cache_control);
	}
}

static void put_time(struct request *r, const struct expires *e)
{
	int64_t now = r->env->loop.clock.wall_s, when = now + e->time_s, modified = -1, max_age;

	if (e->kind == EXPIRES_DAILY)
		when = expires_next_daily((time_t)now, e->time_s);
	if (e->kind == EXPIRES_MODIFIED && e->time_s)
		modified = date_parse(r->resp.last_modified);
	if (modified >= 0)
		when = modified + e->time_s;
	max_age = when - now;
	put(r, date_put(arena_bytes(&r->arena, DATE_BYTES), when),
	    (e->kind != EXPIRES_DAILY && e->time_s < 0) || max_age < 0
		    ? SLICE("no-cache")
		    : arena_printf(&r->arena, "max-age=%lld", (long long)max_age));
}

void expires_step(struct request *r)
{
	const struct filters_scope *s = filters_scope_of(r->block);
	struct expires e;

	if (!s->expires || !add_header_is_usual(r->resp.status))
		return;
	e = *s->expires;
	if (e.value && expires_parse(tmpl_eval(e.value, r, &r->arena), &e))
		return; /* as nginx: what a variable says in vain is left out */
	switch (e.kind) {
	case EXPIRES_OFF:
		return;
	case EXPIRES_EPOCH:
		put(r, SLICE("Thu, 01 Jan 1970 00:00:01 GMT"), SLICE("no-cache"));
		return;
	case EXPIRES_MAX:
		put(r, SLICE("Thu, 31 Dec 2037 23:55:55 GMT"), SLICE("max-age=315360000"));
		return;
	default:
		put_time(r, &e);
	}
}
