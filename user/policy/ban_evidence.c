/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the evidence against sources, and what each rule has done with it. Reads no clock, logs nothing. */
#include "core/err.h"
#include "core/hash.h"
#include "policy/ban.h"

enum {
	SETS = 4096,
	WAYS = 8,
	COUNTS_MAX = 2 * BAN_RULES_MAX, /* workers of the configuration before may still add */
};

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
	/* By place: the ids are the master's to write, the counters everybody's to add to. */
	uint32_t rule[COUNTS_MAX];
	struct ban_counts counts[COUNTS_MAX];
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

bool ban_offence(struct ban_evidence *e, uint32_t rule_id, const struct ban_net *source,
		 uint32_t after, uint64_t within_ms, uint64_t now_mono_ms)
{
	struct slot *s;
	uint64_t tag;
	bool banned;

	if (after == 0)
		return false;
	tag = hash64(slice_make((const char *)source, sizeof *source), e->seed ^ rule_id) |
	      1ULL << 63;
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

/* ---- counts ---- */

static int find_counts(const struct ban_evidence *e, uint32_t rule_id)
{
	for (int i = 0; i < COUNTS_MAX; i++)
		if (__atomic_load_n(&e->rule[i], __ATOMIC_ACQUIRE) == rule_id)
			return i;
	return -1;
}

struct ban_counts *ban_counts_of(struct ban_evidence *e, uint32_t rule_id)
{
	int i = rule_id ? find_counts(e, rule_id) : -1;

	return i < 0 ? NULL : &e->counts[i];
}

static bool is_among(const struct ban_rule *rules, uint32_t id)
{
	for (const struct ban_rule *r = rules; r; r = r->next_all)
		if (r->id == id)
			return true;
	return false;
}

void ban_counts_keep(struct ban_evidence *e, const struct ban_rule *rules)
{
	for (int i = 0; i < COUNTS_MAX; i++)
		if (e->rule[i] && !is_among(rules, e->rule[i]))
			__atomic_store_n(&e->rule[i], 0, __ATOMIC_RELEASE);
	for (const struct ban_rule *r = rules; r; r = r->next_all) {
		int i = find_counts(e, r->id);

		if (i >= 0)
			continue;
		i = find_counts(e, 0);
		if (i < 0)
			return;
		e->counts[i] = (struct ban_counts){0};
		__atomic_store_n(&e->rule[i], r->id, __ATOMIC_RELEASE);
	}
}

/* ---- rules ---- */

bool ban_rule_has_status(const struct ban_rule *r, unsigned status)
{
	for (int i = 0; r->on == BAN_ON_STATUS && i < r->n_status; i++)
		if (r->status[i] == status)
			return true;
	return false;
}
