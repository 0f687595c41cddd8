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
};

struct ban_entry {
	uint32_t seq;	   /* odd while it is written; ban_put() and copies ignore it */
	uint8_t family;	   /* 0: free, 4, 6 */
	uint8_t bytes[16]; /* IPv4: the first four, the rest zero */
	uint8_t in_kernel, manual;
	uint8_t indirect; /* seen behind a trusted proxy only: holds in userspace */
	uint32_t rule_id; /* 0: manual */
	uint64_t since_wall_ms;
	uint64_t until_wall_ms; /* 0: for ever */
	uint64_t until_mono_ms; /* what is compared; 0: for ever */
	char reason[BAN_REASON_MAX];
};

struct ban_table;

/* IPv4-mapped IPv6 (::ffff:a.b.c.d) counts as IPv4 in all functions. */
size_t ban_table_bytes(void);
/* Fresh (zeroed) memory only. */
void ban_table_init(struct ban_table *t, uint64_t seed);
uint32_t ban_n(const struct ban_table *t); /* entries, expired ones not swept yet included */
/* Is the address banned now? Safe against the master writing at the same time. */
bool ban_check(const struct ban_table *t, const struct addr *a, uint64_t now_mono_ms);

/* Master only. -SL_ELIMIT: the table is full; -SL_EINVAL: no family. An existing entry is
 * replaced. */
int ban_put(struct ban_table *t, const struct ban_entry *e);
/* 0 or -SL_ENOTFOUND. */
int ban_remove(struct ban_table *t, uint8_t family, const uint8_t *bytes);
/* Removes expired entries; EACH (may be NULL) is told each. */
void ban_sweep(struct ban_table *t, uint64_t now_mono_ms,
	       void (*each)(void *data, const struct ban_entry *e), void *data);
/* Reads entry by entry, from *at = 0; a consistent copy; false at the end. Any process. An entry
 * that is there from the first call to the last is seen once. */
bool ban_next(const struct ban_table *t, uint32_t *at, struct ban_entry *out);
bool ban_find(const struct ban_table *t, uint8_t family, const uint8_t *bytes,
	      struct ban_entry *out);

/* Saves to and loads from a small text file (one line a ban: address, until, since, rule,
 * manual, reason), replaced atomically (0600). Loading passes over expired lines, and over
 * malformed ones and those without room (counted in *n_bad); ends of bans are kept by the wall
 * clock; in_kernel is 0. 0 or -SL_ESYS with errno (ENOENT: there was no file). */
int ban_save(const struct ban_table *t, const char *path);
int ban_load(struct ban_table *t, const char *path, uint64_t now_mono_ms, uint64_t now_wall_ms,
	     uint32_t *n_bad);

/* Evidence: how often (rule, address) offended within the rule's window. Bounded: the least
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
bool ban_offence(struct ban_evidence *e, uint32_t rule_id, const struct addr *a, uint32_t after,
		 uint64_t within_ms, uint64_t now_mono_ms);

/* What counts as an offence. */
enum ban_on {
	BAN_ON_LIMIT_REQ = 1, /* a limit_req line rejected (not: delayed, dry run) */
	BAN_ON_BAD_REQUEST,   /* the parser refused the request */
	BAN_ON_LIMIT_CONN,    /* a limit_conn line rejected */
	BAN_ON_STATUS,	      /* the answer's status is one of status[] */
	BAN_ON_H2_ABUSE,      /* an HTTP/2 connection was ended for abuse */
};

/* A `ban` line of the configuration; made by ban_conf.c. */
struct ban_rule {
	struct ban_rule *next;	   /* of the same scope */
	struct ban_rule *next_all; /* of the configuration, in order */
	uint32_t id; /* not 0; a hash of text and place, so that it is stable over reloads */
	enum ban_on on;
	uint16_t status[BAN_STATUS_MAX];
	uint8_t n_status;
	uint32_t after;
	uint64_t within_ms, for_ms;
	const char *text;  /* "on=limit_req after=100 within=10s for=10m", for log and API */
	const char *scope; /* "http", "server in FILE:LINE", "location /x in FILE:LINE" */
	const struct conf_node *node;
	const struct conf_block *block;
};

struct ban_scope {		/* MOD_BAN's struct in http, server, location */
	struct ban_rule *rules; /* inherited when none is set here; NULL: none, or `ban off` */
	bool off;
	struct ban_rule *all; /* http only: see ban_conf_rules() */
	uint32_t n_all;
};

/* Is an answer of STATUS an offence against R? */
bool ban_rule_has_status(const struct ban_rule *r, unsigned status);

#endif
