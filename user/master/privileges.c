/* SPDX-License-Identifier: BSD-2-Clause */
/* Least privilege: what the master keeps, by name, and how children lose everything. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/err.h"
#include "master/master.h"

/* What for: BPF and NET_ADMIN the guard's maps, programs and links; PERFMON pointers in XDP programs;
 * NET_BIND_SERVICE ports below 1024 on reload; SETUID, SETGID, SYS_RESOURCE to make workers; KILL to
 * signal them; CHOWN, FOWNER, DAC_OVERRIDE log files, sockets and keys. */
static const cap_value_t kept[] = {
	CAP_BPF,    CAP_NET_ADMIN, CAP_PERFMON,	     CAP_NET_BIND_SERVICE,
	CAP_SETUID, CAP_SETGID,	   CAP_SYS_RESOURCE, CAP_KILL,
	CAP_CHOWN,  CAP_FOWNER,	   CAP_DAC_OVERRIDE,
};

static bool is_kept(cap_value_t cap)
{
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
		if (kept[i] == cap)
			return true;
	return false;
}

/* An exec as root gives back whatever the bounding set holds: a new binary gets what this one keeps. Who lacks
 * CAP_SETPCAP for it was started with a bounding set (conf/sluice.service). */
static void limit_bounding_set(bool keeps_sys_admin)
{
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++)
		if (!is_kept(cap) && !(keeps_sys_admin && cap == CAP_SYS_ADMIN))
			cap_drop_bound(cap);
}

int privileges_limit_master(bool keeps_sys_admin, char *err, size_t room)
{
	static const cap_value_t sys_admin = CAP_SYS_ADMIN;
	cap_t now = cap_get_proc(), want = cap_init();
	int r = 0;

	limit_bounding_set(keeps_sys_admin);
	for (size_t i = 0; now && want && i < sizeof kept / sizeof kept[0]; i++) {
		cap_flag_value_t has = CAP_CLEAR;

		cap_get_flag(now, kept[i], CAP_PERMITTED, &has);
		if (has != CAP_SET)
			continue; /* a container or unit gave less: what needs it will say so */
		cap_set_flag(want, CAP_PERMITTED, 1, &kept[i], CAP_SET);
		cap_set_flag(want, CAP_EFFECTIVE, 1, &kept[i], CAP_SET);
	}
	if (keeps_sys_admin && want) {
		cap_set_flag(want, CAP_PERMITTED, 1, &sys_admin, CAP_SET);
		cap_set_flag(want, CAP_EFFECTIVE, 1, &sys_admin, CAP_SET);
	}
	if (!now || !want || cap_set_proc(want)) {
		snprintf(err, room, "the capabilities cannot be limited: %s", strerror(errno));
		r = -SL_ESYS;
	}
	cap_free(now);
	cap_free(want);
	return r;
}

static int drop_capabilities(void)
{
	cap_t none = cap_init();
	int r = none && cap_set_proc(none) == 0 ? 0 : -SL_ESYS;

	cap_free(none);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return r;
}

static rlim_t nofile_wanted(const struct cycle *c)
{
	return (rlim_t)core_conf_events(&c->conf)->worker_connections;
}

/* Without worker_rlimit_nofile: the soft limit is raised as far as it may when there are more connections. */
void privileges_raise_nofile(const struct cycle *c)
{
	rlim_t n = (rlim_t)c->core->worker_rlimit_nofile;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return;
	if (n)
		lim.rlim_cur = lim.rlim_max = n;
	else if (lim.rlim_cur < nofile_wanted(c))
		lim.rlim_cur = lim.rlim_max;
	else
		return;
	if (setrlimit(RLIMIT_NOFILE, &lim))
		log_write(
			&c->log, LOG_LVL_WARN, 0,
			"worker_rlimit_nofile %llu is not in force: setrlimit() failed (%d: %s)%s",
			(unsigned long long)n, errno, strerror(errno),
			errno == EPERM ? ": the hard limit, or fs.nr_open, is lower" : "");
}

void privileges_check_nofile(const struct cycle *c)
{
	rlim_t n = (rlim_t)c->core->worker_rlimit_nofile, conns = nofile_wanted(c);
	struct rlimit lim;

	if (!n && getrlimit(RLIMIT_NOFILE, &lim) == 0)
		n = lim.rlim_max;
	if (n && n < conns)
		log_write(&c->log, LOG_LVL_WARN, 0,
			  "%llu worker_connections exceed open file resource limit: %llu",
			  (unsigned long long)conns, (unsigned long long)n);
}

static cpu_set_t cpus_of(const struct core_cpus *mask)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int cpu = 0; cpu < CORE_CPUS_MAX && cpu < CPU_SETSIZE; cpu++)
		if (mask->bits[cpu / 64] >> cpu % 64 & 1)
			CPU_SET(cpu, &set);
	return set;
}

/* The INDEXth CPU of those in AMONG, again from the first where there are fewer. */
static cpu_set_t one_of(const cpu_set_t *among, unsigned index)
{
	int n = CPU_COUNT(among), left = n ? (int)(index % (unsigned)n) : 0;
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, among) && left-- == 0)
			CPU_SET(cpu, &set);
	return set;
}

void privileges_bind_cpu(const struct core_conf *core, unsigned index, const struct log *log)
{
	const struct core_affinity *a = core->affinity;
	cpu_set_t set, mask;

	if (!a)
		return;
	if (!a->is_auto) {
		set = cpus_of(&a->masks[index < (unsigned)a->n ? index : (unsigned)a->n - 1]);
	} else {
		if (sched_getaffinity(0, sizeof set, &set))
			CPU_ZERO(&set);
		mask = a->n ? cpus_of(&a->masks[0]) : set;
		CPU_AND(&set, &set, &mask);
		set = one_of(&set, index);
	}
	if (sched_setaffinity(0, sizeof set, &set))
		log_write(
			log, LOG_LVL_WARN, 0,
			"worker_cpu_affinity is not in force: sched_setaffinity() failed (%d: %s)",
			errno, strerror(errno));
}

int privileges_drop(const struct core_conf *core, bool is_root, char *err, size_t room)
{
	const char *what = "initgroups()";

	if (is_root) {
		if (initgroups(core->user_cstr, core->gid))
			goto fail;
		what = "setgid()";
		if (setgid(core->gid))
			goto fail;
		what = "setuid()";
		if (setuid(core->uid))
			goto fail;
	}
	what = "capset()";
	if (drop_capabilities())
		goto fail;
	what = "prctl(PR_SET_NO_NEW_PRIVS)";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		goto fail;
	return 0;
fail:
	snprintf(err, room, "%s failed: %s", what, strerror(errno));
	return -SL_ESYS;
}
