/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the relay's life in the kernel: loading, the cgroup's link, mapped maps, what a child gives back; and the
 * names of groups. Slots are relay_mark.c's. */
#include "kernel/relay.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/err.h"
#include "kernel/relay_impl.h"
#include "relay.skel.h"

_Static_assert(sizeof(struct detour) == sizeof(struct relay_slot) &&
		       offsetof(struct detour, mixed) == offsetof(struct relay_slot, mixed) &&
		       offsetof(struct detour, unread) == offsetof(struct relay_slot, unread),
	       "one thing with two names");
_Static_assert(sizeof(struct relay_counts) + sizeof(uint64_t[3]) == sizeof(struct relay_totals),
	       "the same fields");

int relay_fail(int code, char *err, size_t err_size, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, err_size, fmt, ap);
	va_end(ap);
	errno = saved;
	return code;
}

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

/* The root of the v2 hierarchy, as this mount namespace sees it: an upstream may be in any cgroup below. */
static int open_cgroup(void)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	char line[4096];
	struct mntent e;
	int fd = -1;

	while (f && fd < 0 && getmntent_r(f, &e, line, sizeof line))
		if (strcmp(e.mnt_type, "cgroup2") == 0)
			fd = open(e.mnt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f)
		endmntent(f);
	return fd;
}

static int fail_load(const char *what, int error, char *err, size_t err_size)
{
	if (error == EPERM || error == EACCES)
		return relay_fail(
			-SL_EPERM, err, err_size,
			"%s: no permission; CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed",
			what);
	return relay_fail(-SL_ESYS, err, err_size, "%s: %s", what, strerror(error));
}

static int load(struct relay *r, char *err, size_t err_size)
{
	libbpf_set_print(quiet);
	r->skel = relay_bpf__open();
	if (!r->skel)
		return fail_load("the program cannot be opened", errno, err, err_size);
	if (relay_bpf__load(r->skel))
		return fail_load("the program cannot be loaded", errno, err, err_size);
	if (bpf_prog_attach(bpf_program__fd(r->skel->progs.relay_message),
			    bpf_map__fd(r->skel->maps.ends), BPF_SK_MSG_VERDICT, 0))
		return fail_load("the program cannot be put on its map", errno, err, err_size);
	r->marks_fd = fcntl(bpf_map__fd(r->skel->maps.marks), F_DUPFD_CLOEXEC, 3);
	return r->marks_fd >= 0 ? 0 : fail_load("no descriptor", errno, err, err_size);
}

static int map_all(struct relay *r, char *err, size_t err_size)
{
	void *slots = mmap(NULL, RELAY_SLOTS_MAX * sizeof(struct relay_slot),
			   PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(r->skel->maps.slots), 0);
	void *totals = mmap(NULL, RELAY_GROUPS_MAX * sizeof(struct relay_totals), PROT_READ,
			    MAP_SHARED, bpf_map__fd(r->skel->maps.totals), 0);

	r->slots = slots == MAP_FAILED ? NULL : slots;
	r->totals = totals == MAP_FAILED ? NULL : totals;
	if (r->slots && r->totals)
		return 0;
	return fail_load("its maps cannot be mapped", errno, err, err_size);
}

static int attach(struct relay *r, char *err, size_t err_size)
{
	int cgroup = open_cgroup(), rc = 0;

	if (cgroup < 0)
		return relay_fail(-SL_ENOTFOUND, err, err_size, "no cgroup v2 is mounted");
	r->link_fd = bpf_link_create(bpf_program__fd(r->skel->progs.relay_meet), cgroup,
				     BPF_CGROUP_SOCK_OPS, NULL);
	if (r->link_fd < 0)
		rc = fail_load("the program cannot be put on the cgroup", errno, err, err_size);
	close(cgroup);
	return rc;
}

int relay_open(struct relay **out, char *err, size_t err_size)
{
	struct utsname name;
	struct relay *r;
	int rc;

	*out = NULL;
	if (uname(&name))
		return relay_fail(-SL_ESYS, err, err_size, "uname() failed");
	rc = relay_kernel_check(name.release, name.version, err, err_size);
	if (rc)
		return rc;
	r = calloc(1, sizeof *r);
	if (!r)
		return relay_fail(-SL_ENOMEM, err, err_size, "no memory");
	r->link_fd = r->marks_fd = -1;
	rc = relay_mark_init(r);
	if (rc)
		relay_fail(rc, err, err_size, "no memory");
	if (!rc)
		rc = load(r, err, err_size);
	if (!rc)
		rc = map_all(r, err, err_size);
	if (!rc)
		rc = attach(r, err, err_size);
	if (!rc)
		rc = relay_trial_run(r, err, err_size);
	if (rc) {
		relay_close(r);
		return rc;
	}
	*out = r;
	return 0;
}

static void close_programs(struct relay *r)
{
	relay_bpf__destroy(r->skel);
	r->skel = NULL;
	if (r->link_fd >= 0)
		close(r->link_fd);
	r->link_fd = -1;
}

static void close_marks(struct relay *r)
{
	if (r->marks_fd >= 0)
		close(r->marks_fd);
	r->marks_fd = -1;
	if (r->slots)
		munmap(r->slots, RELAY_SLOTS_MAX * sizeof *r->slots);
	r->slots = NULL;
}

/* What is paired holds its program, and that its maps, until it is closed. */
void relay_close(struct relay *r)
{
	if (!r)
		return;
	close_programs(r);
	close_marks(r);
	if (r->totals)
		munmap((void *)r->totals, RELAY_GROUPS_MAX * sizeof *r->totals);
	relay_mark_fini(r);
	free(r);
}

void relay_close_in_child(struct relay *r, bool marks)
{
	if (!r)
		return;
	close_programs(r);
	if (!marks)
		close_marks(r);
}

int relay_group(struct relay *r, const char *name, size_t n)
{
	uint32_t i = 0;

	if (n > RELAY_NAME_MAX)
		return -SL_ELIMIT;
	while (i < r->n_groups && (strlen(r->group[i]) != n || memcmp(r->group[i], name, n) != 0))
		i++;
	if (i < r->n_groups)
		return (int)i;
	if (i == RELAY_TRIAL_GROUP)
		return -SL_ELIMIT;
	memcpy(r->group[i], name, n);
	r->group[i][n] = '\0';
	r->n_groups++;
	return (int)i;
}

void relay_counts(const struct relay *r, int group, struct relay_counts *out)
{
	const volatile struct relay_totals *t = &r->totals[group];

	*out = (struct relay_counts){
		.n_pairs = t->n_pairs,
		.n_request_bytes = t->n_request_bytes,
		.n_answer_bytes = t->n_answer_bytes,
		.n_requests_latched = t->n_requests_latched,
		.n_answers_latched = t->n_answers_latched,
	};
}
