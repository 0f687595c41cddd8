/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of the xdp block. Touches neither interfaces nor the kernel: a configuration
 * can be checked where neither is there. */
#include "kernel/xdp_conf.h"

#include "core/err.h"
#include "core/num.h"

enum {
	PIN_DIR_MAX = 200,
	FIRST_ROOM = 8,
	XDP_PRIORITY = 10,
	XDP_PRIORITY_MAX = 1000000,
};

const struct xdp_conf *xdp_conf_get(const struct conf *c)
{
	for (const struct conf_block *b = c->main ? c->main->first_child : NULL; b; b = b->next)
		if (b->ctx == CTX_XDP)
			return b->mod[MOD_XDP];
	return NULL;
}

/* Room for one more of BYTES each behind the N that AT points to. */
static void *grow(struct conf *c, void *at, uint32_t n, uint32_t *room, size_t bytes)
{
	void *bigger;

	if (n < *room)
		return at;
	*room = *room ? 2 * *room : FIRST_ROOM;
	bigger = arena_zalloc(&c->arena, *room * bytes);
	if (n)
		memcpy(bigger, at, n * bytes);
	return bigger;
}

/* As the kernel has it (dev_valid_name of net/core/dev.c). */
static bool is_ifname(struct slice s)
{
	if (s.n == 0 || s.n >= GUARD_IFNAME_MAX || slice_eq(s, SLICE(".")) ||
	    slice_eq(s, SLICE("..")))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '/' || s.p[i] == ':' || (unsigned char)s.p[i] <= ' ' ||
		    s.p[i] == 0x7f)
			return false;
	return true;
}

static int add_interface(struct conf *c, struct xdp_conf *x, const struct conf_node *n,
			 struct slice name)
{
	if (!is_ifname(name))
		return conf_error(c, n, "\"%.*s\" cannot be the name of an interface",
				  SLICE_FMT(name));
	for (uint32_t i = 0; i < x->n_interfaces; i++)
		if (slice_eq(slice_cstr(x->interfaces[i].name), name))
			return conf_error(c, n, "duplicate interface \"%.*s\"", SLICE_FMT(name));
	if (x->n_interfaces == GUARD_INTERFACES_MAX)
		return conf_error(c, n, "more than %d interfaces", GUARD_INTERFACES_MAX);
	x->interfaces =
		grow(c, x->interfaces, x->n_interfaces, &x->interfaces_room, sizeof *x->interfaces);
	x->interfaces[x->n_interfaces++] = (struct xdp_interface){
		.name = arena_cstr(&c->arena, name),
		.node = n,
	};
	return 0;
}

static int set_interface(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	int r = 0;

	for (int i = 0; r == 0 && i < n->n_args; i++)
		r = add_interface(c, mod, n, n->args[i]);
	return r;
}

static int check_pin_dir(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	struct xdp_conf *x = mod;

	if (x->pin_dir.n < 2 || x->pin_dir.p[0] != '/' || memchr(x->pin_dir.p, 0, x->pin_dir.n))
		return conf_error(c, n, "\"pin_dir\" must be an absolute path on a bpf filesystem");
	if (x->pin_dir.n > PIN_DIR_MAX)
		return conf_error(c, n, "\"pin_dir\" is longer than %d", PIN_DIR_MAX);
	x->pin_dir = arena_dup(&c->arena, x->pin_dir);
	return 0;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct xdp_conf *x = mod;

	xdp_rate_conf_defaults(c, x->rates, &x->new_sources);
	if (!x->n_interfaces)
		return conf_error(c, b->node, "no \"interface\" in \"xdp\" block");
	return 0;
}

static struct guard_rate_limit limit_of(const struct xdp_rate *r)
{
	return guard_rates_limit(r->milli_per_s, r->burst, r->rule_id, r->is_dry_run);
}

void xdp_conf_rates(const struct xdp_conf *x, struct guard_rates *out)
{
	*out = (struct guard_rates){
		.rates = {[GUARD_RATE_SYN] = limit_of(&x->rates[XDP_RATE_SYN]),
			  [GUARD_RATE_PACKETS] = limit_of(&x->rates[XDP_RATE_PACKETS]),
			  [GUARD_RATE_NEW_TLS] = limit_of(&x->rates[XDP_RATE_NEW_TLS])},
		.unknown_syn = limit_of(&x->rates[XDP_RATE_UNKNOWN_SYN]),
		.new_sources = limit_of(&x->new_sources),
		.v6_prefix = (uint32_t)x->v6_prefix,
	};
}

static const struct conf_value modes[] = {
	{"auto", GUARD_MODE_AUTO},
	{"native", GUARD_MODE_NATIVE},
	{"generic", GUARD_MODE_GENERIC},
	{NULL, 0},
};

static int set_attach(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct xdp_conf *x = mod;
	struct slice v;
	uint64_t priority = XDP_PRIORITY;

	x->is_libxdp = slice_eq(n->args[0], SLICE("libxdp"));
	if (!x->is_libxdp && !slice_eq(n->args[0], SLICE("link")))
		return conf_error(c, n,
				  "invalid value \"%.*s\" in \"attach\" directive, it must be "
				  "\"link\" or \"libxdp\"",
				  SLICE_FMT(n->args[0]));
	if (n->n_args == 2 && (!x->is_libxdp || !conf_param(n->args[1], "priority", &v) ||
			       num_u63(v, &priority) || !priority || priority > XDP_PRIORITY_MAX))
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(n->args[1]));
	x->priority = (uint32_t)priority;
	return 0;
}

static const struct conf_value failing[] = {
	{"static", false},
	{"open", true},
	{NULL, 0},
};

#define AT(field) offsetof(struct xdp_conf, field)

static const struct conf_row rows[] = {
	{
		.name = "xdp",
		.contexts = CTX_MAIN,
		.type = CONF_BLOCK,
		.block_ctx = CTX_XDP,
		.help = "the guard in the kernel: drops the packets of banned sources",
	},
	{
		.name = "interface",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_interface,
		.help = "NAME... -- network interfaces to guard",
	},
	{
		.name = "mode",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_ENUM,
		.offset = AT(mode),
		.values = modes,
		.deflt = "auto",
		.help = "in the driver (native), behind it (generic), or native where it works "
			"(auto)",
	},
	{
		.name = "attach",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 2,
		.type = CONF_CUSTOM,
		.set = set_attach,
		.help = "link | libxdp [priority=N] -- alone on its interfaces, by a pinned link (the "
			"default), or behind libxdp's dispatcher with other programs, the lowest "
			"priority (10) first",
	},
	{
		.name = "dry_run",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_FLAG,
		.offset = AT(dry_run),
		.deflt = "off",
		.help = "count what would drop, drop nothing",
	},
	{
		.name = "rate",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 3,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = xdp_rate_conf_set,
		.help = "syn|packets|new_tls|unknown_syn=N/s|N/m|off [burst=N] [dry_run] -- what one "
			"source (and one network of v6_prefix) may send, or all unknown sources "
			"together; what is more is dropped (unknown_syn=20000/s burst=40000)",
	},
	{
		.name = "v6_prefix",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_NUM,
		.offset = AT(v6_prefix),
		.min = 1,
		.max = 128,
		.deflt = "64",
		.help = "bits of the IPv6 networks that rates hold for, beside single addresses; 128: "
			"addresses alone",
	},
	{
		.name = "good_for",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_MSEC,
		.offset = AT(good_for_ms),
		.min = 1000,
		.max = 86400000,
		.deflt = "5m",
		.help = "how long, at least, a source that completed a request is known as good; "
			"at most twice that",
	},
	{
		.name = "new_sources",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 2,
		.type = CONF_CUSTOM,
		.set = xdp_rate_conf_set_new,
		.help = "N/s|N/m|off [burst=N] -- how fast each CPU makes entries for new sources; the "
			"others are held to the rates by estimate (1000/s burst=8000)",
	},
	{
		.name = "fail_after",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_MSEC,
		.offset = AT(fail_after_ms),
		.min = 2000,
		.max = 86400000,
		.deflt = "30s",
		.help = "how long the master may be silent before `fail` says what the guard does",
	},
	{
		.name = "fail",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_ENUM,
		.offset = AT(fail_open),
		.values = failing,
		.deflt = "static",
		.help = "without a master: go on with the bans, lists and rates that there are "
			"(static), or let everything pass (open)",
	},
	{
		.name = "pin_dir",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_STR,
		.offset = AT(pin_dir),
		.deflt = GUARD_PIN_DIR,
		.set = check_pin_dir,
		.help = "PATH -- where maps and links are pinned",
	},
};

const struct conf_module xdp_module = {
	.name = "xdp",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_XDP,
	.bytes = sizeof(struct xdp_conf),
	.finish = finish,
};
