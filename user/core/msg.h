/* SPDX-License-Identifier: BSD-2-Clause */
/* What the processes say to each other over SOCK_SEQPACKET pairs with the master: one fixed-size packet
 * a message. A worker or the admin process asks; the master decides and tells. */
#ifndef SL_CORE_MSG_H
#define SL_CORE_MSG_H

#include <stdint.h>

enum msg_type {
	MSG_BAN = 1, /* to the master: ban.* ; from the master to workers: reset its connections */
	MSG_UNBAN,   /* to the master: ban.address */
	MSG_RELOAD,  /* to the master, as HUP */
	MSG_REPLY,   /* from the master: the answer to the request with the same id */
	MSG_DRAIN,   /* to a worker: accept no more, keep connections until they end (reload) */
	MSG_QUIT,    /* to a worker: the same, and close the idle ones now (quit) */
	MSG_ADMIN_PEER, /* to the master: who used the admin API over TCP; ban.address */
	MSG_REOPEN,	/* to a worker: open the logs again */
};

struct msg_ban {
	uint8_t family;	    /* 4 or 6; 0, to workers: reset all that are banned by now */
	uint8_t prefix_len; /* 0: one address */
	uint8_t bytes[16];  /* IPv4: the first four */
	uint8_t manual;	    /* by an operator, not by a rule */
	uint8_t indirect;   /* it comes through a trusted proxy: nothing for the kernel */
	uint8_t dry_run;    /* the rule is on trial: nothing is enforced */
	uint8_t is_import;  /* as it was elsewhere: one in force that holds as long stays */
	uint32_t rule_id;   /* 0: manual */
	uint64_t for_ms;    /* 0: until it is lifted */
	uint64_t max_ms;    /* of the rule: how long a repeater's ban may get; 0: no longer */
	char reason[96];    /* NUL-terminated */
};

struct msg {
	uint32_t type;
	uint32_t id;	/* chosen by who asks; 0: no reply wanted */
	int32_t result; /* MSG_REPLY: 0 or -SL_E... */
	uint32_t pad;
	union {
		struct msg_ban ban;
		char text[160]; /* MSG_REPLY: NUL-terminated, what went wrong */
	};
};

/* 0; -SL_EAGAIN when the receiver's queue is full; -SL_ECLOSED. Never blocks. */
int msg_send(int fd, const struct msg *m);
/* 1 message; -SL_EAGAIN; -SL_ECLOSED (the other side is gone); -SL_EINVAL (wrong size, dropped). */
int msg_recv(int fd, struct msg *m);

#endif
