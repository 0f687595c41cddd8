/* SPDX-License-Identifier: BSD-2-Clause */
/* Header fields: the names that sluice acts upon have a number, found once by the parser; all
 * others are HDR_OTHER and are compared by name. Fields keep the peer's order and spelling. */
#ifndef SL_HTTP_HEADERS_H
#define SL_HTTP_HEADERS_H

#include <stdint.h>

#include "core/arena.h"
#include "core/slice.h"

enum hdr_id {
	HDR_OTHER,
	HDR_ACCEPT,
	HDR_ACCEPT_ENCODING,
	HDR_ACCEPT_RANGES,
	HDR_AUTHORIZATION,
	HDR_CACHE_CONTROL,
	HDR_CONNECTION,
	HDR_CONTENT_ENCODING,
	HDR_CONTENT_LENGTH,
	HDR_CONTENT_TYPE,
	HDR_COOKIE,
	HDR_DATE,
	HDR_ETAG,
	HDR_EXPECT,
	HDR_EXPIRES,
	HDR_HOST,
	HDR_IF_MODIFIED_SINCE,
	HDR_IF_NONE_MATCH,
	HDR_IF_MATCH,
	HDR_IF_UNMODIFIED_SINCE,
	HDR_IF_RANGE,
	HDR_KEEP_ALIVE,
	HDR_LAST_MODIFIED,
	HDR_LINK,
	HDR_LOCATION,
	HDR_PROXY_AUTHENTICATE,
	HDR_PROXY_AUTHORIZATION,
	HDR_PROXY_CONNECTION,
	HDR_RANGE,
	HDR_REFERER,
	HDR_REFRESH,
	HDR_RETRY_AFTER,
	HDR_SERVER,
	HDR_SET_COOKIE,
	HDR_TE,
	HDR_TRAILER,
	HDR_TRANSFER_ENCODING,
	HDR_UPGRADE,
	HDR_USER_AGENT,
	HDR_VARY,
	HDR_VIA,
	HDR_WWW_AUTHENTICATE,
	HDR_X_ACCEL_BUFFERING,
	HDR_X_ACCEL_CHARSET,
	HDR_X_ACCEL_EXPIRES,
	HDR_X_ACCEL_LIMIT_RATE,
	HDR_X_ACCEL_REDIRECT,
	HDR_X_FORWARDED_FOR,
	HDR_X_PAD,
	HDR_X_REAL_IP,
	HDR_X_REQUEST_ID,
	HDR_N,
};

enum { HDR_OPTIONS_MAX = 64 }; /* in the Connection fields of one head: with more it is refused */

struct hdr {
	struct slice name;  /* as the peer spelled it */
	struct slice value; /* without the white space around it */
	uint16_t id;	    /* enum hdr_id */
	uint16_t flags;	    /* for the user of the list; the parser sets 0 */
	uint32_t hash;	    /* hdr_hash(name) */
};

/* A growing array in an arena. */
struct hdrs {
	struct hdr *v;
	uint32_t n, room;
};

/* Once a process, before any parsing and before any hash is kept: chooses the hash seed (it goes on
 * being the same in forked children). A second call changes nothing. */
void hdr_setup(void);
/* ASCII case is ignored; seeded. Names over 64 bytes hash their first 64 and their length. */
uint32_t hdr_hash(struct slice name);
/* HASH is hdr_hash(name). */
enum hdr_id hdr_id_of(struct slice name, uint32_t hash);
/* The usual spelling ("Content-Type"); empty for HDR_OTHER. */
struct slice hdr_name_of(enum hdr_id id);

/* Makes room for ROOM fields in all, so that adding up to there does not move them. */
void hdrs_reserve(struct hdrs *h, struct arena *a, uint32_t room);
/* Appends; name and value are borrowed (they must live as long as the list). Pointers to earlier
 * fields are stale afterwards. */
struct hdr *hdrs_add(struct hdrs *h, struct arena *a, struct slice name, struct slice value);
/* The same before all others. */
struct hdr *hdrs_add_first(struct hdrs *h, struct arena *a, struct slice name, struct slice value);
/* Takes all fields of that name out but KEEP (may be NULL), which may have moved afterwards. */
void hdrs_remove(struct hdrs *h, enum hdr_id id, const struct hdr *keep);
/* The first field of that name, or NULL. hdrs_next goes on behind AFTER, a field of this list, to
 * the next of the same name. HDR_OTHER is not a name: hdrs_find finds any such field with it. */
struct hdr *hdrs_find(const struct hdrs *h, enum hdr_id id);
struct hdr *hdrs_find_name(const struct hdrs *h, struct slice name);
struct hdr *hdrs_next(const struct hdrs *h, const struct hdr *after);
/* The options that a head's Connection fields name: a field of such a name is for the next hop only (RFC 9110
 * 7.6.1). Read once, as both lists may be long. */
struct hdr_options {
	uint32_t n;
	struct {
		struct slice name; /* borrowed */
		uint32_t hash;
	} v[HDR_OPTIONS_MAX];
};

void hdrs_options(const struct hdrs *h, struct hdr_options *out);
bool hdr_options_have(const struct hdr_options *o, const struct hdr *f);
/* All values of the name joined with ", " (or "; " for Cookie), as nginx's $http_NAME; NAME is in
 * lower case with '_' for '-'. Returns false when there is none. A single value is borrowed, not
 * copied. */
bool hdrs_join_var(const struct hdrs *h, struct arena *a, struct slice name, struct slice *out);
/* Does the comma-separated list VALUE have TOKEN, case ignored? */
bool hdr_has_token(struct slice value, struct slice token);
/* Iterates over comma-separated tokens, without the white space around them: false at the end;
 * empty elements are passed over. Quotes mean nothing here. */
bool hdr_next_token(struct slice *rest, struct slice *token);

#endif
