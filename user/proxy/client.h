/* SPDX-License-Identifier: BSD-2-Clause */
/* A client's connection, whatever it speaks: from accept (arrive.c finds out what it speaks) to close. What
 * HTTP/1 and HTTP/2 connections share, behind a table of what differs. */
#ifndef SL_PROXY_CLIENT_H
#define SL_PROXY_CLIENT_H

#include "core/inbuf.h"
#include "net/conn.h"
#include "proxy/request.h"

struct client_conn;

/* What a connection speaks. Its own struct begins with struct client_conn. */
struct client_proto {
	/* It is known now; what has come in already is in c->in. */
	void (*begin)(struct client_conn *c);
	/* c->conn has changed. Called at the top of the stack: may destroy, like turn and timeout. */
	void (*event)(struct client_conn *c);
	/* Once at the end of a turn of the loop, after client_wake(); not when dead. */
	void (*turn)(struct client_conn *c);
	void (*timeout)(struct client_conn *c);
	/* env->draining: no further request is wanted. QUIT: an idle connection ends now. */
	void (*drain)(struct client_conn *c, bool quit);
	/* The settings in force while the client owes us input, or the reading of an answer that waits
	 * for it; NULL: it owes nothing now. May be NULL. */
	const struct http_scope *(*awaits)(const struct client_conn *c);
	/* The request, its head being known, whose body or answer the client is moving; NULL: none. May be
	 * NULL. */
	struct request *(*awaited)(const struct client_conn *c);
	/* The connection goes: so do its requests, and what this protocol holds. */
	void (*end)(struct client_conn *c);
};

struct client_conn {
	struct conn conn; /* first: epoll and conn point here */
	struct env *env;
	struct client_conn *next, *prev;
	struct client_conn *idle_next, *idle_prev;
	const struct client_proto *proto;
	struct client client;
	struct inbuf in; /* read, and taken by nobody yet */
	struct bufq out; /* to be written */
	struct task task;
	struct timer timer;
	uint64_t discard_ms;
	uint64_t slow_since_ms, slow_bytes; /* slow.c's; 0: nothing is awaited */
	uint8_t phase;			    /* arrive.c's */
	bool idle;  /* between requests: makes room where connections are scarce */
	bool dead;  /* the connection failed, or must go without another byte */
	bool reset; /* ... with a TCP reset */
	bool gone;  /* memory is on its way out */
};

enum {
	CLIENT_READS_PER_TURN = 16,	/* a fast sender lets others have their turn */
	CLIENT_FIRST_REQUEST_MS = 1000, /* for a connection's first request after `quit` */
};

/* Takes FD, which came in on L. Never fails for the caller: what cannot be served is closed. */
void client_start(struct env *env, const struct listener *l, int fd, const struct addr *peer);
/* No new requests; QUIT: closes idle connections, tells the others to end after their answers. */
void client_drain(struct env *env, bool quit);
/* Closes the connection that has been idle for longest, to make room; false: none is idle. */
bool client_close_idlest(struct env *env);
/* Resets the connections in NET (NULL: all) of who is kept out by now; how many there were. What a
 * PROXY header that is trusted said counts as who it is. */
unsigned client_reset_banned(struct env *env, const struct ban_net *net);
/* Ends all connections at once (TERM). */
void client_close_all(struct env *env);

/* For the protocols. */

/* Settings before a request has chosen its server: those of the listener's default server. */
const struct http_scope *client_scope(const struct client_conn *c);
void client_log(const struct client_conn *c, const struct http_scope *s, enum log_level level,
		const char *text);
/* Goes over to another protocol. */
void client_become(struct client_conn *c, const struct client_proto *proto);
/* Runs the protocol's turn at the end of this turn of the loop. */
void client_wake(struct client_conn *c);
/* Marks the connection as lost; the turn destroys it. */
void client_kill(struct client_conn *c, bool reset);
/* Ends everything at once; only from the top of the stack (a turn, an event, a timer). */
void client_destroy(struct client_conn *c);
void client_set_idle(struct client_conn *c, bool idle);
/* It served something: of those that are idle now it is the last to make room. */
void client_idle_anew(struct client_conn *c);
void client_set_timer(struct client_conn *c, int64_t ms);
/* Writes as much of c->out as the socket takes. */
void client_write(struct client_conn *c);
/* Has lingering_time of S passed since c->discard_ms? */
bool client_discards_too_long(const struct client_conn *c, const struct http_scope *s);
/* An offence of the connection: by the rules of the request that is awaited, or else of the default
 * server. */
void client_offence(const struct client_conn *c, enum ban_on on);
/* Closes our side and drops what still comes, so that the kernel does not answer unread data with a reset
 * that would take the last answer with it. The protocol's part must be over. */
void client_linger(struct client_conn *c);
/* The same for a protocol of that kind of its own: its begin, and its event, which says how much was dropped, or -1: the
 * connection is gone. */
void client_linger_begin(struct client_conn *c);
int64_t client_linger_event(struct client_conn *c);
/* The same for who deserves nothing: what still comes is not even read, and the end is soon. */
void client_part(struct client_conn *c);

#endif
