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

#define GUARD_SCHEMA 1

#define GUARD_ALLOW_MAX 65536	  /* networks in each allow_* */
#define GUARD_DENY_MAX 65536	  /* addresses in each deny_*, unless userspace says otherwise */
#define GUARD_DENY_NET_MAX 131072 /* networks in each deny_net_* */
#define GUARD_SOURCES_MAX 65536	  /* addresses in each sources_* */

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

enum guard_deny_flag {
	GUARD_DENY_DRY_RUN = 1 << 0, /* count what this entry would drop, drop nothing */
};

/* deny_v4, deny_v6: one banned address. */
struct guard_deny {
	__u64 expires_ns; /* 0: never; an entry past it passes, and userspace sweeps it out */
	__u64 banned_at_ns;
	__u64 packets; /* dropped, or would have been, by this entry */
	__u64 bytes;
	__u32 rule_id;
	__u32 flags; /* enum guard_deny_flag */
};

/* allow_v4, allow_v6, deny_net_v4, deny_net_v6: one network of the configuration. */
struct guard_net {
	__u32 rule_id;
	__u32 flags; /* in deny_net_*: enum guard_deny_flag */
};

/* sources_v4, sources_v6: what one source address sent. */
struct guard_source {
	__u64 packets; /* dropped ones too */
	__u64 bytes;
	__u64 syns; /* TCP with SYN and without ACK, whatever the verdict */
	__u64 drops;
	__u64 first_seen_ns;
	__u64 last_seen_ns;
};

/* Index into totals. Each packet counts in exactly one. */
enum guard_total_index {
	GUARD_PASS,	  /* IP, in no list */
	GUARD_PASS_ALLOW, /* in allow_* */
	GUARD_DROP_DENY,  /* dropped: in deny_* */
	GUARD_DROP_NET,	  /* dropped: in deny_net_* */
	GUARD_WOULD_DROP, /* would have been dropped, passed: dry run */
	GUARD_EXPIRED,	  /* passed: its entry in deny_* is over */
	GUARD_MALFORMED, /* passed: headers broken or cut short; the source, if known, is not denied
			  */
	GUARD_VLAN_DEEP, /* passed: three VLAN tags or more, not looked into */
	GUARD_NOT_IP,	 /* passed: ARP and all else */
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
	__u32 reserved;
	/* Entries in the LPM maps. 0 makes the program skip the look-up, so userspace raises it
	 * before it inserts and lowers it after it has deleted. */
	__u32 n_allow_v4;
	__u32 n_allow_v6;
	__u32 n_deny_net_v4;
	__u32 n_deny_net_v6;
};

_Static_assert(sizeof(struct guard_v4) == 4, "ABI");
_Static_assert(sizeof(struct guard_v6) == 16, "ABI");
_Static_assert(sizeof(struct guard_cidr_v4) == 8, "ABI");
_Static_assert(sizeof(struct guard_cidr_v6) == 20, "ABI");
_Static_assert(sizeof(struct guard_deny) == 40, "ABI");
_Static_assert(sizeof(struct guard_net) == 8, "ABI");
_Static_assert(sizeof(struct guard_source) == 48, "ABI");
_Static_assert(sizeof(struct guard_total) == 16, "ABI");
_Static_assert(sizeof(struct guard_settings) == 32, "ABI");

#endif
