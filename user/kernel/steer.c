/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the steering programs, their maps and the mapping of the load figures. Who serves which socket is the
 * master's to know. */
#include "kernel/steer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/err.h"
#include "steer.skel.h"

#define LOADS_BYTES (STEER_WORKERS_MAX * sizeof(struct steer_load))

struct steer_group {
	struct steer *steer;
	struct steer_group *next;
	struct steer_bpf *skel;
};

struct steer {
	int loads_fd;
	struct steer_load *loads;
	struct steer_group *groups;
};

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static int fail(int error, char *err, size_t err_size)
{
	if (error == EPERM || error == EACCES) {
		snprintf(err, err_size,
			 "no permission to load BPF programs: run as root, or with CAP_BPF and, "
			 "before Linux 6.8, CAP_PERFMON");
		return -SL_EPERM;
	}
	if (error == EINVAL)
		snprintf(err, err_size,
			 "this kernel has no reuseport programs that migrate: it must be Linux "
			 "5.14 or newer");
	else
		snprintf(err, err_size, "the steering program cannot be loaded: %s",
			 strerror(error));
	return -SL_ESYS;
}

int steer_open(struct steer **out, char *err, size_t err_size)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	struct steer *s = calloc(1, sizeof *s);
	int e;

	if (!s)
		return -SL_ENOMEM;
	libbpf_set_print(quiet);
	s->loads_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "loads", sizeof(__u32),
				     sizeof(struct steer_load), STEER_WORKERS_MAX, &opts);
	if (s->loads_fd < 0)
		goto fail;
	s->loads = mmap(NULL, LOADS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->loads_fd, 0);
	if (s->loads == MAP_FAILED)
		goto fail_close;
	*out = s;
	return 0;
fail_close:
	e = errno;
	close(s->loads_fd);
	errno = e;
fail:
	e = errno;
	free(s);
	return fail(e, err, err_size);
}

/* Descriptors and memory of a group; nothing changes in the kernel. */
static void drop(struct steer_group *g)
{
	struct steer_group **at = &g->steer->groups;

	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
	steer_bpf__destroy(g->skel);
	free(g);
}

static struct steer_load *close_all(struct steer *s)
{
	struct steer_load *loads = s->loads;

	while (s->groups)
		drop(s->groups);
	close(s->loads_fd);
	free(s);
	return loads;
}

void steer_close(struct steer *s)
{
	if (s)
		munmap(close_all(s), LOADS_BYTES);
}

struct steer_load *steer_loads(struct steer *s)
{
	return s->loads;
}

struct steer_load *steer_close_in_worker(struct steer *s, unsigned slot)
{
	return s && slot < STEER_WORKERS_MAX ? &close_all(s)[slot] : NULL;
}

int steer_group_open(struct steer *s, struct steer_group **out, char *err, size_t err_size)
{
	struct steer_group *g = calloc(1, sizeof *g);
	int e = ENOMEM;

	if (!g)
		return -SL_ENOMEM;
	g->steer = s;
	g->skel = steer_bpf__open();
	if (!g->skel)
		goto fail;
	e = -bpf_map__reuse_fd(g->skel->maps.loads, s->loads_fd);
	if (!e)
		e = -steer_bpf__load(g->skel);
	if (e)
		goto fail;
	g->next = s->groups;
	s->groups = g;
	*out = g;
	return 0;
fail:
	steer_bpf__destroy(g->skel);
	free(g);
	return fail(e, err, err_size);
}

int steer_group_attach(struct steer_group *g, int fd)
{
	int prog_fd = bpf_program__fd(g->skel->progs.steer);

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &prog_fd, sizeof prog_fd) < 0
		       ? -SL_ESYS
		       : 0;
}

/* What the kernel has at place I is told by the socket's cookie. */
static bool has(int map_fd, __u32 i, int fd)
{
	__u64 there, cookie;
	socklen_t n = sizeof cookie;

	return bpf_map_lookup_elem(map_fd, &i, &there) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n) == 0 && there == cookie;
}

int steer_group_put(struct steer_group *g, unsigned i, int fd)
{
	int map_fd = bpf_map__fd(g->skel->maps.sockets);
	__u64 value = (__u64)fd;
	__u32 key = i;

	if (has(map_fd, key, fd) || bpf_map_update_elem(map_fd, &key, &value, BPF_ANY) == 0)
		return 0;
	return errno == EBUSY ? -SL_EEXIST : -SL_ESYS;
}

/* Places first: whatever the program sees meanwhile names sockets that are there, or none. */
int steer_group_set(struct steer_group *g, enum steer_how how, const struct steer_place *places,
		    unsigned n)
{
	const struct steer_settings set = {.how = how, .n_places = n};
	__u32 zero = 0;

	for (__u32 i = 0; i < n; i++)
		if (bpf_map_update_elem(bpf_map__fd(g->skel->maps.places), &i, &places[i], BPF_ANY))
			return -SL_ESYS;
	return bpf_map_update_elem(bpf_map__fd(g->skel->maps.settings), &zero, &set, BPF_ANY)
		       ? -SL_ESYS
		       : 0;
}

void steer_group_release(struct steer_group *g)
{
	int map_fd = bpf_map__fd(g->skel->maps.sockets);

	steer_group_set(g, STEER_KERNEL, NULL, 0);
	for (__u32 i = 0; i < STEER_WORKERS_MAX; i++)
		bpf_map_delete_elem(map_fd, &i);
}

void steer_group_close(struct steer_group *g)
{
	if (!g)
		return;
	steer_group_release(g);
	drop(g);
}
