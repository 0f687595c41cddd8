/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the choice of r->remote. What a proxy says is believed only as far as the chain of trusted addresses
 * goes, from the connection's end. */
#include "proxy/realip.h"

#include <netdb.h>

#include "core/err.h"
#include "net/proxy_intro.h"
#include "policy/gate.h"
#include "proxy/reply.h"
#include "proxy/request.h"
#include "proxy/vars_impl.h"

enum source {
	SOURCE_FIELD,
	SOURCE_FORWARDED_FOR, /* all fields of that name, as one list */
	SOURCE_PROXY_PROTOCOL,
};

struct header {
	enum source source;
	struct slice name;
};

struct trusted {
	struct trusted *next;
	bool is_unix;
	struct cidr cidr;
};

struct trust_list {
	struct trusted *first;
};

struct realip_scope { /* MOD_REALIP's struct in http, server, location */
	struct trust_list *from;
	struct header *header;
	int64_t recursive;
	struct trust_list all; /* http only: of all blocks */
};

static bool is_trusted(const struct trust_list *l, const struct addr *a)
{
	for (const struct trusted *t = l->first; t; t = t->next)
		if (t->is_unix ? a->sa.sa_family == AF_UNIX : cidr_match(&t->cidr, a))
			return true;
	return false;
}

bool realip_trusts(const struct conf_block *b, const struct addr *a)
{
	const struct realip_scope *s = b->mod[MOD_REALIP];

	return s && s->from && is_trusted(s->from, a);
}

static struct realip_scope *http_scope(const struct conf *c)
{
	for (const struct conf_block *b = c->main ? c->main->first_child : NULL; b; b = b->next)
		if (b->ctx == CTX_HTTP)
			return b->mod[MOD_REALIP];
	return NULL;
}

static bool do_overlap(const struct cidr *a, const struct ban_net *b)
{
	uint8_t len = a->prefix_len < b->prefix_len ? a->prefix_len : b->prefix_len;
	unsigned whole = len / 8, rest = len % 8;

	return a->family == b->family && memcmp(a->bytes, b->bytes, whole) == 0 &&
	       (rest == 0 || ((a->bytes[whole] ^ b->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0);
}

bool realip_is_proxy(const struct conf *c, const struct ban_net *net)
{
	const struct realip_scope *s = http_scope(c);

	for (const struct trusted *t = s ? s->all.first : NULL; t; t = t->next)
		if (!t->is_unix && t->cidr.prefix_len && do_overlap(&t->cidr, net))
			return true;
	return false;
}

bool realip_of_connection(const struct client *k, const struct conf_block *b, struct addr *out,
			  bool *is_indirect)
{
	const struct realip_scope *s = b->mod[MOD_REALIP];

	*out = k->remote.addr;
	*is_indirect = s && s->from && s->header->source == SOURCE_PROXY_PROTOCOL && k->proxied &&
		       k->proxied->src.len && is_trusted(s->from, out);
	if (*is_indirect)
		*out = k->proxied->src;
	return *is_indirect || !k->listener->proxy_protocol;
}

static bool is_separator(char c)
{
	return c == ' ' || c == ',';
}

/* The last address of LIST, which loses it. */
static bool take_last(struct slice *list, struct addr *out)
{
	size_t n = list->n, start;
	struct slice one;

	while (n > 1 && is_separator(list->p[n - 1]))
		n--;
	for (start = n; start > 1 && !is_separator(list->p[start - 1]); start--)
		;
	if (start == 1)
		start = 0;
	one = slice_make(list->p + start, n - start);
	list->n = start;
	if (one.n && one.p[0] == '[' && one.p[one.n - 1] == ']')
		return false;
	return !slice_starts(one, SLICE("unix:")) && addr_parse(one, 0, out) == 0;
}

/* From *at on, back through LIST while the addresses are trusted (once when not RECURSIVE). True: *at was
 * changed; *ended: an address that is not trusted, or none, stopped it. */
static bool walk(const struct realip_scope *s, struct slice list, struct addr *at, bool *ended)
{
	bool changed = false;
	struct addr next;

	do {
		*ended = !is_trusted(s->from, at) || !take_last(&list, &next);
		if (*ended)
			return changed;
		*at = next;
		changed = true;
	} while (s->recursive && list.n);
	return changed;
}

static bool from_forwarded(const struct request *r, const struct realip_scope *s, struct addr *at)
{
	const struct hdrs *fields = &r->head.fields;
	bool changed = false, ended = false;

	for (uint32_t i = fields->n; i-- > 0 && !ended;) {
		if (fields->v[i].id != HDR_X_FORWARDED_FOR)
			continue;
		changed |= walk(s, fields->v[i].value, at, &ended);
		if (!s->recursive)
			break;
	}
	return changed;
}

static bool from_proxy_protocol(const struct request *r, const struct realip_scope *s,
				struct addr *at)
{
	const struct proxy_intro *intro = r->client->proxied;

	if (!intro || !intro->src.len || !is_trusted(s->from, at))
		return false;
	*at = intro->src;
	return true;
}

static bool find_real(const struct request *r, const struct realip_scope *s, struct addr *at)
{
	const struct hdr *h;
	bool ended;

	if (s->header->source == SOURCE_FORWARDED_FOR)
		return from_forwarded(r, s, at);
	if (s->header->source == SOURCE_PROXY_PROTOCOL)
		return from_proxy_protocol(r, s, at);
	h = hdrs_find_name(&r->head.fields, s->header->name);
	return h && walk(s, h->value, at, &ended);
}

static enum step_result run(struct request *r)
{
	const struct realip_scope *s = r->block->mod[MOD_REALIP];
	struct addr at = r->client->remote.addr;
	char text[ADDR_TEXT_MAX];
	struct remote *remote;

	if (!s || !s->from || r->remote != &r->client->remote || !find_real(r, s, &at))
		return STEP_NEXT;
	remote = arena_zalloc(&r->arena, sizeof *remote);
	remote->addr = at;
	remote->ip_len = (uint32_t)addr_ip_text(&at, text);
	if (remote->ip_len >= sizeof remote->ip)
		remote->ip_len = sizeof remote->ip - 1;
	memcpy(remote->ip, text, remote->ip_len);
	r->remote = remote;
	/* The guard sees only the proxy, so that this is the place for bans of who is behind it. */
	if (!gate_refuses(r->env->conf, r->env->bans, &at, &r->env->loop.clock))
		return STEP_NEXT;
	r->env->stats->conns_refused_banned++;
	request_log(r, LOG_LVL_INFO, "client is banned");
	reply_error(r, 403, NULL);
	return STEP_DONE;
}

enum step_result realip_step_server(struct request *r)
{
	return run(r);
}

enum step_result realip_step_location(struct request *r)
{
	return run(r);
}

static struct trusted *copy_of(struct conf *c, const struct trusted *t)
{
	struct trusted *copy = arena_alloc(&c->arena, sizeof *copy);

	*copy = *t;
	return copy;
}

static void add(struct conf *c, struct trust_list *l, struct trusted t)
{
	struct trusted *copy = copy_of(c, &t);

	copy->next = l->first;
	l->first = copy;
	l = &http_scope(c)->all;
	copy = copy_of(c, &t);
	copy->next = l->first;
	l->first = copy;
}

/* All addresses of a name, asked once, while the file is read. */
static int add_name(struct conf *c, const struct conf_node *n, struct trust_list *l)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	struct trusted t = {0};

	if (slice_find(n->args[0], '/') >= 0 ||
	    getaddrinfo(arena_cstr(&c->arena, n->args[0]), NULL, &hints, &found))
		return conf_error(c, n, "host not found in set_real_ip_from \"%.*s\"",
				  SLICE_FMT(n->args[0]));
	for (const struct addrinfo *ai = found; ai; ai = ai->ai_next) {
		char text[NI_MAXHOST];

		if (!getnameinfo(ai->ai_addr, ai->ai_addrlen, text, sizeof text, NULL, 0,
				 NI_NUMERICHOST) &&
		    !cidr_parse(slice_cstr(text), &t.cidr))
			add(c, l, t);
	}
	freeaddrinfo(found);
	return 0;
}

static int set_from(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct realip_scope *s = mod;
	struct trusted t = {.is_unix = slice_eq(n->args[0], SLICE("unix:"))};

	if (cidr_has_host_bits(n->args[0]))
		conf_warn(c, n, "low address bits of %.*s are meaningless", SLICE_FMT(n->args[0]));
	if (!s->from)
		s->from = arena_zalloc(&c->arena, sizeof *s->from);
	if (!t.is_unix && cidr_parse(n->args[0], &t.cidr))
		return add_name(c, n, s->from);
	add(c, s->from, t);
	return 0;
}

static struct header *header_of(struct conf *c, struct slice name)
{
	struct header *h = arena_zalloc(&c->arena, sizeof *h);

	h->name = name;
	if (slice_ieq(name, SLICE("X-Forwarded-For")))
		h->source = SOURCE_FORWARDED_FOR;
	else if (slice_eq(name, SLICE("proxy_protocol")))
		h->source = SOURCE_PROXY_PROTOCOL;
	return h;
}

static int set_header(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct realip_scope *s = mod;

	if (s->header)
		return conf_error(c, n, "\"real_ip_header\" directive is duplicate");
	s->header = header_of(c, n->args[0]);
	return 0;
}

static int inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	struct realip_scope *s = mod;

	if (!s->header)
		s->header = header_of(c, SLICE("X-Real-IP"));
	return 0;
}

static const struct conf_row rows[] = {
	{.name = "set_real_ip_from",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = offsetof(struct realip_scope, from),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_from,
	 .help = "ADDRESS[/BITS] | NAME | unix: -- a proxy that is believed when it says who asks"},
	{.name = "real_ip_header",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = offsetof(struct realip_scope, header),
	 .flags = CONF_INHERIT,
	 .set = set_header,
	 .help = "FIELD | proxy_protocol -- where it says so (X-Real-IP)"},
	{.name = "real_ip_recursive",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = offsetof(struct realip_scope, recursive),
	 .deflt = "off",
	 .help = "take the last address that is no trusted proxy, not the last one"},
};

const struct conf_module realip_module = {
	.name = "real_ip",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct realip_scope),
	.inherit = inherit,
};

VARS_GETTER(get_addr)
{
	const struct request *r = request;

	*out = slice_make(r->client->remote.ip, r->client->remote.ip_len);
	return true;
}

VARS_GETTER(get_port)
{
	const struct request *r = request;
	uint16_t port = addr_port(&r->client->remote.addr);

	*out = SLICE("");
	return port ? vars_number(a, port, out) : true;
}

const struct var_def vars_realip[] = {
	{.name = "realip_remote_addr", .get = get_addr},
	{.name = "realip_remote_port", .get = get_port},
	{.name = NULL},
};
