/* SPDX-License-Identifier: BSD-2-Clause */
/* The XDP guard as the rest of sluice sees it: loading, attaching, pinning, and its maps.
 *
 * Only the master opens a guard. Children get a struct guard_maps of read-only descriptors, opened
 * before the fork, and give everything else back with guard_close_in_child().
 *
 * Functions return 0 or -SL_E... (core/err.h). -SL_ESYS leaves errno. Those with ERR fill it on
 * failure with one line for the log: what failed, and what to do about it. Nothing is logged here.
 * Times are in nanoseconds of CLOCK_MONOTONIC (clock_mono_ns()). One process writes: the functions
 * that change maps assume that nobody else does. */
#ifndef SL_KERNEL_GUARD_H
#define SL_KERNEL_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "bpf/shared.h"

#define GUARD_PIN_DIR "/sys/fs/bpf/sluice"
#define GUARD_INTERFACES_MAX 64
#define GUARD_IFNAME_MAX 16
#define GUARD_ERR_MAX 512 /* enough for any text in ERR */

/* ---- addresses (guard_addr.c) ---- */

/* FAMILY is 4 (the first 4 bytes) or 6; unused bytes are zero. IPv4-mapped IPv6 addresses are
 * always stored as IPv4: on the wire, where the guard looks, they are. */
struct guard_addr {
	uint8_t family;
	uint8_t bytes[16];
};

/* Host bits are zero. */
struct guard_cidr {
	struct guard_addr addr;
	uint8_t prefix_len;
};

#define GUARD_ADDR_TEXT_MAX 46

/* False for what has no address (a unix socket); *OUT is then untouched. */
bool guard_addr_from_sockaddr(struct guard_addr *out, const struct sockaddr *sa);
/* One IPv4 or IPv6 address and nothing else; -SL_EINVAL. */
int guard_addr_from_text(struct guard_addr *out, const char *text);
/* An address, or ADDRESS/LEN, whose host bits are cleared; -SL_EINVAL. */
int guard_addr_cidr_from_text(struct guard_cidr *out, const char *text);
/* NUL-terminated; returns OUT. */
const char *guard_addr_to_text(const struct guard_addr *a, char out[static GUARD_ADDR_TEXT_MAX]);
/* Makes C a network: zeros behind its prefix. */
void guard_addr_clear_host_bits(struct guard_cidr *c);
/* "ADDRESS" of full length, "NETWORK/LENGTH" else; the host bits of C may be set. Returns OUT. */
#define GUARD_CIDR_TEXT_MAX (GUARD_ADDR_TEXT_MAX + 4)
const char *guard_addr_cidr_to_text(const struct guard_cidr *c,
				    char out[static GUARD_CIDR_TEXT_MAX]);

/* ---- life (guard.c, guard_pins.c, guard_attach.c) ---- */

struct guard;

struct guard_options {
	const char *pin_dir; /* NULL: GUARD_PIN_DIR; on bpffs, made with mode 0700 */
	uint32_t deny_max;   /* bans in each family; 0: GUARD_DENY_MAX */
	bool is_rehearsal; /* of guard_rehearse(): nothing is pinned or taken over, no interface can be
			    * guarded, and time is what its packets say */
	int lock_fd;	   /* of guard_lock_fd(), inherited from the master before; 0 or less: none.
		      * Becomes the guard's */
};

/* What guard_open() found of an earlier run. */
struct guard_status {
	unsigned n_maps_kept;	    /* pinned maps taken over with their content */
	unsigned n_maps_replaced;   /* pinned maps of another layout or size */
	unsigned n_entries_carried; /* out of those, and out of maps of other schemas */
	unsigned n_links_kept;	    /* interfaces that an earlier program still guards */
	unsigned n_links_removed;   /* pinned links to what is no interface here any more */
};

/* Whether XDP is possible here with this process's permissions; changes nothing.
 * -SL_EPERM, or -SL_ESYS for a kernel without it; ERR has the reason. */
int guard_probe(char *err, size_t err_size);

/* Mounts bpffs on /sys/fs/bpf when the pins are to go there and it is not mounted, takes over what
 * an earlier run left pinned, loads the program and pins the maps. Attaches nothing: an interface
 * that is still guarded stays so, by the program of the earlier run, until guard_attach(). A guard
 * with fresh maps has empty lists, counts sources and drops nothing. -SL_EEXIST when another
 * process holds the folder of pins. */
int guard_open(struct guard **out, const struct guard_options *options, char *err, size_t err_size);
/* The descriptor whose lock says who holds the folder of pins; borrowed. */
int guard_lock_fd(const struct guard *g);
const struct guard_status *guard_status(const struct guard *g);

enum guard_close_how {
	GUARD_CLOSE_KEEP,   /* all stays in the kernel, for the next guard_open() */
	GUARD_CLOSE_DETACH, /* interfaces are freed; pinned maps, and so bans, stay */
	GUARD_CLOSE_REMOVE, /* nothing stays */
};

/* Frees G, which may be NULL. */
void guard_close(struct guard *g, enum guard_close_how how);
/* After fork: closes the child's copies of all descriptors of G and frees it; the parent's guard is
 * not touched. G may be NULL. */
void guard_close_in_child(struct guard *g);

enum guard_mode {
	GUARD_MODE_AUTO,
	GUARD_MODE_NATIVE,
	GUARD_MODE_GENERIC,
};

const char *guard_attach_mode_name(enum guard_mode mode);

struct guard_attachment {
	char ifname[GUARD_IFNAME_MAX];
	unsigned ifindex;
	enum guard_mode mode; /* in use: native or generic */
	bool is_libxdp;	      /* by guard_attach_share() */
	bool is_current;      /* with it: by this run */
	unsigned priority;    /* with it */
	bool is_shared;	      /* others can be attached beside it: libxdp's dispatcher is in use */
	bool is_takeover; /* the interface was guarded before; the program was exchanged in place */
	char reason[160]; /* why auto chose generic; empty otherwise */
};

/* Guards an interface, or exchanges the program of one that is guarded already, in place: no packet
 * passes unguarded. Only a change between native and generic detaches for a moment, and goes back
 * to the mode before if the new one is refused. auto keeps the mode of an interface that is
 * guarded. -SL_ENOTFOUND: no such interface; -SL_EEXIST: another program is attached, ERR says
 * which; -SL_ELIMIT; -SL_EPERM; -SL_ESYS. OUT may be NULL. */
int guard_attach(struct guard *g, const char *ifname, enum guard_mode mode,
		 struct guard_attachment *out, char *err, size_t err_size);
/* The same through libxdp, whose dispatcher lets several programs share an interface; they run in the
 * order of their PRIORITY, lowest first, as long as each passes. Where the kernel has no freplace the
 * guard is alone, which is_shared tells. Needs CAP_SYS_ADMIN. */
int guard_attach_share(struct guard *g, const char *ifname, enum guard_mode mode, unsigned priority,
		       struct guard_attachment *out, char *err, size_t err_size);
/* Whether the guard is still on the interface that it was put on: neither is it gone nor was the guard taken off. */
bool guard_attach_holds(const struct guard *g, unsigned ifindex);
/* Frees every guarded interface whose name is not among NAMES; returns how many. */
unsigned guard_attach_only(struct guard *g, const char *const *names, size_t n_names);
/* Borrowed; valid until the next call that attaches, detaches or closes. */
size_t guard_attach_list(const struct guard *g, const struct guard_attachment **out);

/* ---- maps (guard_maps.c) ---- */

enum guard_map {
	GUARD_MAP_ALLOW_V4,
	GUARD_MAP_ALLOW_V6,
	GUARD_MAP_DENY_V4,
	GUARD_MAP_DENY_V6,
	GUARD_MAP_DENY_NET_V4,
	GUARD_MAP_DENY_NET_V6,
	GUARD_MAP_BAN_NET_V4,
	GUARD_MAP_BAN_NET_V6,
	GUARD_MAP_SOURCES_V4,
	GUARD_MAP_SOURCES_V6,
	GUARD_MAP_PREFIXES_V6,
	GUARD_MAP_TOTALS,
	GUARD_MAP_HEARTBEAT,
	GUARD_MAP_GOOD,
	GUARD_MAP_EVENTS,
	GUARD_MAP_SKETCH,
	GUARD_MAP_FILTER,
	GUARD_MAP_KNOWN,
	GUARD_MAP_STATE,
	GUARD_MAP_CPU,
	GUARD_MAP_SETTINGS,
	GUARD_N_MAPS
};

/* Descriptors of the maps; every accessor takes one. Those that change a map fail with -SL_ESYS and
 * EPERM on a reader's. */
struct guard_maps {
	int fd[GUARD_N_MAPS];
	int n_cpus;	  /* possible ones, as per-CPU values are laid out */
	uint64_t *filter; /* mapped; NULL in a reader's */
	uint64_t seed;	  /* settings.seed */
};

/* The guard's own, writable; borrowed. */
const struct guard_maps *guard_maps(const struct guard *g);
/* Read-only descriptors for a child, close-on-exec. Needs the pins; open it before the fork. */
int guard_maps_open_reader(const struct guard *g, struct guard_maps *out, char *err,
			   size_t err_size);
void guard_maps_close(struct guard_maps *m);

int guard_maps_get_settings(const struct guard_maps *m, struct guard_settings *out);
/* Those two alone; in force with the next packet. */
int guard_maps_set_flags(const struct guard_maps *m, bool dry_run, bool count_sources);
/* What the guard does once no heartbeat came for AFTER_NS (0: it does not look): pass everything, or go
 * on with what it has. */
int guard_maps_set_fail(const struct guard_maps *m, uint64_t after_ns, bool is_open);
/* The heartbeat. */
int guard_maps_beat(const struct guard_maps *m, uint64_t now_ns);

/* ---- the filter in front of the lists (guard_filter.c) ---- */

/* To be called before an entry is written into allow_*, deny_*, deny_net_* or ban_net_*: without it the program
 * does not look there. The accessors below do. */
void guard_filter_add(const struct guard_maps *m, const struct guard_cidr *net, bool is_allow);
/* Clears what is left of entries that went. */
int guard_filter_rebuild(const struct guard_maps *m);

/* ---- who is good (guard_good.c) ---- */

/* For a worker, after the fork and before guard_close_in_child(): the mapping becomes the caller's, to the end
 * of the process. NULL without a guard. */
struct guard_good *guard_good_take(struct guard *g);
/* The address completed a request. GOOD may be NULL. No system call. */
void guard_good_mark(struct guard_good *good, const struct guard_addr *a);
/* Was it marked in this generation or the one before? */
bool guard_good_has(const struct guard_good *good, const struct guard_addr *a);
/* New generations: what was marked before the one that ends is forgotten. The master's alone. */
void guard_good_turn(struct guard *g);
int guard_good_turn_known(struct guard *g);

/* ---- rates (guard_rates.c) ---- */

#define GUARD_RATE_MAX 10000000ull  /* a second */
#define GUARD_BURST_MAX 10000000ull /* items */

struct guard_rates {
	struct guard_rate_limit rates[GUARD_N_RATES];
	struct guard_rate_limit unknown_syn;
	struct guard_rate_limit new_sources; /* of all CPUs together */
	uint32_t v6_prefix;		     /* 1 to 128; 128: no networks */
};

/* A rate of so many in 1000 s, after BURST + 1 at once; 0: none. */
struct guard_rate_limit guard_rates_limit(uint64_t milli_per_s, uint64_t burst, uint32_t rule_id,
					  bool is_dry_run);
int guard_rates_set(const struct guard_maps *m, const struct guard_rates *r);

/* ---- networks of the configuration (guard_nets.c) ---- */

/* Makes the list in the kernel equal to NETS, by difference, adding before it deletes: what is in
 * both lists is in force all the time. Duplicates are fine. A single address is a network of full
 * length. -SL_ELIMIT: more than fit. On failure what was added stays. */
int guard_nets_set_allow(const struct guard_maps *m, const struct guard_cidr *nets, size_t n_nets,
			 char *err, size_t err_size);
/* A network of the deny list. */
struct guard_net_want {
	struct guard_cidr net;
	uint64_t expires_ns; /* 0: never */
	uint32_t rule_id;
};

/* What a call changed in the kernel. */
struct guard_nets_change {
	uint32_t n_added, n_changed, n_deleted;
};

/* What is there with the same rule and (within a second) the same end is not written; what is there keeps
 * its counters. */
int guard_nets_set_denied(const struct guard_maps *m, const struct guard_net_want *want,
			  size_t n_want, struct guard_nets_change *change, char *err,
			  size_t err_size);
int guard_nets_each_denied(const struct guard_maps *m,
			   int (*fn)(void *arg, const struct guard_cidr *net,
				     const struct guard_net *value),
			   void *arg);
/* The same with one RULE_ID for all, which never end. */
int guard_nets_set_deny(const struct guard_maps *m, const struct guard_cidr *nets, size_t n_nets,
			uint32_t rule_id, char *err, size_t err_size);

/* ---- bans (guard_deny.c) ---- */

struct guard_ban {
	uint64_t expires_ns; /* 0: never */
	uint32_t rule_id;
	uint32_t flags; /* enum guard_deny_flag */
};

/* Sets or replaces a ban. A replaced one keeps its packets, bytes and banned_at_ns as long as it
 * had not ended by NOW_NS. -SL_ELIMIT: the map is full. */
int guard_deny_add(const struct guard_maps *m, const struct guard_addr *addr,
		   const struct guard_ban *ban, uint64_t now_ns);
/* -SL_ENOTFOUND */
int guard_deny_del(const struct guard_maps *m, const struct guard_addr *addr);
int guard_deny_get(const struct guard_maps *m, const struct guard_addr *addr,
		   struct guard_deny *out);
/* Calls FN for every entry, ended ones too, until it returns other than 0, which is then returned;
 * positive values are FN's own. FN may delete entries. */
int guard_deny_each(const struct guard_maps *m,
		    int (*fn)(void *arg, const struct guard_addr *addr,
			      const struct guard_deny *deny),
		    void *arg);
/* The same of an address or a network. IS_THERE: the caller knows that the kernel has this very network;
 * only then does it keep its counters, and only then may guard_deny_get_net() be asked for it (an LPM
 * answers with the network around it). */
int guard_deny_add_net(const struct guard_maps *m, const struct guard_cidr *net, bool is_there,
		       const struct guard_ban *ban, uint64_t now_ns);
int guard_deny_del_net(const struct guard_maps *m, const struct guard_cidr *net);
int guard_deny_get_net(const struct guard_maps *m, const struct guard_cidr *net,
		       struct guard_deny *out);
/* Banned networks, not addresses. */
int guard_deny_each_net(const struct guard_maps *m,
			int (*fn)(void *arg, const struct guard_cidr *net,
				  const struct guard_net *ban),
			void *arg);
/* Deletes addresses whose ban ended by NOW_NS; returns how many, or -SL_E.... */
int guard_deny_sweep(const struct guard_maps *m, uint64_t now_ns);

/* ---- events (guard_events.c) ---- */

/* The one consumer of the ring buffer; a second one, in another process too, would steal from it.
 * A child gives its copy back with guard_events_close() after the fork. */
struct guard_events;

typedef void (*guard_event_fn)(void *arg, const struct guard_event *event);

/* M's descriptors are borrowed until the end. Needs write access to the map. */
int guard_events_open(struct guard_events **out, const struct guard_maps *m, guard_event_fn fn,
		      void *arg, char *err, size_t err_size);
/* Readable (level-triggered) while there are events; borrowed. */
int guard_events_fd(const struct guard_events *e);
/* Calls FN for each, N_MAX (not 0) at most; returns for how many, or -SL_ESYS. Never waits. */
int guard_events_read(struct guard_events *e, unsigned n_max);
/* E may be NULL. */
void guard_events_close(struct guard_events *e);

/* ---- rehearsal (guard_rehearse.c) ---- */

/* Runs the program of a guard that was opened for it on a frame that came at TIME_NS, never less than the
 * time before. All times in its maps are of that clock, and there is an event for each refusal. 1: dropped;
 * 0: passed; -SL_ESYS. */
int guard_rehearse(struct guard *g, const void *frame, size_t n, uint64_t time_ns);

/* ---- counters (guard_stats.c) ---- */

/* Sums over the CPUs. */
int guard_stats_totals(const struct guard_maps *m, struct guard_total out[static GUARD_N_TOTALS]);
/* "pass", "drop_deny", ...: short names for metrics. */
const char *guard_stats_total_name(enum guard_total_index index);

struct guard_source_entry {
	struct guard_addr addr;
	struct guard_source counts;
};

/* What the source sent, what a ban that is still in the map dropped of it included.
 * -SL_ENOTFOUND */
int guard_stats_source(const struct guard_maps *m, const struct guard_addr *addr,
		       struct guard_source *out);
/* The N_MAX sources with the most packets, of both families, most first; returns how many, or
 * -SL_E.... Reads the whole maps in batches: for people, not for every second. */
int guard_stats_top(const struct guard_maps *m, struct guard_source_entry *out, size_t n_max);

#endif
