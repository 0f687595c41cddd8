/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is banned, and what earns a ban, in shared memory.
 *
 * The table is written by the master only and read by workers at each accept without a lock; the
 * kernel's deny map is filled from the same call in the master, so that both say the same. The
 * evidence zone is written by all workers. No descriptors, no clock of its own. */
#ifndef SL_POLICY_BAN_H
#define SL_POLICY_BAN_H

#include "core/msg.h"
#include "core/shm.h"
#include "net/addr.h"

struct conf_node;
struct conf_block;

enum {
	BAN_REASON_MAX = 96,
	BAN_TABLE_ROOM = 65536,
	BAN_RULES_MAX = 256,
	BAN_STATUS_MAX = 8,
	BAN_PREFIX_V4_MIN = 8, /* wider networks are banned by hand only */
};

/* Who is banned: an address, or a network whose host bits are zero. */
struct ban_net {
	uint8_t family;	    /* 4, 6 */
	uint8_t prefix_len; /* 0: of one address */
	uint8_t is_trial; /* by a rule with dry_run: it stands beside a ban in force and keeps nobody out */
	uint8_t bytes[16]; /* IPv4: the first four, the rest zero */
};

struct ban_entry {
	uint32_t seq;	    /* odd while it is written; ban_put() and copies ignore it */
	struct ban_net net; /* family 0: the slot is free */
	uint8_t in_kernel, manual;
	uint8_t indirect; /* seen behind a trusted proxy only: holds in userspace */
	uint8_t is_past;  /* has ended, and is remembered for repeaters until forget_* */
	uint32_t rule_id; /* 0: manual */
	uint32_t n_times; /* bans in a row by this rule, this one counted; 0: none but this */
	uint64_t since_wall_ms;
	uint64_t until_wall_ms;			 /* 0: for ever */
	uint64_t until_mono_ms;			 /* what is compared; 0: for ever */
	uint64_t forget_wall_ms, forget_mono_ms; /* 0: at its end */
	char reason[BAN_REASON_MAX];
};

struct ban_table;

/* ---- networks ---- */

/* The network of PREFIX_LEN bits (0: all) around A; false where A has no IP address. IPv4-mapped IPv6
 * (::ffff:a.b.c.d) counts as IPv4, here and in all functions. */
bool ban_net_of(struct ban_net *out, const struct addr *a, uint8_t prefix_len);
/* Clears host bits, and makes an address's length full; false: no such family or length. */
bool ban_net_clean(struct ban_net *net);
bool ban_net_has(const struct ban_net *net, const struct addr *a);
bool ban_net_is_single(const struct ban_net *net);

/* ---- the table ---- */

size_t ban_table_bytes(void);
/* Fresh (zeroed) memory only. */
void ban_table_init(struct ban_table *t, uint64_t seed);
uint32_t ban_n(const struct ban_table *t); /* entries, past ones and those not swept yet included */
/* Is the address banned now, itself or with a network? Safe against the master writing at the same
 * time. */
bool ban_check(const struct ban_table *t, const struct addr *a, uint64_t now_mono_ms);
bool ban_is_over(const struct ban_entry *e, uint64_t now_mono_ms);

/* Master only. -SL_ELIMIT: the table is full; -SL_EINVAL: no family. An existing entry is
 * replaced; where there is no room, one that is past makes it. */
int ban_put(struct ban_table *t, const struct ban_entry *e);
/* 0 or -SL_ENOTFOUND. */
int ban_remove(struct ban_table *t, const struct ban_net *net);
/* Removes expired entries, or makes them past; EACH (may be NULL) is told each that has ended. */
void ban_sweep(struct ban_table *t, uint64_t now_mono_ms,
	       void (*each)(void *data, const struct ban_entry *e), void *data);
/* Reads entry by entry, from *at = 0; a consistent copy; false at the end. Any process. An entry
 * that is there from the first call to the last is seen once. */
bool ban_next(const struct ban_table *t, uint32_t *at, struct ban_entry *out);
bool ban_find(const struct ban_table *t, const struct ban_net *net, struct ban_entry *out);

/* ---- who is never banned, beside the allow list of the configuration ---- */

enum ban_exempt_why {
	BAN_EXEMPT_OWN = 1,  /* an address of this host */
	BAN_EXEMPT_UPSTREAM, /* of an upstream server */
	BAN_EXEMPT_ADMIN,    /* used the admin API over TCP */
};

enum { BAN_EXEMPT_MAX = 1024 };

struct ban_exempt {
	struct ban_net net; /* one address */
	uint8_t why;	    /* enum ban_exempt_why; the first that fits */
};

/* Master only: in place of those before; sorted, each once. False: they are the same. */
bool ban_exempt_set(struct ban_table *t, const struct ban_exempt *list, uint32_t n);
/* A consistent copy; returns how many. */
uint32_t ban_exempt_list(const struct ban_table *t, struct ban_exempt out[static BAN_EXEMPT_MAX]);
bool ban_is_exempt(const struct ban_table *t, const struct addr *a);
/* enum ban_exempt_why of a network (an address, that is); 0: it is not exempt. */
uint8_t ban_exempt_why(const struct ban_table *t, const struct ban_net *net);

/* ---- life (ban_life.c) ---- */

/* Gives E, for which a rule asked, its times: FOR_MS, doubled for each ban before it by the same rule up to
 * MAX_MS (0: never doubled), and how long that is remembered (MAX_MS behind its end). KNOWN is what the
 * table has of that source, or NULL. False: what is known holds as long and stays as it is; a longer ban, or
 * a person's, is never shortened by a rule. */
bool ban_renew(struct ban_entry *e, const struct ban_entry *known, uint64_t for_ms, uint64_t max_ms,
	       uint64_t now_mono_ms, uint64_t now_wall_ms);

/* Saves to and loads from a small text file (one line a ban, see ban_file.c), replaced atomically
 * (0600). Loading passes over what is over and forgotten, and over malformed lines and those
 * without room (counted in *n_bad); ends of bans are kept by the wall clock; in_kernel is 0. 0 or
 * -SL_ESYS with errno (ENOENT: there was no file). */
int ban_save(const struct ban_table *t, const char *path);
int ban_load(struct ban_table *t, const char *path, uint64_t now_mono_ms, uint64_t now_wall_ms,
	     uint32_t *n_bad);

/* Evidence: how often (rule, source) offended within the rule's window. Bounded: the least
 * recently seen of a few sources with the same hash goes, which can only delay a ban. */
struct ban_evidence;

enum {
	BAN_EXACT_MAX = 8, /* up to so many offences are remembered one by one */
	BAN_AFTER_MAX = 1000000,
	BAN_WITHIN_MAX_MS = 86400000,
};

size_t ban_evidence_bytes(void);
void ban_evidence_init(struct ban_evidence *e, uint64_t seed);
/* Counts one; true when AFTER offences within WITHIN_MS were reached now (the count then starts
 * anew). Never true for fewer. AFTER over BAN_EXACT_MAX: counted in eighths of the window, so
 * that AFTER offences within 7/8 of it are always noticed, and those spread wider may not be. */
bool ban_offence(struct ban_evidence *e, uint32_t rule_id, const struct ban_net *source,
		 uint32_t after, uint64_t within_ms, uint64_t now_mono_ms);

/* What each rule of the configuration has done, beside the evidence. */
struct ban_counts {
	uint64_t evidence, bans, would_bans;
};

struct ban_rule;

/* Master only: room for each of RULES (by next_all), whose counts stay when they had some. */
void ban_counts_keep(struct ban_evidence *e, const struct ban_rule *rules);
/* NULL: no such rule. Counters are added to atomically, by all. */
struct ban_counts *ban_counts_of(struct ban_evidence *e, uint32_t rule_id);

/* What counts as an offence. */
enum ban_on {
	BAN_ON_LIMIT_REQ = 1, /* a limit_req line rejected (not: delayed, dry run) */
	BAN_ON_BAD_REQUEST,   /* the parser refused the request */
	BAN_ON_LIMIT_CONN,    /* a limit_conn line rejected */
	BAN_ON_STATUS,	      /* the answer's status is one of status[] */
	BAN_ON_H2_ABUSE,      /* an HTTP/2 connection was ended for abuse */
	BAN_ON_TLS_HANDSHAKE, /* a handshake failed, not by our fault */
	BAN_ON_SLOW_CLIENT,   /* ended by client_min_rate, or a head or body took too long */
	BAN_ON_AUTH,	      /* credentials were refused */
};

/* A `ban` line of the configuration; made by ban_conf.c. */
struct ban_rule {
	struct ban_rule *next;	   /* of the same scope */
	struct ban_rule *next_all; /* of the configuration, in order */
	uint32_t id;		   /* of hash_rule_id(), stable over reloads */
	enum ban_on on;
	uint16_t status[BAN_STATUS_MAX];
	uint8_t n_status;
	uint8_t prefix_v4, prefix_v6; /* who is banned with an offender; 0: nobody */
	bool dry_run;
	uint32_t after;
	uint64_t within_ms, for_ms;
	uint64_t max_ms;   /* 0: each ban is as long as the first */
	const char *text;  /* "on=limit_req after=100 within=10s for=10m", for log and API */
	const char *scope; /* "http", "server in FILE:LINE", "location /x in FILE:LINE" */
	const struct conf_node *node;
	const struct conf_block *block;
};

struct ban_scope {		/* MOD_BAN's struct in http, server, location */
	struct ban_rule *rules; /* inherited when none is set here; NULL: none, or `ban off` */
	bool off;
	unsigned on;	      /* what they count, bits by enum ban_on */
	struct ban_rule *all; /* http only: see ban_conf_rules() */
	uint32_t n_all;
};

/* Is an answer of STATUS an offence against R? */
bool ban_rule_has_status(const struct ban_rule *r, unsigned status);

#endif
