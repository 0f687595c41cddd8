/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns `attach libxdp`: the guard as one of several programs of an interface, behind libxdp's dispatcher.
 * The only user of libxdp. The program is pinned as prog_IFINDEX, so that the next run knows which of an
 * interface's programs is ours. A new one is put beside the old one before that goes: no packet passes
 * unguarded. libxdp needs CAP_SYS_ADMIN to find programs by their ids. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <string.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "core/err.h"
#include "guard.skel.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define SECTION "xdp.frags"

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
 * has one program, or none. (Asking libxdp itself leaves a descriptor open for each program without a
 * dispatcher, in 1.3.1.) */
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
	bool has;

	if (!has_dispatcher(ifindex, attached_id))
		return prog_id && attached_id == prog_id;
	mp = programs_of(ifindex);
	has = mp && find(mp, prog_id);
	if (mp)
		xdp_multiprog__close(mp);
	return has;
}

static int detach_of_dispatcher(unsigned ifindex, uint32_t prog_id)
{
	struct xdp_multiprog *mp = programs_of(ifindex);
	struct xdp_program *p = mp ? find(mp, prog_id) : NULL;
	int rc = -ENOENT;

	if (p)
		rc = xdp_program__detach(p, (int)ifindex, xdp_multiprog__attach_mode(mp), 0);
	if (mp)
		xdp_multiprog__close(mp);
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

static int attach_as(struct xdp_program *p, unsigned ifindex, enum guard_mode mode)
{
	int rc = xdp_program__attach(
		p, (int)ifindex, mode == GUARD_MODE_GENERIC ? XDP_MODE_SKB : XDP_MODE_NATIVE, 0);

	errno = -rc;
	return rc;
}

static int load_and_attach(struct guard *g, unsigned ifindex, enum guard_mode mode,
			   unsigned priority, int *fd)
{
	struct guard_bpf *skel = open_on_maps_of(g);
	struct xdp_program *p;
	int rc;

	if (!skel)
		return -ENOMEM;
	libxdp_set_print(quiet);
	p = xdp_program__from_bpf_obj(skel->obj, SECTION);
	rc = (int)libxdp_get_error(p);
	if (!rc) {
		rc = xdp_program__set_run_prio(p, priority);
		if (!rc)
			rc = attach_as(p, ifindex, mode);
		if (!rc)
			*fd = dup(xdp_program__fd(p));
		xdp_program__close(p);
	}
	guard_bpf__destroy(skel);
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
