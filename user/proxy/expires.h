/* SPDX-License-Identifier: BSD-2-Clause */
/* The values of `expires`: which Expires and Cache-Control an answer gets. */
#ifndef SL_PROXY_EXPIRES_H
#define SL_PROXY_EXPIRES_H

#include <time.h>

#include "conf/var.h"

struct request;

enum expires_kind {
	EXPIRES_OFF,
	EXPIRES_EPOCH,
	EXPIRES_MAX,
	EXPIRES_ACCESS,	  /* TIME_S from now */
	EXPIRES_MODIFIED, /* TIME_S from Last-Modified, or from now where there is none */
	EXPIRES_DAILY,	  /* when the local time of day is TIME_S next */
};

struct expires {
	enum expires_kind kind;
	int64_t time_s; /* may be negative */
	struct tmpl *
		value; /* with variables: read for each answer; KIND says whether `modified` is there */
};

/* "off", "epoch", "max", "30d", "-1", "@15h30m". *E says at first whether `modified` stands before. NULL, or what is
 * wrong. */
const char *expires_parse(struct slice value, struct expires *e);
/* When it is TIME_S of the day (local time) next after NOW. */
time_t expires_next_daily(time_t now, int64_t time_s);
/* A step of out.c. */
void expires_step(struct request *r);

#endif
