/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns `attach libxdp`: the guard as one of several programs of an interface, behind libxdp's dispatcher.
 * The only user of libxdp. The program is pinned as prog_IFINDEX, so that the next run knows which of an
 * interface's programs is ours. A new one is put beside the old one before that goes: no packet passes
 * unguarded. libxdp needs CAP_SYS_ADMIN to find programs by their ids. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "core/err.h"
#include "guard.skel.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define SECTION "xdp.frags"

/* libxdp 1.3.1 leaves descriptors of programs and dispatchers open. They would keep what was exchanged in
 * the kernel, and children would inherit them. What is open before libxdp is asked is noted, and what
 * it adds is closed behind it; the master has one thread, so nobody else's are among them. */
#define FDS_MAX 65536

struct open_fds {
	uint8_t *is_open; /* FDS_MAX of them; NULL: nothing is known, nothing will be closed */
};

static void each_fd(void (*fn)(void *arg, int fd), void *arg)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		int fd = e->d_name[0] == '.' ? -1 : atoi(e->d_name);

		if (fd >= 0 && fd < FDS_MAX && fd != dirfd(d))
			fn(arg, fd);
	}
	if (d)
		closedir(d);
}

static void mark_open(void *arg, int fd)
{
	struct open_fds *f = arg;

	f->is_open[fd] = 1;
}

static void close_if_new(void *arg, int fd)
{
	struct open_fds *f = arg;

	if (!f->is_open[fd])
		close(fd);
}

static void note_open(struct open_fds *f)
{
	f->is_open = calloc(FDS_MAX, 1);
	if (f->is_open)
		each_fd(mark_open, f);
}

/* KEPT (or -1) stays. */
static void close_new(struct open_fds *f, int kept)
{
	int saved = errno;

	if (f->is_open && kept >= 0 && kept < FDS_MAX)
		f->is_open[kept] = 1;
	if (f->is_open)
		each_fd(close_if_new, f);
	free(f->is_open);
	errno = saved;
}

static int quiet(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

static unsigned mode_flag(enum guard_mode mode)
{
	return mode == GUARD_MODE_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
}

/* libxdp pins what its dispatcher runs in a folder named after the dispatcher; an interface without it
 * has one program, or none. */
static bool has_dispatcher(unsigned ifindex, uint32_t attached_id)
{
	char path[64];

	snprintf(path, sizeof path, "/sys/fs/bpf/xdp/dispatch-%u-%u", ifindex, attached_id);
	return attached_id && access(path, F_OK) == 0;
}

/* libxdp gives pointers that may be errors, as libbpf once did. */
static struct xdp_multiprog *programs_of(unsigned ifindex)
{
	struct xdp_multiprog *mp;

	libxdp_set_print(quiet);
	mp = xdp_multiprog__get_from_ifindex((int)ifindex);
	return libxdp_get_error(mp) ? NULL : mp;
}

/* The program with ID of a dispatcher. Owned by MP. */
static struct xdp_program *find(const struct xdp_multiprog *mp, uint32_t id)
{
	struct xdp_program *p = NULL;

	while ((p = xdp_multiprog__next_prog(p, mp)))
		if (xdp_program__id(p) == id)
			return p;
	return NULL;
}

bool guard_libxdp_has(unsigned ifindex, uint32_t prog_id, enum guard_mode *mode)
{
	uint32_t attached_id = guard_attached_id(ifindex, mode);
	struct xdp_multiprog *mp;
	struct open_fds before;
	bool has;

	if (!has_dispatcher(ifindex, attached_id))
		return prog_id && attached_id == prog_id;
	note_open(&before);
	mp = programs_of(ifindex);
	has = mp && find(mp, prog_id);
	if (mp)
		xdp_multiprog__close(mp);
	close_new(&before, -1);
	return has;
}

static int detach_of_dispatcher(unsigned ifindex, uint32_t prog_id)
{
	struct xdp_multiprog *mp;
	struct xdp_program *p;
	struct open_fds before;
	int rc = -ENOENT;

	note_open(&before);
	mp = programs_of(ifindex);
	p = mp ? find(mp, prog_id) : NULL;
	if (p)
		rc = xdp_program__detach(p, (int)ifindex, xdp_multiprog__attach_mode(mp), 0);
	if (mp)
		xdp_multiprog__close(mp);
	close_new(&before, -1);
	return rc;
}

int guard_libxdp_detach(unsigned ifindex, int prog_fd)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, o, .old_prog_fd = prog_fd);
	enum guard_mode mode = GUARD_MODE_NATIVE;
	uint32_t attached_id = guard_attached_id(ifindex, &mode);
	int rc;

	if (has_dispatcher(ifindex, attached_id))
		rc = detach_of_dispatcher(ifindex, guard_prog_id(prog_fd));
	else
		rc = bpf_xdp_detach((int)ifindex, XDP_FLAGS_REPLACE | mode_flag(mode), &o);
	errno = -rc;
	return rc ? -SL_ESYS : 0;
}

/* A second object of the program, which libxdp loads as a part of its dispatcher, on the same maps. */
static struct guard_bpf *open_on_maps_of(const struct guard *g)
{
	struct guard_bpf *skel = guard_bpf__open();
	struct bpf_map *map, *ours;

	if (!skel)
		return NULL;
	bpf_object__for_each_map(map, skel->obj)
	{
		ours = bpf_object__find_map_by_name(g->skel->obj, bpf_map__name(map));
		if (!ours || bpf_map__set_max_entries(map, bpf_map__max_entries(ours)) ||
		    bpf_map__reuse_fd(map, bpf_map__fd(ours))) {
			guard_bpf__destroy(skel);
			return NULL;
		}
	}
	return skel;
}

static int load_and_attach(struct guard *g, unsigned ifindex, enum guard_mode mode,
			   unsigned priority, int *fd)
{
	struct guard_bpf *skel;
	struct open_fds before;
	struct xdp_program *p;
	int rc;

	note_open(&before);
	skel = open_on_maps_of(g);
	if (!skel) {
		close_new(&before, -1);
		return -ENOMEM;
	}
	libxdp_set_print(quiet);
	p = xdp_program__from_bpf_obj(skel->obj, SECTION);
	rc = (int)libxdp_get_error(p);
	if (!rc) {
		rc = xdp_program__set_run_prio(p, priority);
		if (!rc)
			rc = xdp_program__attach(
				p, (int)ifindex,
				mode == GUARD_MODE_GENERIC ? XDP_MODE_SKB : XDP_MODE_NATIVE, 0);
		if (!rc)
			*fd = dup(xdp_program__fd(p));
		xdp_program__close(p);
	}
	guard_bpf__destroy(skel);
	close_new(&before, *fd);
	return rc;
}

/* Without a dispatcher (this kernel has no freplace) the only program is exchanged in place. */
static int exchange_only(struct guard *g, unsigned ifindex, enum guard_mode mode, int old_fd,
			 int *fd)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, o, .old_prog_fd = old_fd);
	int rc = bpf_xdp_attach((int)ifindex, g->prog_fd, XDP_FLAGS_REPLACE | mode_flag(mode), &o);

	if (!rc)
		*fd = dup(g->prog_fd);
	return rc;
}

int guard_libxdp_attach(struct guard *g, unsigned ifindex, enum guard_mode mode, unsigned priority,
			int old_fd, int *fd, bool *is_shared)
{
	enum guard_mode ignored;
	uint32_t attached_id = guard_attached_id(ifindex, &ignored);
	bool is_only = attached_id && !has_dispatcher(ifindex, attached_id);
	int rc;

	*fd = -1;
	if (is_only && attached_id != guard_prog_id(old_fd))
		rc = -EBUSY;
	else if (is_only)
		rc = exchange_only(g, ifindex, mode, old_fd, fd);
	else
		rc = load_and_attach(g, ifindex, mode, priority, fd);
	if (!rc && old_fd >= 0 && !is_only && guard_libxdp_detach(ifindex, old_fd) &&
	    errno != ENOENT) {
		rc = -errno;
		guard_libxdp_detach(ifindex, *fd);
	}
	if (rc || *fd < 0) {
		if (*fd >= 0)
			close(*fd);
		errno = rc ? -rc : errno;
		return -SL_ESYS;
	}
	*is_shared = has_dispatcher(ifindex, guard_attached_id(ifindex, &ignored));
	return 0;
}
