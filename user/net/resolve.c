/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the c-ares channel, its sockets and timer in the loop, and what is known about names.
 * Answers go out from one task at the end of a turn, so that no callback runs inside c-ares. */
#include "net/resolve.h"

#include <ares.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "core/err.h"
#include "core/num.h"

enum {
	DEFAULT_TIMEOUT_MS = 30000,
	TRIES = 3,
	TRY_MIN_MS = 100,
	TRY_MAX_MS = 3000,
	HOSTS_TTL_S = 10, /* /etc/hosts has no TTL: soon enough for a person who edits it */
	TTL_MAX_S = 86400,
};

/* What is known about a name, or who waits for it. */
struct resolve_entry {
	struct resolve_entry *next;
	struct resolver *resolver;
	struct timer timer; /* runs while somebody waits */
	struct resolve_query *waiting;
	uint32_t n_ready; /* queries in the resolver's list that point here */
	bool asking;	  /* c-ares will call back */
	int8_t status;
	const char *text;
	uint64_t expires_ms; /* of a good answer; 0: none */
	uint32_t ttl_s;
	int n_addrs;
	struct addr *addrs;
	char name[RESOLVE_NAME_MAX + 1]; /* lower case, no final dot */
};

/* A socket of c-ares. */
struct sock {
	struct io io;
	struct resolver *resolver;
	struct sock *next;
};

struct resolver {
	struct loop *loop;
	ares_channel channel;
	struct sock *socks;
	struct timer timer; /* c-ares's own */
	struct task task;
	struct resolve_query *ready;
	struct resolve_entry *entries;
	uint32_t n_entries;
	uint64_t valid_ms, timeout_ms;
	bool ipv4, ipv6, own_servers;
	bool closing;
};

/* Lists of queries: each knows the pointer that points to it, so that it leaves any list. */

static void push(struct resolve_query **head, struct resolve_query *q)
{
	q->next = *head;
	q->at = head;
	if (q->next)
		q->next->at = &q->next;
	*head = q;
}

static void unlink_query(struct resolve_query *q)
{
	*q->at = q->next;
	if (q->next)
		q->next->at = q->at;
	q->next = NULL;
	q->at = NULL;
}

static void make_ready(struct resolver *r, struct resolve_query *q, int status)
{
	q->status = (int8_t)status;
	q->ready = true;
	if (q->entry)
		q->entry->n_ready++;
	push(&r->ready, q);
	task_post(r->loop, &r->task);
}

/* Everybody who waits for E gets its answer, or STATUS. */
static void wake(struct resolve_entry *e, int status)
{
	struct resolve_query *q;

	timer_cancel(e->resolver->loop, &e->timer);
	while ((q = e->waiting)) {
		unlink_query(q);
		make_ready(e->resolver, q, status);
	}
}

/* Entries. */

static void entry_free(struct resolve_entry *e)
{
	timer_cancel(e->resolver->loop, &e->timer);
	free(e->addrs);
	free(e);
}

static bool is_busy(const struct resolve_entry *e)
{
	return e->asking || e->waiting || e->n_ready;
}

/* Frees idle entries that expire before BEFORE_MS. */
static void evict(struct resolver *r, uint64_t before_ms)
{
	struct resolve_entry **at = &r->entries, *e;

	while ((e = *at)) {
		if (is_busy(e) || e->expires_ms >= before_ms) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		entry_free(e);
		r->n_entries--;
	}
}

/* Room for one more: what has expired goes, else what expires first. False: all are being asked. */
static bool make_room(struct resolver *r)
{
	uint64_t first_ms = UINT64_MAX;

	if (r->n_entries < RESOLVE_NAMES_MAX)
		return true;
	evict(r, r->loop->clock.mono_ms);
	if (r->n_entries < RESOLVE_NAMES_MAX)
		return true;
	for (struct resolve_entry *e = r->entries; e; e = e->next)
		if (!is_busy(e) && e->expires_ms < first_ms)
			first_ms = e->expires_ms;
	if (first_ms != UINT64_MAX)
		evict(r, first_ms + 1);
	return r->n_entries < RESOLVE_NAMES_MAX;
}

static void on_entry_timeout(struct timer *t)
{
	struct resolve_entry *e =
		(struct resolve_entry *)((char *)t - offsetof(struct resolve_entry, timer));

	/* c-ares may still get an answer, for whoever asks next. */
	wake(e, -SL_ETIMEOUT);
}

static struct resolve_entry *entry_get(struct resolver *r, const char *name)
{
	struct resolve_entry *e;

	for (e = r->entries; e; e = e->next)
		if (strcmp(e->name, name) == 0)
			return e;
	if (!make_room(r))
		return NULL;
	e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	e->resolver = r;
	timer_init(&e->timer, on_entry_timeout);
	snprintf(e->name, sizeof e->name, "%s", name);
	e->next = r->entries;
	r->entries = e;
	r->n_entries++;
	return e;
}

/* Answers of c-ares. */

static void fail(struct resolve_entry *e, int status, const char *text)
{
	e->status = (int8_t)status;
	e->text = text;
	e->n_addrs = 0;
	e->expires_ms = 0;
	e->ttl_s = 1;
}

static void explain(struct resolve_entry *e, int ares_status)
{
	switch (ares_status) {
	case ARES_ENOTFOUND:
	case ARES_ENONAME:
		fail(e, -SL_ENOTFOUND, "no such name (NXDOMAIN)");
		break;
	case ARES_ENODATA:
		fail(e, -SL_ENOTFOUND, "the name has no addresses");
		break;
	case ARES_ETIMEOUT:
		fail(e, -SL_ETIMEOUT, "timed out");
		break;
	case ARES_ESERVFAIL:
		fail(e, -SL_ESYS, "server failure");
		break;
	case ARES_EREFUSED:
		fail(e, -SL_ESYS, "the server refused");
		break;
	case ARES_ECONNREFUSED:
		fail(e, -SL_ESYS, "server failure: none gave an answer");
		break;
	case ARES_EBADNAME:
		fail(e, -SL_EINVAL, "not a host name");
		break;
	default:
		fail(e, -SL_ESYS, ares_strerror(ares_status));
	}
}

/* Appends the addresses of FAMILY, as many as fit. */
static void take_family(struct resolve_entry *e, const struct ares_addrinfo *ai, int family)
{
	const struct ares_addrinfo_node *n;

	for (n = ai->nodes; n && e->n_addrs < RESOLVE_ADDRS_MAX; n = n->ai_next) {
		struct addr *a = &e->addrs[e->n_addrs];

		if (n->ai_family != family || (size_t)n->ai_addrlen > sizeof a->in6)
			continue;
		memset(a, 0, sizeof *a);
		memcpy(&a->sa, n->ai_addr, n->ai_addrlen);
		a->len = n->ai_addrlen;
		e->n_addrs++;
	}
}

static uint32_t ttl_of(const struct resolver *r, const struct ares_addrinfo *ai)
{
	int ttl_s = TTL_MAX_S;

	for (const struct ares_addrinfo_node *n = ai->nodes; n; n = n->ai_next)
		ttl_s = n->ai_ttl < ttl_s ? n->ai_ttl : ttl_s;
	for (const struct ares_addrinfo_cname *n = ai->cnames; n; n = n->next)
		ttl_s = n->ttl < ttl_s ? n->ttl : ttl_s;
	if (ttl_s <= 0 && !r->own_servers)
		return HOSTS_TTL_S;
	return ttl_s < 1 ? 1 : (uint32_t)ttl_s;
}

static void take(struct resolve_entry *e, const struct ares_addrinfo *ai)
{
	struct resolver *r = e->resolver;

	if (!e->addrs)
		e->addrs = calloc(RESOLVE_ADDRS_MAX, sizeof *e->addrs);
	if (!e->addrs) {
		fail(e, -SL_ENOMEM, "out of memory");
		return;
	}
	e->n_addrs = 0;
	if (r->ipv4)
		take_family(e, ai, AF_INET);
	if (r->ipv6)
		take_family(e, ai, AF_INET6);
	if (!e->n_addrs) {
		explain(e, ARES_ENODATA);
		return;
	}
	e->status = 0;
	e->text = "";
	e->ttl_s = ttl_of(r, ai);
	if (r->valid_ms)
		e->ttl_s = r->valid_ms < 1000 ? 1 : (uint32_t)(r->valid_ms / 1000);
	e->expires_ms = r->loop->clock.mono_ms + (r->valid_ms ? r->valid_ms : e->ttl_s * 1000ull);
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct resolve_entry *e = arg;

	e->asking = false;
	if (!e->resolver->closing) {
		if (status == ARES_SUCCESS && ai)
			take(e, ai);
		else
			explain(e, status);
		wake(e, 0);
	}
	if (ai)
		ares_freeaddrinfo(ai);
}

/* c-ares in the loop. */

static void rearm(struct resolver *r)
{
	struct timeval tv, *left = ares_timeout(r->channel, NULL, &tv);

	if (left)
		timer_set(r->loop, &r->timer,
			  (uint64_t)left->tv_sec * 1000 + (uint64_t)left->tv_usec / 1000 + 1);
	else
		timer_pause(&r->timer);
}

static void on_timer(struct timer *t)
{
	struct resolver *r = (struct resolver *)((char *)t - offsetof(struct resolver, timer));

	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	rearm(r);
}

static void on_sock(struct io *io, uint32_t events)
{
	struct resolver *r = ((struct sock *)io)->resolver;
	bool failed = events & (EPOLLERR | EPOLLHUP);
	int fd = io->fd;

	ares_process_fd(r->channel, failed || events & EPOLLIN ? fd : ARES_SOCKET_BAD,
			failed || events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
	rearm(r);
}

/* What c-ares wants of a socket changed; neither: it is about to be closed. */
static void on_sock_state(void *data, ares_socket_t fd, int readable, int writable)
{
	uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
	struct resolver *r = data;
	struct sock **at = &r->socks, *s;

	while (*at && (*at)->io.fd != fd)
		at = &(*at)->next;
	s = *at;
	if (!events) {
		if (s) {
			*at = s->next;
			io_del(r->loop, &s->io);
			loop_free(r->loop, s);
		}
		return;
	}
	if (s) {
		io_mod(r->loop, &s->io, events);
		return;
	}
	s = calloc(1, sizeof *s);
	if (!s)
		return; /* the question times out */
	s->io.fn = on_sock;
	s->resolver = r;
	if (io_add(r->loop, &s->io, fd, events)) {
		free(s);
		return;
	}
	s->next = r->socks;
	r->socks = s;
}

static void ask(struct resolve_entry *e)
{
	struct resolver *r = e->resolver;
	struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT,
		.ai_family = r->ipv4 && r->ipv6 ? AF_UNSPEC
			     : r->ipv4		? AF_INET
						: AF_INET6,
		.ai_socktype = SOCK_STREAM,
	};

	e->asking = true;
	ares_getaddrinfo(r->channel, e->name, NULL, &hints, on_answer, e);
	rearm(r);
}

/* Queries. */

static void call(struct resolve_query *q)
{
	struct resolve_entry *e = q->entry;
	struct addr addrs[RESOLVE_ADDRS_MAX];
	struct resolve_answer a = {.status = q->status, .text = "", .addrs = addrs};

	if (a.status == -SL_ETIMEOUT) {
		a.text = "timed out";
	} else if (a.status == -SL_ELIMIT) {
		a.text = "too many names are being asked";
	} else if (a.status == -SL_EINVAL) {
		a.text = "not a host name";
	} else if (!e) {
		addrs[a.n_addrs++] = q->literal;
		a.ttl_s = UINT32_MAX;
	} else {
		a.status = e->status;
		a.text = e->text;
		a.n_addrs = e->n_addrs;
		a.ttl_s = e->ttl_s;
		if (a.n_addrs)
			memcpy(addrs, e->addrs, (size_t)a.n_addrs * sizeof *addrs);
	}
	for (int i = 0; i < a.n_addrs; i++)
		addr_set_port(&addrs[i], q->port);
	if (e)
		e->n_ready--;
	q->resolver = NULL;
	q->entry = NULL;
	q->done(q, &a);
}

/* The list is taken as it is now: what callbacks start is due next turn. */
static void deliver(struct task *t)
{
	struct resolver *r = (struct resolver *)((char *)t - offsetof(struct resolver, task));
	struct resolve_query *now = r->ready, *q;

	r->ready = NULL;
	if (now)
		now->at = &now;
	while ((q = now)) {
		unlink_query(q);
		call(q);
	}
}

/* Lower case without the final dot; false when it can't be a name. */
static bool normalise(struct slice name, char out[RESOLVE_NAME_MAX + 1])
{
	if (name.n && name.p[name.n - 1] == '.')
		name.n--;
	if (name.n == 0 || name.n > RESOLVE_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		/* A backslash starts an escape in c-ares. */
		if (c <= ' ' || c >= 127 || c == '\\')
			return false;
		out[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	out[name.n] = 0;
	return true;
}

void resolve_start(struct resolver *r, struct resolve_query *q, struct slice name, uint16_t port,
		   void (*done)(struct resolve_query *q, const struct resolve_answer *a))
{
	char lower[RESOLVE_NAME_MAX + 1];
	struct resolve_entry *e;

	*q = (struct resolve_query){.done = done, .port = port, .resolver = r};
	if (addr_from_ip(name, port, &q->literal) == 0) {
		make_ready(r, q, 0);
		return;
	}
	if (!normalise(name, lower)) {
		make_ready(r, q, -SL_EINVAL);
		return;
	}
	/* RFC 6761 6.3: never asked of a server; /etc/hosts may know more than one address. */
	if (r->own_servers && strcmp(lower, "localhost") == 0) {
		addr_from_ip(r->ipv4 ? SLICE("127.0.0.1") : SLICE("::1"), port, &q->literal);
		make_ready(r, q, 0);
		return;
	}
	e = entry_get(r, lower);
	if (!e) {
		make_ready(r, q, -SL_ELIMIT);
		return;
	}
	q->entry = e;
	if (e->expires_ms > r->loop->clock.mono_ms) {
		make_ready(r, q, 0);
		return;
	}
	push(&e->waiting, q);
	if (!timer_is_set(&e->timer))
		timer_set(r->loop, &e->timer, r->timeout_ms);
	if (!e->asking)
		ask(e);
}

void resolve_cancel(struct resolve_query *q)
{
	struct resolve_entry *e = q->entry;

	if (!q->resolver)
		return;
	unlink_query(q);
	if (e && q->ready)
		e->n_ready--;
	if (e && !e->waiting)
		timer_cancel(q->resolver->loop, &e->timer);
	q->resolver = NULL;
	q->entry = NULL;
}

/* The resolver. */

/* "ip", "ip:port", "[ip6]:port" to what c-ares reads; false when it is none. */
static bool server_text(struct slice s, char text[ADDR_TEXT_MAX])
{
	ptrdiff_t end = -1;
	uint64_t port = 53;
	struct addr a;

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == ':' || s.p[i] == ']')
			end = (ptrdiff_t)i;
	if (addr_from_ip(s, 53, &a)) {
		if (end <= 0 || s.p[end] != ':' || num_u63(slice_skip(s, (size_t)end + 1), &port) ||
		    port == 0 || port > 65535 ||
		    addr_from_ip(slice_make(s.p, (size_t)end), (uint16_t)port, &a))
			return false;
	}
	addr_text(&a, text);
	return true;
}

static int set_servers(struct resolver *r, const struct resolver_params *p, char *err, size_t room)
{
	char *csv = calloc((size_t)p->n_servers, ADDR_TEXT_MAX + 1), *at = csv;
	char text[ADDR_TEXT_MAX];
	int rc = 0;

	if (!csv) {
		snprintf(err, room, "out of memory");
		return -SL_ENOMEM;
	}
	for (int i = 0; rc == 0 && i < p->n_servers; i++) {
		if (server_text(p->servers[i], text)) {
			at += sprintf(at, "%s%s", i ? "," : "", text);
		} else {
			snprintf(err, room, "invalid name server \"%.*s\"",
				 SLICE_FMT(p->servers[i]));
			rc = -SL_EINVAL;
		}
	}
	if (rc == 0 && ares_set_servers_ports_csv(r->channel, csv) != ARES_SUCCESS) {
		snprintf(err, room, "c-ares refuses the name servers \"%s\"", csv);
		rc = -SL_EINVAL;
	}
	free(csv);
	return rc;
}

static int open_channel(struct resolver *r, const struct resolver_params *p, char *err, size_t room)
{
	/* A single server's own words (SERVFAIL, REFUSED) are the answer; of several the next is
	 * asked. */
	int flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES |
		    (p->n_servers == 1 ? ARES_FLAG_NOCHECKRESP : 0);
	/* Tries take once, twice, four times as long: together about the time of a question. */
	uint64_t try_ms = r->timeout_ms / 7;
	char lookups[] = "b";
	struct ares_options o = {
		.flags = r->own_servers ? flags : 0,
		.timeout = (int)(try_ms < TRY_MIN_MS   ? TRY_MIN_MS
				 : try_ms > TRY_MAX_MS ? TRY_MAX_MS
						       : try_ms),
		.tries = TRIES,
		.lookups = lookups,
		.sock_state_cb = on_sock_state,
		.sock_state_cb_data = r,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
	int rc;

	if (r->own_servers)
		mask |= ARES_OPT_LOOKUPS | (p->n_servers > 1 ? ARES_OPT_ROTATE : 0);
	rc = ares_init_options(&r->channel, &o, mask);
	if (rc != ARES_SUCCESS) {
		r->channel = NULL;
		snprintf(err, room, "c-ares: %s", ares_strerror(rc));
		return -SL_ESYS;
	}
	return r->own_servers ? set_servers(r, p, err, room) : 0;
}

struct resolver *resolver_new(struct loop *l, const struct resolver_params *p, char *err,
			      size_t room)
{
	struct resolver *r = calloc(1, sizeof *r);

	if (!r || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		snprintf(err, room, "out of memory");
		free(r);
		return NULL;
	}
	r->loop = l;
	r->valid_ms = p->valid_ms;
	r->timeout_ms = p->timeout_ms ? p->timeout_ms : DEFAULT_TIMEOUT_MS;
	r->ipv4 = p->ipv4;
	r->ipv6 = p->ipv6;
	r->own_servers = p->n_servers > 0;
	timer_init(&r->timer, on_timer);
	r->task.fn = deliver;
	if (open_channel(r, p, err, room)) {
		resolver_free(r);
		return NULL;
	}
	return r;
}

static void forget_queries(struct resolve_query **head)
{
	struct resolve_query *q;

	while ((q = *head)) {
		unlink_query(q);
		q->resolver = NULL;
		q->entry = NULL;
	}
}

void resolver_free(struct resolver *r)
{
	struct resolve_entry *e;

	if (!r)
		return;
	r->closing = true;
	forget_queries(&r->ready);
	for (e = r->entries; e; e = e->next)
		forget_queries(&e->waiting);
	if (r->channel)
		ares_destroy(r->channel);
	while ((e = r->entries)) {
		r->entries = e->next;
		entry_free(e);
	}
	timer_cancel(r->loop, &r->timer);
	task_cancel(r->loop, &r->task);
	ares_library_cleanup();
	free(r);
}
