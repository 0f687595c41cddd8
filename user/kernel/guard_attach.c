/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the guard's hold on interfaces: one pinned bpf_link for each, named link_IFINDEX (bpffs has
 * no names with a dot, which VLAN interfaces have), or with libxdp the pinned program, prog_IFINDEX. A
 * link is exchanged in place whenever that can be; somebody else's program is never touched, only named. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define LINK_PREFIX "link_"
#define PROG_PREFIX "prog_"

const char *guard_attach_mode_name(enum guard_mode mode)
{
	return mode == GUARD_MODE_NATIVE    ? "native"
	       : mode == GUARD_MODE_GENERIC ? "generic"
					    : "auto";
}

static void pin_path(const struct guard *g, unsigned ifindex, bool is_libxdp,
		     char out[GUARD_PIN_PATH_MAX])
{
	snprintf(out, GUARD_PIN_PATH_MAX, "%s/%s%u", g->pin_dir,
		 is_libxdp ? PROG_PREFIX : LINK_PREFIX, ifindex);
}

uint32_t guard_prog_id(int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;

	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0 ? info.id : 0;
}

static int link_info(int fd, struct bpf_link_info *info)
{
	uint32_t len = sizeof *info;

	memset(info, 0, sizeof *info);
	return bpf_obj_get_info_by_fd(fd, info, &len) || info->type != BPF_LINK_TYPE_XDP ? -SL_ESYS
											 : 0;
}

uint32_t guard_attached_id(unsigned ifindex, enum guard_mode *mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	if (bpf_xdp_query((int)ifindex, 0, &q))
		return 0;
	*mode = q.attach_mode == XDP_ATTACHED_SKB ? GUARD_MODE_GENERIC : GUARD_MODE_NATIVE;
	return q.prog_id ? q.prog_id : q.drv_prog_id ? q.drv_prog_id : q.skb_prog_id;
}

/* Detaches even while another process still holds a descriptor of the link. */
static void link_drop(struct guard *g, size_t at)
{
	const struct guard_attachment *a = &g->links[at];
	char path[GUARD_PIN_PATH_MAX];

	if (a->is_libxdp)
		guard_libxdp_detach(a->ifindex, g->link_fds[at]);
	else
		bpf_link_detach(g->link_fds[at]);
	pin_path(g, a->ifindex, a->is_libxdp, path);
	unlink(path);
	close(g->link_fds[at]);
	g->n_links--;
	g->links[at] = g->links[g->n_links];
	g->link_fds[at] = g->link_fds[g->n_links];
}

void guard_attach_drop_all(struct guard *g)
{
	while (g->n_links)
		link_drop(g, g->n_links - 1);
}

void guard_attach_close_all(struct guard *g)
{
	while (g->n_links)
		close(g->link_fds[--g->n_links]);
}

/* The interface is gone when the kernel has cut the link off it. */
static bool is_dead(const struct guard *g, size_t at)
{
	struct bpf_link_info info;
	char ifname[IF_NAMESIZE];

	if (g->links[at].is_libxdp)
		return !if_indextoname(g->links[at].ifindex, ifname);
	return link_info(g->link_fds[at], &info) || info.xdp.ifindex != g->links[at].ifindex;
}

static void drop_dead(struct guard *g)
{
	for (size_t i = g->n_links; i-- > 0;)
		if (is_dead(g, i))
			link_drop(g, i);
}

static size_t find_link(const struct guard *g, unsigned ifindex)
{
	size_t i = 0;

	while (i < g->n_links && g->links[i].ifindex != ifindex)
		i++;
	return i;
}

bool guard_attach_holds(const struct guard *g, unsigned ifindex)
{
	size_t at = find_link(g, ifindex);

	return at < g->n_links && !is_dead(g, at);
}

static struct guard_attachment *link_keep(struct guard *g, int fd, unsigned ifindex,
					  const char *ifname, enum guard_mode mode)
{
	struct guard_attachment *a = &g->links[g->n_links];

	memset(a, 0, sizeof *a);
	a->ifindex = ifindex;
	a->mode = mode;
	snprintf(a->ifname, sizeof a->ifname, "%s", ifname);
	g->link_fds[g->n_links++] = fd;
	return a;
}

/* One pinned link: kept when it is what guards an interface that we see, removed otherwise (the
 * interface is gone, or was in another network namespace). */
static void adopt_one(struct guard *g, const char *path)
{
	char ifname[IF_NAMESIZE];
	struct bpf_link_info info;
	enum guard_mode mode;
	int fd = bpf_obj_get(path);

	if (fd >= 0 && g->n_links < GUARD_INTERFACES_MAX && link_info(fd, &info) == 0 &&
	    info.xdp.ifindex && if_indextoname(info.xdp.ifindex, ifname) &&
	    guard_attached_id(info.xdp.ifindex, &mode) == info.prog_id) {
		link_keep(g, fd, info.xdp.ifindex, ifname, mode);
		g->status.n_links_kept++;
		return;
	}
	if (fd >= 0) {
		bpf_link_detach(fd);
		close(fd);
	}
	unlink(path);
	g->status.n_links_removed++;
}

/* One pinned program that was attached through libxdp, likewise. */
static void adopt_prog(struct guard *g, const char *path, unsigned ifindex)
{
	char ifname[IF_NAMESIZE];
	enum guard_mode mode;
	int fd = bpf_obj_get(path);

	if (fd >= 0 && g->n_links < GUARD_INTERFACES_MAX && if_indextoname(ifindex, ifname) &&
	    guard_libxdp_has(ifindex, guard_prog_id(fd), &mode)) {
		link_keep(g, fd, ifindex, ifname, mode)->is_libxdp = true;
		g->status.n_links_kept++;
		return;
	}
	if (fd >= 0)
		close(fd);
	unlink(path);
	g->status.n_links_removed++;
}

void guard_attach_adopt(struct guard *g)
{
	DIR *dir = opendir(g->pin_dir);
	struct dirent *e;

	if (!dir)
		return;
	while ((e = readdir(dir))) {
		char path[GUARD_PIN_PATH_MAX];
		unsigned ifindex;

		snprintf(path, sizeof path, "%s/%.31s", g->pin_dir, e->d_name);
		if (sscanf(e->d_name, LINK_PREFIX "%u", &ifindex) == 1)
			adopt_one(g, path);
		else if (sscanf(e->d_name, PROG_PREFIX "%u", &ifindex) == 1)
			adopt_prog(g, path, ifindex);
	}
	closedir(dir);
}

/* "driver "veth", MTU 1500", for the text of a refusal. */
static void describe_interface(const char *ifname, char *out, size_t out_size)
{
	struct ethtool_drvinfo drv = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq ifr = {0};
	int mtu = 0, s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s >= 0) {
		snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", ifname);
		if (ioctl(s, SIOCGIFMTU, &ifr) == 0)
			mtu = ifr.ifr_mtu;
		ifr.ifr_data = (void *)&drv;
		if (ioctl(s, SIOCETHTOOL, &ifr) != 0)
			drv.driver[0] = '\0';
		close(s);
	}
	snprintf(out, out_size, "driver \"%.31s\", MTU %d", drv.driver[0] ? drv.driver : "none",
		 mtu);
}

/* The id of the link that holds a program on an interface; 0 when it was attached without a link,
 * or when we may not look (CAP_SYS_ADMIN). */
static uint32_t holding_link(unsigned ifindex, uint32_t prog_id)
{
	uint32_t id = 0;

	while (bpf_link_get_next_id(id, &id) == 0) {
		struct bpf_link_info info;
		int fd = bpf_link_get_fd_by_id(id);
		bool is_it;

		if (fd < 0)
			continue;
		is_it = link_info(fd, &info) == 0 && info.xdp.ifindex == ifindex &&
			info.prog_id == prog_id;
		close(fd);
		if (is_it)
			return id;
	}
	return 0;
}

static void prog_name(uint32_t prog_id, char out[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;
	int fd = bpf_prog_get_fd_by_id(prog_id);

	out[0] = '\0';
	if (fd < 0)
		return;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0)
		memcpy(out, info.name, BPF_OBJ_NAME_LEN);
	close(fd);
}

static int fail_busy(const char *ifname, unsigned ifindex, char *err, size_t err_size)
{
	enum guard_mode mode = GUARD_MODE_NATIVE;
	uint32_t prog_id = guard_attached_id(ifindex, &mode);
	uint32_t link_id = holding_link(ifindex, prog_id);
	char name[BPF_OBJ_NAME_LEN], how[64];

	prog_name(prog_id, name);
	if (link_id)
		snprintf(how, sizeof how, "bpftool link detach id %u", link_id);
	else
		snprintf(how, sizeof how, "ip link set dev %s xdp off", ifname);
	return guard_fail(
		-SL_EEXIST, err, err_size,
		"interface \"%s\" already runs the XDP program \"%s\" (id %u, %s); stop who "
		"attached it, or take it off: %s",
		ifname, name[0] ? name : "?", prog_id, guard_attach_mode_name(mode), how);
}

/* A new link, pinned; returns its descriptor, or -1 with errno. */
static int link_create(struct guard *g, unsigned ifindex, enum guard_mode mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = mode == GUARD_MODE_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	char path[GUARD_PIN_PATH_MAX];
	int saved, fd = bpf_link_create(g->prog_fd, (int)ifindex, BPF_XDP, &opts);

	if (fd < 0)
		return -1;
	pin_path(g, ifindex, false, path);
	if ((unlink(path) == 0 || errno == ENOENT) && bpf_obj_pin(fd, path) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static bool is_busy(int error)
{
	/* EEXIST: native and generic cannot be on one interface at once. */
	return error == EBUSY || error == EEXIST;
}

static int fail_create(const char *ifname, unsigned ifindex, enum guard_mode mode, char *err,
		       size_t err_size)
{
	int error = errno;
	char about[64];

	if (is_busy(error))
		return fail_busy(ifname, ifindex, err, err_size);
	if (error == EPERM)
		return guard_fail(
			-SL_EPERM, err, err_size,
			"no permission to attach XDP to \"%s\": CAP_BPF and CAP_NET_ADMIN are "
			"needed",
			ifname);
	describe_interface(ifname, about, sizeof about);
	errno = error;
	return guard_fail(-SL_ESYS, err, err_size, "%s XDP is refused on \"%s\" (%s): %s%s",
			  guard_attach_mode_name(mode), ifname, about, strerror(error),
			  mode == GUARD_MODE_NATIVE ? "; \"mode auto\" falls back to generic" : "");
}

static int attach_new(struct guard *g, const char *ifname, unsigned ifindex, enum guard_mode mode,
		      char *err, size_t err_size)
{
	enum guard_mode first = mode == GUARD_MODE_AUTO ? GUARD_MODE_NATIVE : mode;
	char about[64], reason[160] = "";
	int fd;

	if (g->n_links == GUARD_INTERFACES_MAX)
		return guard_fail(-SL_ELIMIT, err, err_size, "more than %d interfaces",
				  GUARD_INTERFACES_MAX);
	fd = link_create(g, ifindex, first);
	if (fd < 0 && mode == GUARD_MODE_AUTO && !is_busy(errno) && errno != EPERM) {
		int error = errno;

		describe_interface(ifname, about, sizeof about);
		snprintf(reason, sizeof reason, "native XDP is refused (%s): %s", about,
			 strerror(error));
		first = GUARD_MODE_GENERIC;
		fd = link_create(g, ifindex, first);
	}
	if (fd < 0)
		return fail_create(ifname, ifindex, first, err, err_size);
	link_keep(g, fd, ifindex, ifname, first);
	memcpy(g->links[g->n_links - 1].reason, reason, sizeof reason);
	return 0;
}

/* In place: the link keeps its interface, its mode and its pin. */
static int exchange(struct guard *g, size_t at, char *err, size_t err_size)
{
	struct bpf_link_info info;

	g->links[at].is_takeover = true;
	if (link_info(g->link_fds[at], &info) == 0 && info.prog_id == g->prog_id)
		return 0;
	if (bpf_link_update(g->link_fds[at], g->prog_fd, NULL) == 0)
		return 0;
	return guard_fail(errno == EPERM ? -SL_EPERM : -SL_ESYS, err, err_size,
			  "cannot exchange the guard on \"%s\", the earlier one stays: %s",
			  g->links[at].ifname, strerror(errno));
}

static int change_mode(struct guard *g, size_t at, enum guard_mode mode, char *err, size_t err_size)
{
	const struct guard_attachment before = g->links[at];
	char ignored[GUARD_ERR_MAX];
	int saved, rc;

	link_drop(g, at);
	rc = attach_new(g, before.ifname, before.ifindex, mode, err, err_size);
	if (!rc)
		return 0;
	saved = errno;
	attach_new(g, before.ifname, before.ifindex, before.mode, ignored, sizeof ignored);
	errno = saved;
	return rc;
}

static int find_interface(struct guard *g, const char *ifname, unsigned *ifindex, size_t *at,
			  char *err, size_t err_size)
{
	*ifindex = if_nametoindex(ifname);
	drop_dead(g);
	if (!*ifindex)
		return guard_fail(
			-SL_ENOTFOUND, err, err_size,
			"there is no interface \"%s\": ip link shows those that there are", ifname);
	*at = find_link(g, *ifindex);
	/* It may have been renamed since. */
	if (*at < g->n_links)
		snprintf(g->links[*at].ifname, sizeof g->links[*at].ifname, "%s", ifname);
	return 0;
}

int guard_attach(struct guard *g, const char *ifname, enum guard_mode mode,
		 struct guard_attachment *out, char *err, size_t err_size)
{
	unsigned ifindex;
	size_t at;
	int rc = find_interface(g, ifname, &ifindex, &at, err, err_size);

	if (rc)
		return rc;
	if (at < g->n_links && g->links[at].is_libxdp) {
		link_drop(g, at);
		at = g->n_links;
	}
	if (at == g->n_links)
		rc = attach_new(g, ifname, ifindex, mode, err, err_size);
	else if (mode == GUARD_MODE_AUTO || mode == g->links[at].mode)
		rc = exchange(g, at, err, err_size);
	else
		rc = change_mode(g, at, mode, err, err_size);
	if (!rc && out)
		*out = g->links[find_link(g, ifindex)];
	return rc;
}

static int fail_share(const char *ifname, unsigned ifindex, enum guard_mode mode, char *err,
		      size_t err_size)
{
	if (errno == EPERM)
		return guard_fail(-SL_EPERM, err, err_size,
				  "no permission to attach to \"%s\" through libxdp: it needs "
				  "CAP_SYS_ADMIN, which the master keeps when it starts with "
				  "`attach libxdp`: restart it",
				  ifname);
	return fail_create(ifname, ifindex, mode, err, err_size);
}

/* Puts the guard on an interface through libxdp, in the place of the program in OLD_FD (-1: none), and
 * pins it; returns its descriptor or -SL_E.... A->mode is what is wanted, and then what is in use. */
static int share(struct guard *g, struct guard_attachment *a, int old_fd, char *err,
		 size_t err_size)
{
	enum guard_mode wanted = a->mode;
	char path[GUARD_PIN_PATH_MAX], about[64];
	int fd, rc;

	a->mode = wanted == GUARD_MODE_AUTO ? GUARD_MODE_NATIVE : wanted;
	rc = guard_libxdp_attach(g, a->ifindex, a->mode, a->priority, old_fd, &fd, &a->is_shared);
	if (rc && wanted == GUARD_MODE_AUTO && !is_busy(errno) && errno != EPERM) {
		int error = errno;

		describe_interface(a->ifname, about, sizeof about);
		snprintf(a->reason, sizeof a->reason, "native XDP is refused (%s): %s", about,
			 strerror(error));
		a->mode = GUARD_MODE_GENERIC;
		rc = guard_libxdp_attach(g, a->ifindex, a->mode, a->priority, old_fd, &fd,
					 &a->is_shared);
	}
	if (rc)
		return fail_share(a->ifname, a->ifindex, a->mode, err, err_size);
	pin_path(g, a->ifindex, true, path);
	if ((unlink(path) == 0 || errno == ENOENT) && bpf_obj_pin(fd, path) == 0)
		return fd;
	rc = guard_fail(-SL_ESYS, err, err_size, "cannot pin %s: %s", path, strerror(errno));
	guard_libxdp_detach(a->ifindex, fd);
	close(fd);
	return rc;
}

int guard_attach_share(struct guard *g, const char *ifname, enum guard_mode mode, unsigned priority,
		       struct guard_attachment *out, char *err, size_t err_size)
{
	struct guard_attachment a = {.is_libxdp = true, .is_current = true, .priority = priority};
	int fd, old_fd = -1;
	size_t at;
	int rc = find_interface(g, ifname, &a.ifindex, &at, err, err_size);

	if (rc)
		return rc;
	if (at < g->n_links &&
	    (!g->links[at].is_libxdp || (mode != GUARD_MODE_AUTO && mode != g->links[at].mode))) {
		link_drop(g, at);
		at = g->n_links;
	}
	if (at == g->n_links && g->n_links == GUARD_INTERFACES_MAX)
		return guard_fail(-SL_ELIMIT, err, err_size, "more than %d interfaces",
				  GUARD_INTERFACES_MAX);
	if (at == g->n_links || !g->links[at].is_current || g->links[at].priority != priority) {
		snprintf(a.ifname, sizeof a.ifname, "%s", ifname);
		a.mode = at < g->n_links && mode == GUARD_MODE_AUTO ? g->links[at].mode : mode;
		a.is_takeover = at < g->n_links;
		old_fd = at < g->n_links ? g->link_fds[at] : -1;
		fd = share(g, &a, old_fd, err, err_size);
		if (fd < 0)
			return fd;
		if (old_fd >= 0)
			close(old_fd);
		else
			g->n_links++;
		g->links[at] = a;
		g->link_fds[at] = fd;
	}
	if (out)
		*out = g->links[at];
	return 0;
}

static bool is_named(const char *ifname, const char *const *names, size_t n_names)
{
	for (size_t i = 0; i < n_names; i++)
		if (strcmp(ifname, names[i]) == 0)
			return true;
	return false;
}

unsigned guard_attach_only(struct guard *g, const char *const *names, size_t n_names)
{
	unsigned n_dropped = 0;

	for (size_t i = g->n_links; i-- > 0;) {
		char now[IF_NAMESIZE];

		if (if_indextoname(g->links[i].ifindex, now) && is_named(now, names, n_names))
			continue;
		link_drop(g, i);
		n_dropped++;
	}
	return n_dropped;
}

size_t guard_attach_list(const struct guard *g, const struct guard_attachment **out)
{
	*out = g->links;
	return g->n_links;
}
