/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the memory of the ban table and of the evidence. Opens nothing, reads no clock, logs
 * nothing; the table's file is ban_file.c's. */
#include "policy/ban.h"

#include <stddef.h>

#include "core/err.h"
#include "core/hash.h"

enum {
	BUCKETS = 65536,
	RETRIES_MAX = 100,	      /* of a worker, while the writer is in the middle */
	ENTRY_RETRIES_MAX = 10000000, /* of who lists, who has time: some 100 ms */
	SETS = 4096,
	WAYS = 8,
};

/* An address as the table keeps it. */
struct key {
	uint8_t family;
	uint8_t bytes[16];
};

/* One writer, readers without a lock: VERSION is odd while links change, and each entry has its
 * own seq for its content. Links are indices plus one, so that zeroed memory is an empty table. */
struct ban_table {
	uint32_t version;
	uint32_t n, n_touched; /* entries; slots ever used */
	uint32_t free;	       /* list through next[] */
	uint64_t seed;
	uint32_t bucket[BUCKETS];
	uint32_t next[BAN_TABLE_ROOM];
	struct ban_entry entry[BAN_TABLE_ROOM];
};

static bool key_make(struct key *k, uint8_t family, const uint8_t *bytes)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	memset(k, 0, sizeof *k);
	if (family == 6 && memcmp(bytes, mapped, sizeof mapped) == 0) {
		family = 4;
		bytes += sizeof mapped;
	}
	if (family != 4 && family != 6)
		return false;
	k->family = family;
	memcpy(k->bytes, bytes, family == 4 ? 4 : 16);
	return true;
}

static bool key_from_addr(struct key *k, const struct addr *a)
{
	const uint8_t *bytes;
	size_t n = addr_bytes(a, &bytes);

	return n && key_make(k, n == 4 ? 4 : 6, bytes);
}

static uint64_t key_hash(const struct key *k, uint64_t seed)
{
	return hash64(slice_make((const char *)k, sizeof *k), seed);
}

/* ---- sequence locks ---- */

static void seq_open(uint32_t *seq)
{
	__atomic_store_n(seq, *seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void seq_close(uint32_t *seq)
{
	__atomic_store_n(seq, *seq + 1, __ATOMIC_RELEASE);
}

static uint32_t seq_begin(const uint32_t *seq)
{
	return __atomic_load_n(seq, __ATOMIC_ACQUIRE);
}

/* Was what was read since seq_begin() returned BEGUN of one piece? */
static bool seq_ok(const uint32_t *seq, uint32_t begun)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !(begun & 1) && __atomic_load_n(seq, __ATOMIC_RELAXED) == begun;
}

static uint32_t load(const uint32_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* ---- table ---- */

size_t ban_table_bytes(void)
{
	return sizeof(struct ban_table);
}

void ban_table_init(struct ban_table *t, uint64_t seed)
{
	t->seed = seed;
}

uint32_t ban_n(const struct ban_table *t)
{
	return load(&t->n);
}

static bool is_key(const struct ban_entry *e, const struct key *k)
{
	return e->family == k->family && memcmp(e->bytes, k->bytes, sizeof k->bytes) == 0;
}

/* The link of K's entry or 0. While the writer works the answer may be wrong, but the walk ends. */
static uint32_t walk(const struct ban_table *t, const struct key *k)
{
	uint32_t link = load(&t->bucket[key_hash(k, t->seed) % BUCKETS]);

	for (uint32_t steps = 0; link && link <= BAN_TABLE_ROOM && steps < BAN_TABLE_ROOM;
	     steps++) {
		if (is_key(&t->entry[link - 1], k))
			return link;
		link = load(&t->next[link - 1]);
	}
	return 0;
}

/* For readers: false when there is no entry. A writer that was interrupted in the middle, or has
 * died there, is not waited for: its stores are in an order in which each chain can be walked at
 * any time, so that only who walks while it works can be led astray. */
static bool read_entry(const struct ban_table *t, const struct key *k, struct ban_entry *out)
{
	uint32_t begun, link;
	int tries = 0;

	do {
		begun = seq_begin(&t->version);
		link = walk(t, k);
		if (link)
			*out = t->entry[link - 1];
	} while (!seq_ok(&t->version, begun) && ++tries < RETRIES_MAX);
	return link && is_key(out, k);
}

static bool is_over(const struct ban_entry *e, uint64_t now_mono_ms)
{
	return e->until_mono_ms && now_mono_ms >= e->until_mono_ms;
}

bool ban_check(const struct ban_table *t, const struct addr *a, uint64_t now_mono_ms)
{
	struct ban_entry e;
	struct key k;

	if (ban_n(t) == 0 || !key_from_addr(&k, a))
		return false;
	return read_entry(t, &k, &e) && !is_over(&e, now_mono_ms);
}

bool ban_find(const struct ban_table *t, uint8_t family, const uint8_t *bytes,
	      struct ban_entry *out)
{
	struct key k;

	return key_make(&k, family, bytes) && read_entry(t, &k, out);
}

/* An entry's content changes under both sequences: ban_check() looks at the table's alone,
 * ban_next() at the entry's alone, so that a long listing is not disturbed by every ban. */
static void write_entry(struct ban_entry *to, const struct ban_entry *from)
{
	const size_t head = offsetof(struct ban_entry, family);

	seq_open(&to->seq);
	memcpy((char *)to + head, (const char *)from + head, sizeof *to - head);
	to->reason[BAN_REASON_MAX - 1] = 0;
	seq_close(&to->seq);
}

static uint32_t take_slot(struct ban_table *t)
{
	uint32_t link = t->free;

	if (link)
		t->free = t->next[link - 1];
	else if (t->n_touched < BAN_TABLE_ROOM)
		link = ++t->n_touched;
	return link;
}

int ban_put(struct ban_table *t, const struct ban_entry *e)
{
	struct ban_entry copy = *e;
	uint32_t link, *head;
	struct key k;
	int r = 0;

	if (!key_make(&k, e->family, e->bytes))
		return -SL_EINVAL;
	copy.family = k.family;
	memcpy(copy.bytes, k.bytes, sizeof copy.bytes);
	seq_open(&t->version);
	link = walk(t, &k);
	if (link) {
		write_entry(&t->entry[link - 1], &copy);
		goto out;
	}
	link = take_slot(t);
	if (!link) {
		r = -SL_ELIMIT;
		goto out;
	}
	write_entry(&t->entry[link - 1], &copy);
	head = &t->bucket[key_hash(&k, t->seed) % BUCKETS];
	t->next[link - 1] = *head;
	__atomic_store_n(head, link, __ATOMIC_RELEASE);
	__atomic_store_n(&t->n, t->n + 1, __ATOMIC_RELAXED);
out:
	seq_close(&t->version);
	return r;
}

static void unlink_entry(struct ban_table *t, uint32_t link, const struct key *k)
{
	static const struct ban_entry none;
	uint32_t *at = &t->bucket[key_hash(k, t->seed) % BUCKETS];

	seq_open(&t->version);
	while (*at != link)
		at = &t->next[*at - 1];
	__atomic_store_n(at, t->next[link - 1], __ATOMIC_RELEASE);
	write_entry(&t->entry[link - 1], &none);
	t->next[link - 1] = t->free;
	t->free = link;
	__atomic_store_n(&t->n, t->n - 1, __ATOMIC_RELAXED);
	seq_close(&t->version);
}

int ban_remove(struct ban_table *t, uint8_t family, const uint8_t *bytes)
{
	struct key k;
	uint32_t link;

	if (!key_make(&k, family, bytes))
		return -SL_EINVAL;
	link = walk(t, &k);
	if (!link)
		return -SL_ENOTFOUND;
	unlink_entry(t, link, &k);
	return 0;
}

void ban_sweep(struct ban_table *t, uint64_t now_mono_ms,
	       void (*each)(void *data, const struct ban_entry *e), void *data)
{
	struct key k;

	if (t->n == 0)
		return;
	for (uint32_t i = 0; i < t->n_touched; i++) {
		struct ban_entry e = t->entry[i];

		if (!e.family || !is_over(&e, now_mono_ms) || !key_make(&k, e.family, e.bytes))
			continue;
		unlink_entry(t, i + 1, &k);
		if (each)
			each(data, &e);
	}
}

static bool copy_entry(const struct ban_entry *e, struct ban_entry *out)
{
	uint32_t begun;
	int tries = 0;

	do {
		begun = seq_begin(&e->seq);
		*out = *e;
	} while (!seq_ok(&e->seq, begun) && ++tries < ENTRY_RETRIES_MAX);
	out->reason[BAN_REASON_MAX - 1] = 0;
	return out->family != 0;
}

bool ban_next(const struct ban_table *t, uint32_t *at, struct ban_entry *out)
{
	uint32_t end = load(&t->n_touched);

	while (*at < end && *at < BAN_TABLE_ROOM)
		if (copy_entry(&t->entry[(*at)++], out))
			return true;
	return false;
}

/* ---- evidence ---- */

struct slot {
	uint64_t tag;	  /* hash of rule and address; 0: free */
	uint64_t last_ms; /* of the last offence */
	uint32_t n;	  /* exact: how many times are in at_ms[] */
	uint32_t pad;
	uint64_t part; /* counted: which eighth of time count[part % 8] is for */
	union {
		uint32_t at_ms[BAN_EXACT_MAX]; /* low bits; oldest first */
		uint32_t count[8];
	};
};

struct ban_evidence {
	struct shm_lock lock;
	uint64_t seed;
	struct slot slot[SETS][WAYS];
};

size_t ban_evidence_bytes(void)
{
	return sizeof(struct ban_evidence);
}

void ban_evidence_init(struct ban_evidence *e, uint64_t seed)
{
	shm_lock_init(&e->lock);
	e->seed = seed;
}

/* The slot of TAG, taken from who has been quiet the longest when there is none. */
static struct slot *slot_for(struct ban_evidence *e, uint64_t tag, uint64_t now_ms)
{
	struct slot *set = e->slot[tag % SETS], *oldest = set;

	for (int i = 0; i < WAYS; i++) {
		if (set[i].tag == tag)
			return &set[i];
		if (set[i].last_ms < oldest->last_ms)
			oldest = &set[i];
	}
	*oldest = (struct slot){.last_ms = now_ms};
	oldest->tag = tag;
	return oldest;
}

static bool offence_exact(struct slot *s, uint32_t after, uint64_t within_ms, uint64_t now_ms)
{
	uint32_t now = (uint32_t)now_ms, gone = 0;

	if (s->n > BAN_EXACT_MAX)
		s->n = 0;
	while (gone < s->n && now - s->at_ms[gone] >= within_ms)
		gone++;
	if (s->n - gone == BAN_EXACT_MAX)
		gone++;
	s->n -= gone;
	memmove(s->at_ms, s->at_ms + gone, s->n * sizeof s->at_ms[0]);
	s->at_ms[s->n++] = now;
	if (s->n < after)
		return false;
	s->n = 0;
	return true;
}

/* The parts that are added up end with the one that runs, so that they never span more than the
 * window. */
static bool offence_counted(struct slot *s, uint32_t after, uint64_t within_ms, uint64_t now_ms)
{
	uint64_t part_ms = within_ms < 8 ? 1 : within_ms / 8;
	uint64_t part = now_ms / part_ms, n_parts = within_ms < 8 ? within_ms : 8, sum = 0;

	if (part < s->part || part - s->part >= 8)
		memset(s->count, 0, sizeof s->count);
	else
		for (uint64_t p = s->part + 1; p <= part; p++)
			s->count[p % 8] = 0;
	s->part = part;
	s->count[part % 8]++;
	for (uint64_t i = 0; i < n_parts; i++)
		sum += s->count[(part - i) % 8];
	if (sum < after)
		return false;
	memset(s->count, 0, sizeof s->count);
	return true;
}

bool ban_offence(struct ban_evidence *e, uint32_t rule_id, const struct addr *a, uint32_t after,
		 uint64_t within_ms, uint64_t now_mono_ms)
{
	struct slot *s;
	uint64_t tag;
	struct key k;
	bool banned;

	if (after == 0 || !key_from_addr(&k, a))
		return false;
	tag = key_hash(&k, e->seed ^ rule_id) | 1ULL << 63;
	/* A holder that died leaves one slot half counted: at worst too few, so there is nothing
	 * to mend. */
	shm_lock_get(&e->lock);
	s = slot_for(e, tag, now_mono_ms);
	if (now_mono_ms < s->last_ms)
		now_mono_ms = s->last_ms; /* another worker's clock was read a moment later */
	if (now_mono_ms - s->last_ms >= within_ms) {
		s->n = 0;
		memset(s->count, 0, sizeof s->count);
	}
	s->last_ms = now_mono_ms;
	banned = after <= BAN_EXACT_MAX ? offence_exact(s, after, within_ms, now_mono_ms)
					: offence_counted(s, after, within_ms, now_mono_ms);
	shm_lock_put(&e->lock);
	return banned;
}

/* ---- rules ---- */

bool ban_rule_has_status(const struct ban_rule *r, unsigned status)
{
	for (int i = 0; r->on == BAN_ON_STATUS && i < r->n_status; i++)
		if (r->status[i] == status)
			return true;
	return false;
}
