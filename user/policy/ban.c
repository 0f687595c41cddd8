/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the memory of the ban table. Opens nothing, reads no clock, logs
 * nothing; the table's file is ban_file.c's. */
#include "policy/ban.h"

#include <stddef.h>

#include "core/err.h"
#include "core/hash.h"

enum {
	BUCKETS = 65536,
	RETRIES_MAX = 100,	      /* of a worker, while the writer is in the middle */
	ENTRY_RETRIES_MAX = 10000000, /* of who lists, who has time: some 100 ms */
};

/* One writer, readers without a lock: VERSION is odd while links change, and each entry has its
 * own seq for its content. Links are indices plus one, so that zeroed memory is an empty table. */
struct ban_table {
	uint32_t version;
	uint32_t n, n_touched; /* entries; slots ever used */
	uint32_t n_past, hand; /* where the next past one to go is looked for */
	uint32_t free;	       /* list through next[] */
	uint64_t seed;
	uint32_t exempt_seq, n_exempt;
	struct ban_exempt exempt[BAN_EXEMPT_MAX];
	/* Networks of each length, not those on trial: bits of the lengths that there are. */
	uint64_t lens[2][3];
	uint32_t n_of_len[2][129];
	uint32_t bucket[BUCKETS];
	uint32_t next[BAN_TABLE_ROOM];
	struct ban_entry entry[BAN_TABLE_ROOM];
};

/* ---- networks ---- */

static uint8_t full_len(const struct ban_net *n)
{
	return n->family == 4 ? 32 : 128;
}

static void cut(struct ban_net *n, uint8_t prefix_len)
{
	size_t whole = prefix_len / 8;

	n->prefix_len = prefix_len;
	if (prefix_len % 8) {
		n->bytes[whole] &= (uint8_t)(0xff00 >> prefix_len % 8);
		whole++;
	}
	memset(n->bytes + whole, 0, sizeof n->bytes - whole);
}

bool ban_net_clean(struct ban_net *n)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (n->family != 4 && n->family != 6)
		return false;
	if (n->family == 6 && (n->prefix_len == 0 || n->prefix_len >= 96) &&
	    memcmp(n->bytes, mapped, sizeof mapped) == 0) {
		n->family = 4;
		n->prefix_len = n->prefix_len > 96 ? (uint8_t)(n->prefix_len - 96) : 0;
		memmove(n->bytes, n->bytes + sizeof mapped, 4);
	}
	if (n->prefix_len > full_len(n))
		return false;
	n->is_trial = n->is_trial != 0;
	cut(n, n->prefix_len ? n->prefix_len : full_len(n));
	return true;
}

bool ban_net_of(struct ban_net *out, const struct addr *a, uint8_t prefix_len)
{
	const uint8_t *bytes;
	size_t n = addr_bytes(a, &bytes);

	*out = (struct ban_net){.family = n == 4 ? 4 : 6, .prefix_len = prefix_len};
	if (!n)
		return false;
	memcpy(out->bytes, bytes, n);
	return ban_net_clean(out);
}

bool ban_net_has(const struct ban_net *net, const struct addr *a)
{
	struct ban_net of;

	return ban_net_of(&of, a, net->prefix_len) && of.family == net->family &&
	       memcmp(of.bytes, net->bytes, sizeof of.bytes) == 0;
}

bool ban_net_is_single(const struct ban_net *net)
{
	return net->prefix_len == full_len(net);
}

static uint64_t net_hash(const struct ban_net *n, uint64_t seed)
{
	return hash64(slice_make((const char *)n, sizeof *n), seed);
}

static bool is_net(const struct ban_net *a, const struct ban_net *b)
{
	return memcmp(a, b, sizeof *a) == 0;
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

/* The link of NET's entry or 0. While the writer works the answer may be wrong, but the walk ends. */
static uint32_t walk(const struct ban_table *t, const struct ban_net *net)
{
	uint32_t link = load(&t->bucket[net_hash(net, t->seed) % BUCKETS]);

	for (uint32_t steps = 0; link && link <= BAN_TABLE_ROOM && steps < BAN_TABLE_ROOM;
	     steps++) {
		if (is_net(&t->entry[link - 1].net, net))
			return link;
		link = load(&t->next[link - 1]);
	}
	return 0;
}

/* For readers: false when there is no entry. A writer that was interrupted in the middle, or has
 * died there, is not waited for: its stores are in an order in which each chain can be walked at
 * any time, so that only who walks while it works can be led astray. */
static bool read_entry(const struct ban_table *t, const struct ban_net *net, struct ban_entry *out)
{
	uint32_t begun, link;
	int tries = 0;

	do {
		begun = seq_begin(&t->version);
		link = walk(t, net);
		if (link)
			*out = t->entry[link - 1];
	} while (!seq_ok(&t->version, begun) && ++tries < RETRIES_MAX);
	return link && is_net(&out->net, net);
}

bool ban_is_over(const struct ban_entry *e, uint64_t now_mono_ms)
{
	return e->is_past || (e->until_mono_ms && now_mono_ms >= e->until_mono_ms);
}

static bool holds(const struct ban_table *t, const struct ban_net *net, uint64_t now_mono_ms)
{
	struct ban_entry e;

	return read_entry(t, net, &e) && !ban_is_over(&e, now_mono_ms);
}

bool ban_check(const struct ban_table *t, const struct addr *a, uint64_t now_mono_ms)
{
	struct ban_net net;
	const uint64_t *lens;

	if (ban_n(t) == 0 || !ban_net_of(&net, a, 0))
		return false;
	if (holds(t, &net, now_mono_ms))
		return true;
	/* The longest first, as each cut keeps less of the address. */
	lens = t->lens[net.family == 6];
	for (int word = 2; word >= 0; word--) {
		uint64_t left = __atomic_load_n(&lens[word], __ATOMIC_ACQUIRE);

		while (left) {
			int bit = 63 - __builtin_clzll(left);

			left &= ~(1ULL << bit);
			if (word * 64 + bit >= net.prefix_len)
				continue;
			cut(&net, (uint8_t)(word * 64 + bit));
			if (holds(t, &net, now_mono_ms))
				return true;
		}
	}
	return false;
}

bool ban_find(const struct ban_table *t, const struct ban_net *net, struct ban_entry *out)
{
	struct ban_net clean = *net;

	return ban_net_clean(&clean) && read_entry(t, &clean, out);
}

/* An entry's content changes under both sequences: ban_check() looks at the table's alone,
 * ban_next() at the entry's alone, so that a long listing is not disturbed by every ban. */
static void write_entry(struct ban_entry *to, const struct ban_entry *from)
{
	const size_t head = offsetof(struct ban_entry, net);

	seq_open(&to->seq);
	memcpy((char *)to + head, (const char *)from + head, sizeof *to - head);
	to->reason[BAN_REASON_MAX - 1] = 0;
	seq_close(&to->seq);
}

/* One more network of that length, or (BY -1) one less. */
static void count_len(struct ban_table *t, const struct ban_net *net, int by)
{
	uint64_t *word = &t->lens[net->family == 6][net->prefix_len / 64];
	uint64_t bit = 1ULL << net->prefix_len % 64;
	uint32_t *n = &t->n_of_len[net->family == 6][net->prefix_len];

	if (net->is_trial || ban_net_is_single(net))
		return;
	*n += (uint32_t)by;
	if (*n)
		__atomic_or_fetch(word, bit, __ATOMIC_RELEASE);
	else
		__atomic_and_fetch(word, ~bit, __ATOMIC_RELEASE);
}

static void unlink_entry(struct ban_table *t, uint32_t link)
{
	static const struct ban_entry none;
	struct ban_entry *e = &t->entry[link - 1];
	uint32_t *at = &t->bucket[net_hash(&e->net, t->seed) % BUCKETS];

	seq_open(&t->version);
	while (*at != link)
		at = &t->next[*at - 1];
	__atomic_store_n(at, t->next[link - 1], __ATOMIC_RELEASE);
	count_len(t, &e->net, -1);
	t->n_past -= e->is_past;
	write_entry(e, &none);
	t->next[link - 1] = t->free;
	t->free = link;
	__atomic_store_n(&t->n, t->n - 1, __ATOMIC_RELAXED);
	seq_close(&t->version);
}

/* Memories give way to bans. */
static void drop_a_past_one(struct ban_table *t)
{
	for (uint32_t steps = 0; t->n_past && steps < BAN_TABLE_ROOM; steps++) {
		uint32_t link = t->hand % BAN_TABLE_ROOM + 1;

		t->hand = link;
		if (t->entry[link - 1].is_past) {
			unlink_entry(t, link);
			return;
		}
	}
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
	int r = 0;

	if (!ban_net_clean(&copy.net))
		return -SL_EINVAL;
	if (!t->free && t->n_touched == BAN_TABLE_ROOM && !walk(t, &copy.net))
		drop_a_past_one(t);
	seq_open(&t->version);
	link = walk(t, &copy.net);
	if (link) {
		t->n_past += copy.is_past - t->entry[link - 1].is_past;
		write_entry(&t->entry[link - 1], &copy);
		goto out;
	}
	link = take_slot(t);
	if (!link) {
		r = -SL_ELIMIT;
		goto out;
	}
	t->n_past += copy.is_past;
	write_entry(&t->entry[link - 1], &copy);
	head = &t->bucket[net_hash(&copy.net, t->seed) % BUCKETS];
	t->next[link - 1] = *head;
	__atomic_store_n(head, link, __ATOMIC_RELEASE);
	count_len(t, &copy.net, 1);
	__atomic_store_n(&t->n, t->n + 1, __ATOMIC_RELAXED);
out:
	seq_close(&t->version);
	return r;
}

int ban_remove(struct ban_table *t, const struct ban_net *net)
{
	struct ban_net clean = *net;
	uint32_t link;

	if (!ban_net_clean(&clean))
		return -SL_EINVAL;
	link = walk(t, &clean);
	if (!link)
		return -SL_ENOTFOUND;
	unlink_entry(t, link);
	return 0;
}

void ban_sweep(struct ban_table *t, uint64_t now_mono_ms,
	       void (*each)(void *data, const struct ban_entry *e), void *data)
{
	if (t->n == 0)
		return;
	for (uint32_t i = 0; i < t->n_touched; i++) {
		struct ban_entry e = t->entry[i];
		bool was_past = e.is_past;

		if (!e.net.family || !ban_is_over(&e, now_mono_ms))
			continue;
		e.is_past = 1;
		e.in_kernel = 0;
		if (e.forget_mono_ms <= now_mono_ms)
			unlink_entry(t, i + 1);
		else if (!was_past)
			ban_put(t, &e);
		if (each && !was_past)
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
	return out->net.family != 0;
}

bool ban_next(const struct ban_table *t, uint32_t *at, struct ban_entry *out)
{
	uint32_t end = load(&t->n_touched);

	while (*at < end && *at < BAN_TABLE_ROOM)
		if (copy_entry(&t->entry[(*at)++], out))
			return true;
	return false;
}

/* ---- exempt ---- */

bool ban_exempt_set(struct ban_table *t, const struct ban_exempt *list, uint32_t n)
{
	if (n > BAN_EXEMPT_MAX)
		n = BAN_EXEMPT_MAX;
	if (n == t->n_exempt && (!n || memcmp(t->exempt, list, n * sizeof *list) == 0))
		return false;
	seq_open(&t->exempt_seq);
	if (n)
		memcpy(t->exempt, list, n * sizeof *list);
	__atomic_store_n(&t->n_exempt, n, __ATOMIC_RELAXED);
	seq_close(&t->exempt_seq);
	return true;
}

uint32_t ban_exempt_list(const struct ban_table *t, struct ban_exempt out[static BAN_EXEMPT_MAX])
{
	uint32_t begun, n;
	int tries = 0;

	do {
		begun = seq_begin(&t->exempt_seq);
		n = load(&t->n_exempt);
		if (n > BAN_EXEMPT_MAX)
			n = BAN_EXEMPT_MAX;
		memcpy(out, t->exempt, n * sizeof *out);
	} while (!seq_ok(&t->exempt_seq, begun) && ++tries < RETRIES_MAX);
	return n;
}

uint8_t ban_exempt_why(const struct ban_table *t, const struct ban_net *net)
{
	uint32_t begun, low, high;
	uint8_t why;
	int tries = 0;

	do {
		begun = seq_begin(&t->exempt_seq);
		high = load(&t->n_exempt);
		if (high > BAN_EXEMPT_MAX)
			high = BAN_EXEMPT_MAX;
		for (low = 0, why = 0; low < high && !why;) {
			uint32_t middle = low + (high - low) / 2;
			int r = memcmp(&t->exempt[middle].net, net, sizeof *net);

			if (r == 0)
				why = t->exempt[middle].why;
			else if (r < 0)
				low = middle + 1;
			else
				high = middle;
		}
	} while (!seq_ok(&t->exempt_seq, begun) && ++tries < RETRIES_MAX);
	return why;
}

bool ban_is_exempt(const struct ban_table *t, const struct addr *a)
{
	struct ban_net net;

	return ban_net_of(&net, a, 0) && ban_exempt_why(t, &net);
}
