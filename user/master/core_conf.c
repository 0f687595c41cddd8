/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of main and events. Looks users up; changes nothing. */
#include "master/core_conf.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf/regex.h"
#include "core/err.h"
#include "master/confine.h"

static int set_user(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct core_conf *m = mod;
	const char *user = n->args[0].p, *group = n->args[n->n_args - 1].p;
	struct passwd *pw;
	struct group *gr;

	if (m->has_user)
		return conf_error(c, n, "\"user\" directive is duplicate");
	m->has_user = true;
	m->user_node = n;
	if (geteuid() != 0)
		return conf_warn(c, n,
				 "the \"user\" directive makes sense only if the master process "
				 "runs with super-user privileges, ignored");
	pw = getpwnam(user);
	if (!pw)
		return conf_error(c, n, "getpwnam(\"%s\") failed: there is no such user", user);
	m->user_cstr = user;
	m->uid = pw->pw_uid;
	m->gid = pw->pw_gid;
	gr = n->n_args == 2 ? getgrnam(group) : NULL;
	if (n->n_args == 2 && !gr)
		return conf_error(c, n, "getgrnam(\"%s\") failed: there is no such group", group);
	if (gr)
		m->gid = gr->gr_gid;
	return 0;
}

static int set_pid(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	struct core_conf *m = mod;

	m->pid = slice_cstr(conf_prefix_path(c, n->args[0]));
	return 0;
}

/* One mask of `worker_cpu_affinity`: the last digit is the first CPU. */
static int parse_mask(struct conf *c, const struct conf_node *n, struct slice text,
		      struct core_cpus *set)
{
	for (size_t i = 0; i < text.n; i++) {
		char digit = text.p[text.n - 1 - i];

		if ((digit != '0' && digit != '1') || i >= CORE_CPUS_MAX)
			return conf_error_hint(c, n,
					       "a mask is made of at most 1024 digits 0 and 1",
					       "invalid value \"%.*s\" in \"%.*s\" directive",
					       SLICE_FMT(text), SLICE_FMT(n->name));
		if (digit == '1')
			set->bits[i / 64] |= UINT64_C(1) << i % 64;
	}
	return 0;
}

static int set_affinity(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	struct core_affinity *a = arena_zalloc(&c->arena, sizeof *a);
	int first = slice_eq(n->args[0], SLICE("auto")), r = 0;

	if (first && n->n_args > 2)
		return conf_error(c, n, "invalid number of arguments in \"%s\" directive",
				  row->name);
	a->is_auto = first;
	a->n = n->n_args - first;
	a->masks = arena_zalloc(&c->arena, ((size_t)a->n + 1) * sizeof *a->masks);
	for (int i = 0; i < a->n && r == 0; i++)
		r = parse_mask(c, n, n->args[first + i], &a->masks[i]);
	((struct core_conf *)mod)->affinity = a;
	return r;
}

static int set_env(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	struct core_conf *m = mod;
	struct core_env *e = arena_zalloc(&c->arena, sizeof *e);
	ptrdiff_t eq = slice_find(n->args[0], '=');

	e->name =
		eq < 0 ? n->args[0].p : arena_cstr(&c->arena, slice_make(n->args[0].p, (size_t)eq));
	e->value = eq < 0 ? NULL : n->args[0].p + eq + 1;
	e->next = m->env;
	m->env = e;
	return 0;
}

static void default_user(struct core_conf *m)
{
	struct passwd *pw = getpwnam("nobody");

	m->user_cstr = "nobody";
	m->uid = pw ? pw->pw_uid : 65534;
	m->gid = pw ? pw->pw_gid : 65534;
}

static int inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	struct core_conf *m = mod;
	const char *dir = getenv("XDG_RUNTIME_DIR");

	if (b->ctx != CTX_MAIN)
		return 0;
	if (!m->has_user)
		default_user(m);
	if (m->pid.n)
		return 0;
	if (geteuid() == 0)
		m->pid = SLICE("/run/sluice.pid");
	else if (dir && dir[0] == '/')
		m->pid = arena_printf(&c->arena, "%s/sluice.pid", dir);
	else
		m->pid = arena_printf(&c->arena, "/tmp/sluice-%u.pid", (unsigned)geteuid());
	return 0;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	const struct core_conf *m = mod;

	if (b->ctx != CTX_MAIN)
		return 0;
	if (regex_ready(c, (uint32_t)m->regex_match_limit, m->pcre_jit))
		return conf_error(c, NULL, "no memory for regular expressions");
	return 0;
}

const struct core_conf *core_conf_main(const struct conf *c)
{
	return c->main->mod[MOD_CORE];
}

const struct core_conf *core_conf_events(const struct conf *c)
{
	for (const struct conf_block *b = c->main->first_child; b; b = b->next)
		if (b->ctx == CTX_EVENTS)
			return b->mod[MOD_CORE];
	return c->main->mod[MOD_CORE];
}

unsigned core_conf_n_workers(const struct core_conf *c)
{
	if (!c->master_process)
		return 1;
	return c->worker_processes ? (unsigned)c->worker_processes
				   : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

static const struct conf_value auto_word[] = {{"auto", 0}, {NULL, 0}};
static const struct conf_value seccomp_words[] = {
	{"off", CONFINE_OFF}, {"on", CONFINE_ON}, {"log", CONFINE_LOG}, {NULL, 0}};
static const struct conf_value use_words[] = {{"epoll", 0}, {NULL, 0}};

#define AT(field) offsetof(struct core_conf, field)

static const struct conf_row rows[] = {
	{.name = "user",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = set_user,
	 .help = "USER [GROUP] -- whom workers and admin run as; nobody without it"},
	{.name = "worker_processes",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(worker_processes),
	 .values = auto_word,
	 .min = 1,
	 .max = 64,
	 .deflt = "1",
	 .help = "worker processes; auto: one a CPU"},
	{.name = "worker_cpu_affinity",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .set = set_affinity,
	 .help = "auto [MASK] | MASK ... -- which CPUs a worker may run on; auto: one for each worker, of those in "
		 "MASK (binary, the last digit is the first CPU)"},
	{.name = "worker_rlimit_nofile",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(worker_rlimit_nofile),
	 .deflt = "0",
	 .help = "open files of a worker; 0: as the system says"},
	{.name = "worker_shutdown_timeout",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_MSEC,
	 .offset = AT(worker_shutdown_timeout_ms),
	 .deflt = "0",
	 .help = "a worker that is to end closes what is still open after this time; 0: never"},
	{.name = "daemon",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(daemon),
	 .deflt = "on",
	 .help = "run in the background"},
	{.name = "master_process",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(master_process),
	 .deflt = "on",
	 .help = "off: one process does it all, for debugging; without admin and reload"},
	{.name = "seccomp",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(seccomp),
	 .values = seccomp_words,
	 .deflt = "on",
	 .help = "on | off | log -- workers and admin may make only the system calls that they need; log: the others "
		 "are made, and told to the kernel's log"},
	{.name = "pid",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_STR,
	 .offset = AT(pid),
	 .set = set_pid,
	 .help = "FILE -- holds the master's process id; /run/sluice.pid for root"},
	{.name = "env",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = set_env,
	 .help = "NAME[=VALUE] -- an environment variable that workers keep, or get"},
	{.name = "pcre_jit",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(pcre_jit),
	 .deflt = "on",
	 .help = "regular expressions become machine code"},
	{.name = "regex_match_limit",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(regex_match_limit),
	 .min = 1000,
	 .max = 100000000,
	 .deflt = "200000",
	 .help = "a regular expression that takes more steps on one text fails, with 500 (about 20 ns a step "
		 "at most)"},
	{.name = "events",
	 .contexts = CTX_MAIN,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_EVENTS,
	 .help = "how connections are handled"},
	{.name = "worker_connections",
	 .contexts = CTX_EVENTS,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(worker_connections),
	 .min = 1,
	 .max = 1 << 20,
	 .deflt = "512",
	 .help = "connections of a worker, those to upstreams counted"},
	{.name = "multi_accept",
	 .contexts = CTX_EVENTS,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(multi_accept),
	 .deflt = "off",
	 .help = "accept all waiting connections at a time"},
	{.name = "use",
	 .contexts = CTX_EVENTS,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(use),
	 .values = use_words,
	 .deflt = "epoll",
	 .help = "epoll, the only method"},
};

const struct conf_module core_module = {
	.name = "core",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_MAIN | CTX_EVENTS,
	.bytes = sizeof(struct core_conf),
	.inherit = inherit,
	.finish = finish,
};
