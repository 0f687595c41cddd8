/* SPDX-License-Identifier: BSD-2-Clause */
/* Known header names and lists of fields. Owns the hash seed and the table of known names; both are
 * set once by hdr_setup and then only read. Says nothing about what a field means. */
#include "http/headers.h"

#include <assert.h>

#include "core/hash.h"
#include "http/chars.h"

enum {
	SLOTS = 512,
	HASHED_MAX = 64, /* longer names hash their first 64 bytes and their length */
	ROOM_FIRST = 16,
};

static const struct slice names[HDR_N] = {
	[HDR_ACCEPT] = SLICE_INIT("Accept"),
	[HDR_ACCEPT_ENCODING] = SLICE_INIT("Accept-Encoding"),
	[HDR_ACCEPT_RANGES] = SLICE_INIT("Accept-Ranges"),
	[HDR_AUTHORIZATION] = SLICE_INIT("Authorization"),
	[HDR_CACHE_CONTROL] = SLICE_INIT("Cache-Control"),
	[HDR_CONNECTION] = SLICE_INIT("Connection"),
	[HDR_CONTENT_ENCODING] = SLICE_INIT("Content-Encoding"),
	[HDR_CONTENT_LENGTH] = SLICE_INIT("Content-Length"),
	[HDR_CONTENT_TYPE] = SLICE_INIT("Content-Type"),
	[HDR_COOKIE] = SLICE_INIT("Cookie"),
	[HDR_DATE] = SLICE_INIT("Date"),
	[HDR_ETAG] = SLICE_INIT("ETag"),
	[HDR_EXPECT] = SLICE_INIT("Expect"),
	[HDR_EXPIRES] = SLICE_INIT("Expires"),
	[HDR_HOST] = SLICE_INIT("Host"),
	[HDR_IF_MODIFIED_SINCE] = SLICE_INIT("If-Modified-Since"),
	[HDR_IF_NONE_MATCH] = SLICE_INIT("If-None-Match"),
	[HDR_IF_MATCH] = SLICE_INIT("If-Match"),
	[HDR_IF_UNMODIFIED_SINCE] = SLICE_INIT("If-Unmodified-Since"),
	[HDR_IF_RANGE] = SLICE_INIT("If-Range"),
	[HDR_KEEP_ALIVE] = SLICE_INIT("Keep-Alive"),
	[HDR_LAST_MODIFIED] = SLICE_INIT("Last-Modified"),
	[HDR_LINK] = SLICE_INIT("Link"),
	[HDR_LOCATION] = SLICE_INIT("Location"),
	[HDR_PROXY_AUTHENTICATE] = SLICE_INIT("Proxy-Authenticate"),
	[HDR_PROXY_AUTHORIZATION] = SLICE_INIT("Proxy-Authorization"),
	[HDR_PROXY_CONNECTION] = SLICE_INIT("Proxy-Connection"),
	[HDR_RANGE] = SLICE_INIT("Range"),
	[HDR_REFERER] = SLICE_INIT("Referer"),
	[HDR_REFRESH] = SLICE_INIT("Refresh"),
	[HDR_RETRY_AFTER] = SLICE_INIT("Retry-After"),
	[HDR_SERVER] = SLICE_INIT("Server"),
	[HDR_SET_COOKIE] = SLICE_INIT("Set-Cookie"),
	[HDR_TE] = SLICE_INIT("TE"),
	[HDR_TRAILER] = SLICE_INIT("Trailer"),
	[HDR_TRANSFER_ENCODING] = SLICE_INIT("Transfer-Encoding"),
	[HDR_UPGRADE] = SLICE_INIT("Upgrade"),
	[HDR_USER_AGENT] = SLICE_INIT("User-Agent"),
	[HDR_VARY] = SLICE_INIT("Vary"),
	[HDR_VIA] = SLICE_INIT("Via"),
	[HDR_WWW_AUTHENTICATE] = SLICE_INIT("WWW-Authenticate"),
	[HDR_X_ACCEL_BUFFERING] = SLICE_INIT("X-Accel-Buffering"),
	[HDR_X_ACCEL_CHARSET] = SLICE_INIT("X-Accel-Charset"),
	[HDR_X_ACCEL_EXPIRES] = SLICE_INIT("X-Accel-Expires"),
	[HDR_X_ACCEL_LIMIT_RATE] = SLICE_INIT("X-Accel-Limit-Rate"),
	[HDR_X_ACCEL_REDIRECT] = SLICE_INIT("X-Accel-Redirect"),
	[HDR_X_FORWARDED_FOR] = SLICE_INIT("X-Forwarded-For"),
	[HDR_X_PAD] = SLICE_INIT("X-Pad"),
	[HDR_X_REAL_IP] = SLICE_INIT("X-Real-IP"),
	[HDR_X_REQUEST_ID] = SLICE_INIT("X-Request-ID"),
};

/* One context a process. The seed is one under which no two known names share a slot, so that a
 * look-up is one probe; that costs the seed a few bits. */
static struct {
	uint64_t seed;
	uint8_t slot[SLOTS];
	bool ready;
} table;

static bool fill_slots(void)
{
	memset(table.slot, HDR_OTHER, sizeof table.slot);
	for (unsigned id = HDR_OTHER + 1; id < HDR_N; id++) {
		uint8_t *slot = &table.slot[hdr_hash(names[id]) % SLOTS];

		if (*slot != HDR_OTHER)
			return false;
		*slot = (uint8_t)id;
	}
	return true;
}

void hdr_setup(void)
{
	if (table.ready)
		return;
	do
		table.seed = hash_random_seed();
	while (!fill_slots());
	table.ready = true;
}

/* Letters to lower case in eight bytes at once: bit 5 is set where a byte below 0x80 is in A-Z. */
static inline uint64_t lower8(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101u, low7 = w & (ones * 0x7f);
	uint64_t from_a = low7 + ones * (0x80 - 'A'), above_z = low7 + ones * (0x7f - 'Z');

	return w | ((from_a & ~above_z & ~w & (ones * 0x80)) >> 2);
}

static inline uint64_t load8(const char *p)
{
	uint64_t w;

	memcpy(&w, p, 8);
	return lower8(w);
}

/* 1 to 7 bytes, each in at least one place. */
static inline uint64_t load_short(const char *p, size_t n)
{
	uint32_t first, last;

	if (n < 4)
		return lower8((uint64_t)(unsigned char)p[0] << 16 |
			      (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1]);
	memcpy(&first, p, 4);
	memcpy(&last, p + n - 4, 4);
	return lower8((uint64_t)first << 32 | last);
}

static inline uint64_t mix(uint64_t h, uint64_t w)
{
	__uint128_t product = (__uint128_t)(h ^ w) * 0x9e3779b97f4a7c15u;

	return (uint64_t)product ^ (uint64_t)(product >> 64) ^ table.seed;
}

/* Not core/hash.h: its hashes read text from memory, and writing the lower case there first costs
 * more than all of this. */
uint32_t hdr_hash(struct slice name)
{
	size_t n = name.n < HASHED_MAX ? name.n : HASHED_MAX;
	uint64_t h = table.seed ^ name.n;

	for (size_t i = 0; i + 8 < n; i += 8)
		h = mix(h, load8(name.p + i));
	if (n >= 8)
		h = mix(h, load8(name.p + n - 8));
	else if (n > 0)
		h = mix(h, load_short(name.p, n));
	h = mix(h, 0);
	return (uint32_t)(h ^ h >> 32);
}

enum hdr_id hdr_id_of(struct slice name, uint32_t hash)
{
	enum hdr_id id = table.slot[hash % SLOTS];

	/* Without the table, no Content-Length would be seen at all. */
	assert(table.ready);
	return id != HDR_OTHER && slice_ieq(names[id], name) ? id : HDR_OTHER;
}

struct slice hdr_name_of(enum hdr_id id)
{
	return id > HDR_OTHER && id < HDR_N ? names[id] : slice_make("", 0);
}

void hdrs_reserve(struct hdrs *h, struct arena *a, uint32_t room)
{
	struct hdr *v;

	if (room <= h->room)
		return;
	v = arena_alloc(a, room * sizeof *v);
	if (h->n)
		memcpy(v, h->v, h->n * sizeof *v);
	h->v = v;
	h->room = room;
}

struct hdr *hdrs_add(struct hdrs *h, struct arena *a, struct slice name, struct slice value)
{
	struct hdr *f;

	if (h->n == h->room)
		hdrs_reserve(h, a, h->room ? h->room * 2 : ROOM_FIRST);
	f = &h->v[h->n++];
	f->name = name;
	f->value = value;
	f->hash = hdr_hash(name);
	f->id = (uint16_t)hdr_id_of(name, f->hash);
	f->flags = 0;
	return f;
}

static struct hdr *find_id_from(const struct hdrs *h, uint32_t i, enum hdr_id id)
{
	for (; i < h->n; i++)
		if (h->v[i].id == id)
			return &h->v[i];
	return NULL;
}

struct hdr *hdrs_add_first(struct hdrs *h, struct arena *a, struct slice name, struct slice value)
{
	struct hdr f = *hdrs_add(h, a, name, value);

	memmove(h->v + 1, h->v, (h->n - 1) * sizeof *h->v);
	h->v[0] = f;
	return h->v;
}

void hdrs_remove(struct hdrs *h, enum hdr_id id, const struct hdr *keep)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < h->n; i++)
		if (h->v[i].id != id || h->v + i == keep)
			h->v[n++] = h->v[i];
	h->n = n;
}

static struct hdr *find_name_from(const struct hdrs *h, uint32_t i, struct slice name,
				  uint32_t hash)
{
	for (; i < h->n; i++)
		if (h->v[i].hash == hash && slice_ieq(h->v[i].name, name))
			return &h->v[i];
	return NULL;
}

struct hdr *hdrs_find(const struct hdrs *h, enum hdr_id id)
{
	return find_id_from(h, 0, id);
}

struct hdr *hdrs_find_name(const struct hdrs *h, struct slice name)
{
	return find_name_from(h, 0, name, hdr_hash(name));
}

struct hdr *hdrs_next(const struct hdrs *h, const struct hdr *after)
{
	uint32_t i = (uint32_t)(after - h->v) + 1;

	if (after->id != HDR_OTHER)
		return find_id_from(h, i, after->id);
	return find_name_from(h, i, after->name, after->hash);
}

/* NAME as in a variable: lower case, '_' where the field has '-'. */
static bool is_var_name(struct slice field, struct slice name)
{
	if (field.n != name.n)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = chars_lower(field.p[i]);

		if ((c == '-' ? '_' : c) != name.p[i])
			return false;
	}
	return true;
}

bool hdrs_join_var(const struct hdrs *h, struct arena *a, struct slice name, struct slice *out)
{
	const char *sep = slice_eq(name, SLICE("cookie")) ? "; " : ", ";
	const struct hdr *first = NULL;
	uint32_t n = 0;
	size_t bytes = 0;
	char *at;

	for (uint32_t i = 0; i < h->n; i++) {
		if (!is_var_name(h->v[i].name, name))
			continue;
		if (n++ == 0)
			first = &h->v[i];
		bytes += h->v[i].value.n + 2;
	}
	if (n == 0)
		return false;
	*out = first->value;
	if (n == 1)
		return true;
	at = arena_bytes(a, bytes);
	out->p = at;
	for (const struct hdr *f = first; f < h->v + h->n; f++) {
		if (!is_var_name(f->name, name))
			continue;
		if (f != first) {
			memcpy(at, sep, 2);
			at += 2;
		}
		if (f->value.n)
			memcpy(at, f->value.p, f->value.n);
		at += f->value.n;
	}
	out->n = (size_t)(at - out->p);
	return true;
}

bool hdr_next_token(struct slice *rest, struct slice *token)
{
	while (rest->n) {
		ptrdiff_t comma = slice_find(*rest, ',');
		size_t n = comma < 0 ? rest->n : (size_t)comma;

		*token = slice_trim(slice_make(rest->p, n));
		*rest = slice_skip(*rest, n + 1);
		if (token->n)
			return true;
	}
	return false;
}

bool hdr_has_token(struct slice value, struct slice token)
{
	struct slice t;

	while (hdr_next_token(&value, &t))
		if (slice_ieq(t, token))
			return true;
	return false;
}

void hdrs_options(const struct hdrs *h, struct hdr_options *out)
{
	out->n = 0;
	for (const struct hdr *f = hdrs_find(h, HDR_CONNECTION); f; f = hdrs_next(h, f)) {
		struct slice rest = f->value, name;

		while (out->n < HDR_OPTIONS_MAX && hdr_next_token(&rest, &name)) {
			out->v[out->n].name = name;
			out->v[out->n++].hash = hdr_hash(name);
		}
	}
}

bool hdr_options_have(const struct hdr_options *o, const struct hdr *f)
{
	for (uint32_t i = 0; i < o->n; i++)
		if (o->v[i].hash == f->hash && slice_ieq(o->v[i].name, f->name))
			return true;
	return false;
}
