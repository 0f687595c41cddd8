/* SPDX-License-Identifier: BSD-2-Clause */
/* Names to addresses, by c-ares on the loop. Answers are kept for their TTL; questions for a name
 * that is being asked already wait for the same answer. */
#ifndef SL_NET_RESOLVE_H
#define SL_NET_RESOLVE_H

#include "net/addr.h"
#include "net/loop.h"

struct resolver;
struct resolve_entry;

enum {
	RESOLVE_ADDRS_MAX = 32,	 /* of an answer; more are left out */
	RESOLVE_NAME_MAX = 253,	 /* RFC 1035 2.3.4, as text */
	RESOLVE_NAMES_MAX = 512, /* known or being asked at a time */
};

struct resolver_params {
	/* Name servers, "ip", "ip:port", "[ip6]:port". None: resolv.conf, and /etc/hosts before it;
	 * with servers only they are asked, as nginx does. */
	const struct slice *servers;
	int n_servers;
	uint64_t valid_ms;   /* overrides the TTL; 0: by TTL, at least a second */
	bool ipv4, ipv6;     /* at least one */
	uint64_t timeout_ms; /* for a whole question; 0: 30 s */
};

struct resolve_answer {
	/* 0, -SL_ENOTFOUND (no such name, no addresses), -SL_ETIMEOUT, -SL_EINVAL (not a name), or
	 * -SL_ESYS (the servers failed). */
	int status;
	const char *text;	  /* "no such name (NXDOMAIN)" ...; "" when status is 0 */
	const struct addr *addrs; /* with the port of the question; IPv4 first; valid in the call */
	int n_addrs;
	uint32_t ttl_s; /* until it should be asked again; of a literal: UINT32_MAX */
};

/* The owner's storage, from start until the callback or cancel. */
struct resolve_query {
	void (*done)(struct resolve_query *q, const struct resolve_answer *a);
	uint16_t port;
	/* The resolver's: */
	int8_t status;		     /* 0: the entry's answer */
	bool ready;		     /* the answer is there, the call is due */
	struct resolver *resolver;   /* NULL: not under way */
	struct resolve_entry *entry; /* NULL: `literal` is the answer */
	struct addr literal;
	struct resolve_query *next, **at;
};

/* NULL with ERR (ERR_ROOM bytes) filled: a server's address is malformed, or c-ares fails. */
struct resolver *resolver_new(struct loop *l, const struct resolver_params *p, char *err,
			      size_t err_room);
/* Cancels all queries. Not from a callback. NULL is fine. */
void resolver_free(struct resolver *r);

/* Asks for NAME (a final dot is fine; addresses, "[::1]" too, and localhost need no server). DONE
 * is called once, always at the end of a later turn of the loop, never from here; it may start,
 * cancel and free queries. */
void resolve_start(struct resolver *r, struct resolve_query *q, struct slice name, uint16_t port,
		   void (*done)(struct resolve_query *q, const struct resolve_answer *a));
/* DONE is not called any more. Safe on a zeroed, finished or cancelled query. */
void resolve_cancel(struct resolve_query *q);

#endif
