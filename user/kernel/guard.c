/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the life of the guard: the folder of pins and its lock, loading the program, taking over the
 * maps of an earlier run, and giving back descriptors or all of it. Interfaces are
 * guard_attach.c's. */
#include "kernel/guard.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/err.h"
#include "guard.skel.h"
#include "kernel/guard_impl.h"

#define BPFFS_DIR "/sys/fs/bpf"
#define VERIFIER_LOG_BYTES 65536

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

static bool is_bpffs(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

static int fail_load(int error, char *err, size_t err_size)
{
	if (error == EPERM || error == EACCES)
		return guard_fail(
			-SL_EPERM, err, err_size,
			"no permission to load XDP programs: run as root, or with CAP_BPF and "
			"CAP_NET_ADMIN");
	if (error == ENOSYS)
		return guard_fail(-SL_ESYS, err, err_size,
				  "this kernel has no BPF (CONFIG_BPF_SYSCALL is off)");
	if (error == EINVAL)
		return guard_fail(
			-SL_ESYS, err, err_size,
			"this kernel refuses XDP programs with fragments: it must be Linux 5.18 "
			"or newer");
	return guard_fail(-SL_ESYS, err, err_size, "cannot load an XDP program: %s",
			  strerror(error));
}

int guard_probe(char *err, size_t err_size)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_XDP_HAS_FRAGS);
	int fd;

	libbpf_set_print(quiet);
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "sluice_probe", "Dual BSD/GPL", pass, 2, &opts);
	if (fd < 0)
		return fail_load(errno, err, err_size);
	close(fd);
	return 0;
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
		return guard_fail(-SL_EINVAL, err, err_size, "%s is not on a BPF file system",
				  parent);
	if (mount("bpf", BPFFS_DIR, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0)
		return 0;
	return guard_fail(errno == EPERM ? -SL_EPERM : -SL_ESYS, err, err_size,
			  "cannot mount the BPF file system on " BPFFS_DIR
			  ": %s; mount it before sluice starts: mount -t bpf bpf " BPFFS_DIR,
			  strerror(errno));
}

/* Makes the folder, or takes it if nobody else can write to it, and locks it. */
static int lock_pin_dir(struct guard *g, int inherited_fd, char *err, size_t err_size)
{
	struct stat st, theirs;

	if (mkdir(g->pin_dir, 0700) && errno != EEXIST)
		return guard_fail(errno == EACCES || errno == EPERM ? -SL_EPERM : -SL_ESYS, err,
				  err_size, "cannot make %s: %s", g->pin_dir, strerror(errno));
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
	if (flock(g->dir_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return guard_fail(errno == EWOULDBLOCK ? -SL_EEXIST : -SL_ESYS, err, err_size,
			  errno == EWOULDBLOCK ? "another sluice is using %s: stop it first"
					       : "cannot lock %s",
			  g->pin_dir);
}

static struct bpf_map *map_of(const struct guard *g, enum guard_map map)
{
	return bpf_object__find_map_by_name(g->skel->obj, guard_maps_name(map));
}

static void pin_path(const struct guard *g, enum guard_map map, char out[GUARD_PATH_MAX + 32])
{
	snprintf(out, GUARD_PATH_MAX + 32, "%s/%s", g->pin_dir, guard_maps_name(map));
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

/* The pinned settings say which schema all the pinned maps have. */
static bool has_our_schema(int settings_fd)
{
	struct guard_settings set = {0};
	uint32_t zero = 0;

	return bpf_map_lookup_elem(settings_fd, &zero, &set) == 0 && set.schema == GUARD_SCHEMA;
}

/* Gives the skeleton the pinned maps that fit it. What does not fit stays pinned until the new maps
 * exist, so that a failed load loses nothing. */
static int reuse_maps(struct guard *g, bool is_kept[GUARD_N_MAPS], char *err, size_t err_size)
{
	bool is_schema_ours = false;

	for (int i = GUARD_N_MAPS - 1; i >= 0; i--) {
		char path[GUARD_PATH_MAX + 32];
		struct bpf_map *map = map_of(g, i);
		int fd, rc = 0;

		pin_path(g, i, path);
		fd = bpf_obj_get(path);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0)
			return guard_fail(-SL_ESYS, err, err_size,
					  "cannot open the pinned map %s: %s; remove %s", path,
					  strerror(errno), g->pin_dir);
		is_kept[i] = is_same_layout(fd, map);
		if (i == GUARD_MAP_SETTINGS && is_kept[i])
			is_schema_ours = has_our_schema(fd);
		is_kept[i] = is_kept[i] && is_schema_ours;
		if (is_kept[i])
			rc = bpf_map__reuse_fd(map, fd);
		close(fd);
		if (rc)
			return guard_fail(-SL_ESYS, err, err_size, "cannot take over %s: %s", path,
					  strerror(-rc));
		if (is_kept[i])
			g->status.n_maps_kept++;
		else
			g->status.n_maps_replaced++;
	}
	return 0;
}

/* The settings go last: their schema vouches for the others. */
static int pin_maps(struct guard *g, const bool is_kept[GUARD_N_MAPS], char *err, size_t err_size)
{
	for (int i = 0; i < GUARD_N_MAPS; i++) {
		char path[GUARD_PATH_MAX + 32];

		if (is_kept[i])
			continue;
		pin_path(g, i, path);
		if ((unlink(path) && errno != ENOENT) || bpf_obj_pin(g->maps.fd[i], path))
			return guard_fail(-SL_ESYS, err, err_size, "cannot pin %s: %s", path,
					  strerror(errno));
	}
	return 0;
}

/* Settings that the last run left stay as they are; the LPM maps may be new and empty nevertheless,
 * which a count that is too high only makes slower. */
static int init_settings(struct guard *g, bool is_kept)
{
	const struct guard_settings set = {.schema = GUARD_SCHEMA, .count_sources = 1};

	return is_kept ? 0 : guard_maps_set_settings(&g->maps, &set);
}

/* The last line of the verifier's log that says something, for the error. */
static const char *verifier_says(char *log)
{
	char *end = log + strlen(log);

	while (end > log) {
		char *line;

		while (end > log && end[-1] == '\n')
			*--end = '\0';
		line = strrchr(log, '\n');
		line = line ? line + 1 : log;
		if (strncmp(line, "processed ", 10) != 0)
			return line;
		end = line;
	}
	return "";
}

static int load(struct guard *g, char *log, char *err, size_t err_size)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;
	int rc = guard_bpf__load(g->skel);

	if (rc == -EPERM)
		return fail_load(EPERM, err, err_size);
	if (rc)
		return guard_fail(-SL_ESYS, err, err_size, "the kernel refused the guard: %s%s%s",
				  strerror(-rc), log[0] ? ": " : "", verifier_says(log));
	g->prog_fd = bpf_program__fd(g->skel->progs.sluice_guard);
	for (int i = 0; i < GUARD_N_MAPS; i++)
		g->maps.fd[i] = bpf_map__fd(map_of(g, i));
	if (bpf_obj_get_info_by_fd(g->prog_fd, &info, &len))
		return guard_fail(-SL_ESYS, err, err_size, "cannot read the program's id: %s",
				  strerror(errno));
	g->prog_id = info.id;
	return 0;
}

static int open_and_load(struct guard *g, const struct guard_options *options, char *log, char *err,
			 size_t err_size)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_buf = log,
		    .kernel_log_size = VERIFIER_LOG_BYTES);
	bool is_kept[GUARD_N_MAPS] = {false};
	uint32_t deny_max = options && options->deny_max ? options->deny_max : GUARD_DENY_MAX;
	int rc;

	g->skel = guard_bpf__open_opts(&opts);
	if (!g->skel)
		return guard_fail(-SL_ESYS, err, err_size, "cannot prepare the guard: %s",
				  strerror(errno));
	g->maps.n_cpus = libbpf_num_possible_cpus();
	if (g->maps.n_cpus < 1)
		return guard_fail(-SL_ESYS, err, err_size, "cannot count the CPUs: %s",
				  strerror(-g->maps.n_cpus));
	if (bpf_map__set_max_entries(g->skel->maps.deny_v4, deny_max) ||
	    bpf_map__set_max_entries(g->skel->maps.deny_v6, deny_max))
		return guard_fail(-SL_EINVAL, err, err_size, "cannot size the maps of bans");
	rc = reuse_maps(g, is_kept, err, err_size);
	if (!rc)
		rc = load(g, log, err, err_size);
	if (rc)
		return rc;
	if (init_settings(g, is_kept[GUARD_MAP_SETTINGS]))
		return guard_fail(-SL_ESYS, err, err_size, "cannot write the settings: %s",
				  strerror(errno));
	return pin_maps(g, is_kept, err, err_size);
}

static void release(struct guard *g)
{
	guard_attach_close_all(g);
	guard_bpf__destroy(g->skel);
	if (g->dir_fd >= 0)
		close(g->dir_fd);
	free(g);
}

int guard_open(struct guard **out, const struct guard_options *options, char *err, size_t err_size)
{
	const char *pin_dir = options && options->pin_dir ? options->pin_dir : GUARD_PIN_DIR;
	struct guard *g;
	char *log;
	int rc;

	*out = NULL;
	rc = guard_probe(err, err_size);
	if (rc)
		return rc;
	g = calloc(1, sizeof *g);
	log = calloc(1, VERIFIER_LOG_BYTES);
	if (!g || !log) {
		free(g);
		free(log);
		return guard_fail(-SL_ENOMEM, err, err_size, "no memory for the guard");
	}
	g->dir_fd = -1;
	rc = ensure_bpffs(pin_dir, err, err_size);
	if (!rc) {
		snprintf(g->pin_dir, sizeof g->pin_dir, "%s", pin_dir);
		rc = lock_pin_dir(g, options ? options->lock_fd : -1, err, err_size);
	}
	if (!rc)
		rc = open_and_load(g, options, log, err, err_size);
	free(log);
	if (rc) {
		int saved = errno;

		/* A folder without a pin is of no use to anyone; one with pins refuses. */
		if (g->dir_fd >= 0 && rc != -SL_EEXIST)
			rmdir(g->pin_dir);
		release(g);
		errno = saved;
		return rc;
	}
	guard_attach_adopt(g);
	*out = g;
	return 0;
}

int guard_lock_fd(const struct guard *g)
{
	return g->dir_fd;
}

const struct guard_status *guard_status(const struct guard *g)
{
	return &g->status;
}

const struct guard_maps *guard_maps(const struct guard *g)
{
	return &g->maps;
}

void guard_close(struct guard *g, enum guard_close_how how)
{
	if (!g)
		return;
	if (how != GUARD_CLOSE_KEEP)
		guard_attach_drop_all(g);
	if (how == GUARD_CLOSE_REMOVE) {
		for (int i = 0; i < GUARD_N_MAPS; i++) {
			char path[GUARD_PATH_MAX + 32];

			pin_path(g, i, path);
			unlink(path);
		}
		rmdir(g->pin_dir);
	}
	release(g);
}

void guard_close_in_child(struct guard *g)
{
	if (g)
		release(g);
}
