/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the folder of pins: its mount, its lock, taking over the maps that an earlier run pinned, pinning
 * new ones, removing all. Maps lie in a folder named after their schema (v2), links beside it. What maps
 * of another layout held is carried over by guard_carry.c; links are guard_attach.c's. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "core/err.h"
#include "guard.skel.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define BPFFS_DIR "/sys/fs/bpf"

enum { LOCK_RETRIES = 20 };

static bool is_bpffs(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* The folder that PIN_DIR is in, into OUT. */
static int parent_of(const char *pin_dir, char out[GUARD_PATH_MAX])
{
	const char *slash = strrchr(pin_dir, '/');
	size_t n = slash ? (size_t)(slash - pin_dir) : 0;

	if (pin_dir[0] != '/' || !n || !slash[1] || strlen(pin_dir) >= GUARD_PATH_MAX)
		return -SL_EINVAL;
	memcpy(out, pin_dir, n);
	out[n] = '\0';
	return 0;
}

static int ensure_bpffs(const char *pin_dir, char *err, size_t err_size)
{
	char parent[GUARD_PATH_MAX];

	if (parent_of(pin_dir, parent))
		return guard_fail(-SL_EINVAL, err, err_size,
				  "the folder for pins must be an absolute path below " BPFFS_DIR
				  ", not \"%s\"",
				  pin_dir);
	if (is_bpffs(parent))
		return 0;
	if (strcmp(parent, BPFFS_DIR) != 0)
		return guard_fail(-SL_EINVAL, err, err_size,
				  access(parent, F_OK) ? "there is no folder %s for `pin_dir`"
						       : "%s is not on a BPF file system",
				  parent);
	if (mount("bpf", BPFFS_DIR, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0)
		return 0;
	return guard_fail(errno == EPERM ? -SL_EPERM : -SL_ESYS, err, err_size,
			  "cannot mount the BPF file system on " BPFFS_DIR
			  ": %s; mount it before sluice starts: mount -t bpf bpf " BPFFS_DIR,
			  strerror(errno));
}

/* Processes that a killed master had just made hold its lock until they see to it. */
static int lock_patiently(int fd)
{
	static const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	int r = flock(fd, LOCK_EX | LOCK_NB);

	for (int i = 0; r && errno == EWOULDBLOCK && i < LOCK_RETRIES; i++) {
		nanosleep(&pause, NULL);
		r = flock(fd, LOCK_EX | LOCK_NB);
	}
	return r;
}

/* Takes the folder if nobody else can write to it, and locks it. */
static int lock_pin_dir(struct guard *g, int inherited_fd, char *err, size_t err_size)
{
	struct stat st, theirs;

	g->dir_fd = open(g->pin_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (g->dir_fd < 0 || fstat(g->dir_fd, &st))
		return guard_fail(-SL_ESYS, err, err_size, "cannot open %s: %s", g->pin_dir,
				  strerror(errno));
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return guard_fail(-SL_EPERM, err, err_size,
				  "%s belongs to, or can be written by, somebody else: remove it",
				  g->pin_dir);
	/* The lock belongs to what fork() copied: with the old master's descriptor it is ours too. */
	if (inherited_fd > 0 && fstat(inherited_fd, &theirs) == 0 && theirs.st_ino == st.st_ino &&
	    theirs.st_dev == st.st_dev) {
		close(g->dir_fd);
		g->dir_fd = inherited_fd;
	}
	if (lock_patiently(g->dir_fd) == 0)
		return 0;
	return guard_fail(errno == EWOULDBLOCK ? -SL_EEXIST : -SL_ESYS, err, err_size,
			  errno == EWOULDBLOCK ? "another sluice is using %s: stop it first"
					       : "cannot lock %s",
			  g->pin_dir);
}

static int make_dir(const char *path, char *err, size_t err_size)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return guard_fail(errno == EACCES || errno == EPERM ? -SL_EPERM : -SL_ESYS, err, err_size,
			  "cannot make %s: %s", path, strerror(errno));
}

int guard_pins_open(struct guard *g, const char *pin_dir, int inherited_fd, char *err,
		    size_t err_size)
{
	int rc = ensure_bpffs(pin_dir, err, err_size);

	if (rc)
		return rc;
	snprintf(g->pin_dir, sizeof g->pin_dir, "%s", pin_dir);
	snprintf(g->map_dir, sizeof g->map_dir, "%s/v%d", pin_dir, GUARD_SCHEMA);
	rc = make_dir(g->pin_dir, err, err_size);
	if (!rc)
		rc = lock_pin_dir(g, inherited_fd, err, err_size);
	return rc ? rc : make_dir(g->map_dir, err, err_size);
}

struct bpf_map *guard_pins_map(const struct guard *g, enum guard_map map)
{
	return bpf_object__find_map_by_name(g->skel->obj, guard_maps_name(map));
}

void guard_pins_path(const char *dir, enum guard_map map, char out[GUARD_PIN_PATH_MAX])
{
	snprintf(out, GUARD_PIN_PATH_MAX, "%s/%s", dir, guard_maps_name(map));
}

static bool is_same_layout(int fd, const struct bpf_map *map)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof info;

	return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 &&
	       info.type == (uint32_t)bpf_map__type(map) &&
	       info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) &&
	       info.max_entries == bpf_map__max_entries(map) &&
	       info.map_flags == bpf_map__map_flags(map);
}

/* The pinned settings say which schema all the maps beside them have. */
static bool has_our_schema(int settings_fd)
{
	struct guard_settings set = {0};
	uint32_t zero = 0;

	return bpf_map_lookup_elem(settings_fd, &zero, &set) == 0 && set.schema == GUARD_SCHEMA;
}

/* Gives the skeleton the pinned maps that fit it. What does not fit stays pinned until the new maps
 * exist, so that a failed load loses nothing. */
int guard_pins_reuse(struct guard *g, char *err, size_t err_size)
{
	bool is_schema_ours = false;

	for (int i = GUARD_N_MAPS - 1; i >= 0; i--) {
		char path[GUARD_PIN_PATH_MAX];
		struct bpf_map *map = guard_pins_map(g, i);
		int fd, rc = 0;

		guard_pins_path(g->map_dir, i, path);
		fd = bpf_obj_get(path);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0)
			return guard_fail(-SL_ESYS, err, err_size,
					  "cannot open the pinned map %s: %s; remove %s", path,
					  strerror(errno), g->map_dir);
		g->is_kept[i] = is_same_layout(fd, map);
		if (i == GUARD_MAP_SETTINGS && g->is_kept[i])
			is_schema_ours = has_our_schema(fd);
		g->is_kept[i] = g->is_kept[i] && is_schema_ours;
		if (g->is_kept[i])
			rc = bpf_map__reuse_fd(map, fd);
		close(fd);
		if (rc)
			return guard_fail(-SL_ESYS, err, err_size, "cannot take over %s: %s", path,
					  strerror(-rc));
		if (g->is_kept[i])
			g->status.n_maps_kept++;
		else
			g->status.n_maps_replaced++;
	}
	return 0;
}

static void remove_maps(const char *dir)
{
	char path[GUARD_PIN_PATH_MAX];

	for (int i = 0; i < GUARD_N_MAPS; i++) {
		guard_pins_path(dir, i, path);
		unlink(path);
	}
}

static void remove_folder(void *arg, const char *dir)
{
	struct guard *g = arg;

	remove_maps(dir);
	if (strcmp(dir, g->pin_dir) != 0)
		rmdir(dir);
}

void guard_pins_each_other(struct guard *g, void (*fn)(void *arg, const char *dir), void *arg)
{
	DIR *dir = opendir(g->pin_dir);
	char path[GUARD_PIN_PATH_MAX];
	struct dirent *e;

	/* Schema 1 had no folder of its own. */
	fn(arg, g->pin_dir);
	while (dir && (e = readdir(dir))) {
		size_t n = strspn(e->d_name + 1, "0123456789");

		if (e->d_name[0] != 'v' || !n || n > 9 || e->d_name[1 + n])
			continue;
		snprintf(path, sizeof path, "%s/%.16s", g->pin_dir, e->d_name);
		if (strcmp(path, g->map_dir) != 0)
			fn(arg, path);
	}
	if (dir)
		closedir(dir);
}

/* The settings go last: their schema vouches for the others. */
int guard_pins_put(struct guard *g, char *err, size_t err_size)
{
	for (int i = 0; i < GUARD_N_MAPS; i++) {
		char path[GUARD_PIN_PATH_MAX];

		if (g->is_kept[i])
			continue;
		guard_pins_path(g->map_dir, i, path);
		if ((unlink(path) && errno != ENOENT) || bpf_obj_pin(g->maps.fd[i], path))
			return guard_fail(-SL_ESYS, err, err_size, "cannot pin %s: %s", path,
					  strerror(errno));
	}
	guard_pins_each_other(g, remove_folder, g);
	return 0;
}

void guard_pins_remove(struct guard *g)
{
	remove_maps(g->map_dir);
	rmdir(g->map_dir);
	rmdir(g->pin_dir);
}
