/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The ABI between the XDP guard and userspace: keys, values, indices and sizes of the maps. Both
 * sides include it, so it holds fixed-width types with explicit padding and no code. Whoever
 * changes a layout raises GUARD_SCHEMA: pinned maps of another schema are not taken over.
 *
 * Every time is in nanoseconds of CLOCK_MONOTONIC (the program reads its coarse variant, which lags
 * by at most a tick). Counters are since the map was made. */
#ifndef SL_BPF_SHARED_H
#define SL_BPF_SHARED_H

#include <linux/types.h>

#define GUARD_SCHEMA 5

#define GUARD_ALLOW_MAX 65536	  /* networks in each allow_* */
#define GUARD_DENY_MAX 131072	  /* addresses in each deny_*, unless userspace says otherwise */
#define GUARD_DENY_NET_MAX 262144 /* networks in each deny_net_* */
#define GUARD_BAN_NET_MAX 65536	  /* networks in each ban_net_* */
#define GUARD_SOURCES_MAX 65536	  /* addresses in each sources_*, networks in prefixes_v6 */
#define GUARD_EVENTS_BYTES 262144 /* of the ring buffer */
#define GUARD_SKETCH_ROWS 2
#define GUARD_SKETCH_COLUMNS 4096 /* a power of 2; all of it stays in a core's cache */

/* Keys. Addresses are in network order. */
struct guard_v4 {
	__u8 addr[4];
} __attribute__((aligned(4)));

struct guard_v6 {
	__u8 addr[16];
} __attribute__((aligned(8)));

struct guard_cidr_v4 {
	__u32 prefix_len;
	__u8 addr[4];
};

struct guard_cidr_v6 {
	__u32 prefix_len;
	__u8 addr[16];
};

/* Of entries in deny_*, ban_net_*, deny_net_* and of rates. */
enum guard_deny_flag {
	GUARD_DENY_DRY_RUN = 1 << 0, /* count what this entry would drop, drop nothing */
};

/* deny_v4, deny_v6: one banned address. */
struct guard_deny {
	__u64 expires_ns; /* 0: never; an entry past it passes, and userspace sweeps it out */
	__u64 banned_at_ns;
	__u64 packets; /* dropped, or would have been, by this entry */
	__u64 bytes;
	__u64 event_ns; /* when the last event was sent about it */
	__u32 rule_id;
	__u16 flags;	  /* enum guard_deny_flag */
	__u16 prefix_len; /* unused; as in struct guard_net */
};

/* allow_v4, allow_v6, deny_net_v4, deny_net_v6: one network of the configuration;
 * ban_net_v4, ban_net_v6: one banned network. */
struct guard_net {
	__u64 expires_ns; /* as in struct guard_deny; 0 in allow_* */
	__u64 banned_at_ns;
	__u64 packets; /* as in struct guard_deny; not counted in allow_* */
	__u64 bytes;
	__u64 event_ns;
	__u32 rule_id;
	__u16 flags;	  /* enum guard_deny_flag */
	__u16 prefix_len; /* the key's, which a look-up does not give */
};

/* What a source may send. What is above a rate is dropped; it bans nobody, for it can be forged. */
enum guard_rate {
	GUARD_RATE_SYN,	    /* TCP with SYN and without ACK */
	GUARD_RATE_PACKETS, /* all */
	GUARD_RATE_NEW_TLS, /* TCP segments that begin with a ClientHello */
	GUARD_N_RATES
};

/* A rate as GCRA: an item passes when the source's theoretical arrival time is no more than
 * BURST_NS ahead of now, and moves that time on by INTERVAL_NS. */
struct guard_rate_limit {
	__u64 interval_ns; /* 0: no limit */
	__u64 burst_ns;
	__u32 rule_id;
	__u32 flags; /* enum guard_deny_flag */
};

/* How far a source or prefix has come with each rate. */
struct guard_meter {
	__u64 tat_ns[GUARD_N_RATES];   /* theoretical arrival times */
	__u64 event_ns[GUARD_N_RATES]; /* when the last event was sent */
};

enum guard_source_flag {
	/* The gate was shut shortly before this entry was made: it may have sent more than that. */
	GUARD_SOURCE_ESTIMATE = 1 << 0,
};

/* sources_v4, sources_v6: what one source address sent. */
struct guard_source {
	__u64 packets; /* what a list drops is counted there instead */
	__u64 bytes;
	__u64 syns;
	__u64 new_tls;
	__u64 drops; /* by a rate; in a dry run what would have been */
	__u64 first_seen_ns;
	__u64 last_seen_ns;
	struct guard_meter meter;
	__u32 flags;	 /* enum guard_source_flag */
	__u32 known_gen; /* settings.known_gen when its bit in known was set */
};

/* prefixes_v6: an IPv6 network of settings.v6_prefix bits. The same rates hold for all of it. */
struct guard_prefix {
	__u64 packets;
	__u64 drops;
	__u64 last_seen_ns;
	struct guard_meter meter;
};

/* sketch: for each rate a count-min sketch of theoretical arrival times, for sources and prefixes that
 * have no entry because the gate was shut. The least of a source's cells, one a row, is never before
 * its true time: it may throttle too much, never too little. Index: rate, row, column. */
struct guard_cell {
	__u64 tat_ns;
};

/* state[0]: what all CPUs share. */
struct guard_state {
	__u64 unknown_syn_tat_ns;
	__u64 unknown_syn_event_ns;
	__u64 unknown_syn_drops; /* in a dry run what would have been */
	__u64 sketch_event_ns;
	__u64 shut_ns; /* when the gate last turned a source away */
	__u64 reserved[3];
};

/* cpu[0], one a CPU. The clock is read once a tick; between, jiffies say that it still holds. */
struct guard_cpu {
	__u64 jiffies;
	__u64 now_ns;
	__u64 gate_tat_ns; /* of settings.new_sources */
	__u64 reserved;
};

/* Index into totals. Each packet counts in exactly one of those before GUARD_N_VERDICTS. */
enum guard_total_index {
	GUARD_PASS,	  /* IP, in no list */
	GUARD_PASS_ALLOW, /* in allow_* */
	GUARD_DROP_DENY,  /* dropped: in deny_* */
	GUARD_DROP_NET,	  /* dropped: in ban_net_* or deny_net_* */
	GUARD_WOULD_DROP, /* would have been dropped, passed: dry run */
	GUARD_EXPIRED,	  /* passed: its entry in deny_* or ban_net_* is over */
	GUARD_MALFORMED, /* passed: headers broken or cut short; the source, if known, is not denied
			  */
	GUARD_VLAN_DEEP, /* passed: three VLAN tags or more, not looked into */
	GUARD_NOT_IP,	 /* passed: ARP and all else */
	GUARD_DROP_SYN_RATE, /* dropped: above a rate of its source */
	GUARD_DROP_PACKET_RATE,
	GUARD_DROP_TLS_RATE,
	GUARD_DROP_UNKNOWN_SYN, /* dropped: a SYN of a source not known as good, while there are
				 * more of them than settings.unknown_syn allows */
	GUARD_FAIL_OPEN,	/* passed: would have been dropped, but the master is gone and the
			  * configuration says `fail open` */
	GUARD_N_VERDICTS,
	GUARD_EVENTS_LOST = GUARD_N_VERDICTS, /* events for which the ring buffer had no room */
	GUARD_NOT_COUNTED, /* packets whose source found no place in sources_*: the gate was shut */
	/* In GUARD_WOULD_DROP or, where more was wrong, dropped: each rate's own dry run. */
	GUARD_WOULD_SYN_RATE,
	GUARD_WOULD_PACKET_RATE,
	GUARD_WOULD_TLS_RATE,
	GUARD_WOULD_UNKNOWN_SYN,
	GUARD_N_TOTALS
};

struct guard_total {
	__u64 packets;
	__u64 bytes;
};

/* settings[0]: what a reload changes without loading the program again. */
struct guard_settings {
	__u32 schema; /* GUARD_SCHEMA */
	__u32 dry_run;
	__u32 count_sources;
	__u32 v6_prefix; /* bits; 128 or 0: no networks */
	/* Entries in the LPM maps. 0 makes the program skip the look-up, so userspace raises it
	 * before it inserts and lowers it after it has deleted. */
	__u32 n_allow_v4;
	__u32 n_allow_v6;
	__u32 n_deny_net_v4;
	__u32 n_deny_net_v6;
	__u32 n_ban_net_v4;
	__u32 n_ban_net_v6;
	__u32 fail_open; /* what is done when the heartbeat is too old: 1 all pass, 0 as before */
	__u32 known_gen; /* raised by one each minute: whose turn it is in known */
	__u32 has_rates; /* one of rates is not 0 */
	__u32 pad;
	__u64 fail_after_ns; /* 0: the heartbeat is not looked at */
	__u64 v6_mask[2];    /* of v6_prefix, in network order */
	__u64 seed;	     /* of the hashes of sketch and filters; stays while the maps do */
	struct guard_rate_limit rates[GUARD_N_RATES];
	struct guard_rate_limit unknown_syn; /* of all unknown sources together */
	struct guard_rate_limit new_sources; /* the gate: new entries in sources_*, each CPU */
};

/* heartbeat[0]: when the master last said that it lives, in ns; its own map so that nothing else is
 * written with it. */

/* events: at most one a second for each entry of a list, and each source and rate. */
struct guard_event {
	__u64 time_ns;
	__u64 packets; /* of the entry or source so far, this one included */
	__u32 rule_id;
	__u32 ifindex;
	__u8 verdict; /* enum guard_total_index: what it is, or in a dry run would have been */
	__u8 is_dry_run;
	__u8 family;	 /* 4 or 6; 0: of no single source, addr is one of them */
	__u8 prefix_len; /* of what was dropped: 32, 128, or the network's */
	__u32 pad;
	__u8 addr[16]; /* the packet's source; IPv4: the first four bytes */
};

/* good: who completed a request in the last minutes, as a filter of two generations of bits that
 * workers set in mapped memory (an array of 64-bit words, in this order). Bits are found by the hash
 * of hash.h with the seed, which keeps it from being aimed at. */
#define GUARD_GOOD_BITS (1u << 20)
#define GUARD_GOOD_WORDS (GUARD_GOOD_BITS / 64)

struct guard_good {
	__u64 seed;    /* settings.seed */
	__u64 current; /* 0 or 1: where new ones go; both are asked */
	__u64 reserved[6];
	__u64 bits[GUARD_GOOD_WORDS][2]; /* of both generations, side by side */
};

/* filter: an array of 64-bit words, mapped by the master. A source whose bits are not set is in no
 * list, and none is looked up. Bits are set before an entry is made, and stay when it goes. */
#define GUARD_FILTER_V4_WIDE_WORDS (1u << 10) /* a bit for each /16: small enough for any cache */
#define GUARD_FILTER_V4_WORDS (1u << 18)      /* a bit for each /24 */
#define GUARD_FILTER_V6_WORDS (1u << 14)      /* bits by the hash of the first 64 and 32 bits */
#define GUARD_FILTER_V4_AT GUARD_FILTER_V4_WIDE_WORDS
#define GUARD_FILTER_V6_AT (GUARD_FILTER_V4_AT + GUARD_FILTER_V4_WORDS)
/* Of the /16s in which allow_v4 has anything: that list is seldom in the way of who is banned. */
#define GUARD_FILTER_ALLOW_V4_AT (GUARD_FILTER_V6_AT + GUARD_FILTER_V6_WORDS)
#define GUARD_FILTER_WORDS (GUARD_FILTER_ALLOW_V4_AT + GUARD_FILTER_V4_WIDE_WORDS)

/* known: who has an entry in sources_* and sent within the last minutes; asked while the gate is
 * shut, so that forged sources are not looked up. The program sets bits, the master clears the older
 * generation. */
#define GUARD_KNOWN_BITS (1u << 20)
#define GUARD_KNOWN_WORDS (GUARD_KNOWN_BITS / 64)

struct guard_known {
	__u64 bits[2];
};

_Static_assert(sizeof(struct guard_v4) == 4, "ABI");
_Static_assert(sizeof(struct guard_v6) == 16, "ABI");
_Static_assert(sizeof(struct guard_cidr_v4) == 8, "ABI");
_Static_assert(sizeof(struct guard_cidr_v6) == 20, "ABI");
_Static_assert(sizeof(struct guard_deny) == 48, "ABI");
_Static_assert(sizeof(struct guard_net) == 48, "ABI");
_Static_assert(sizeof(struct guard_rate_limit) == 24, "ABI");
_Static_assert(sizeof(struct guard_source) == 112, "ABI");
_Static_assert(sizeof(struct guard_prefix) == 72, "ABI");
_Static_assert(sizeof(struct guard_cell) == 8, "ABI");
_Static_assert(sizeof(struct guard_state) == 64, "ABI");
_Static_assert(sizeof(struct guard_cpu) == 32, "ABI");
_Static_assert(sizeof(struct guard_total) == 16, "ABI");
_Static_assert(sizeof(struct guard_settings) == 208, "ABI");
_Static_assert(sizeof(struct guard_event) == 48, "ABI");
_Static_assert(sizeof(struct guard_known) == 16, "ABI");

#endif
