/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the life of the guard: loading the program, and giving back descriptors or all of it. Pins are
 * guard_pins.c's, interfaces guard_attach.c's. */
#include "kernel/guard.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/hash.h"
#include "guard.skel.h"
#include "kernel/guard_impl.h"

#define VERIFIER_LOG_BYTES 65536

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

static int fail_load(int error, char *err, size_t err_size)
{
	if (error == EPERM || error == EACCES)
		return guard_fail(
			-SL_EPERM, err, err_size,
			"no permission to load XDP programs: run as root, or with CAP_BPF, "
			"CAP_NET_ADMIN and CAP_PERFMON");
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
	/* The difference of two pointers into the packet takes CAP_PERFMON. */
	static const struct bpf_insn pass[] = {
		{.code = BPF_LDX | BPF_W | BPF_MEM,
		 .dst_reg = 2,
		 .src_reg = 1,
		 .off = offsetof(struct xdp_md, data_end)},
		{.code = BPF_LDX | BPF_W | BPF_MEM,
		 .dst_reg = 3,
		 .src_reg = 1,
		 .off = offsetof(struct xdp_md, data)},
		{.code = BPF_ALU64 | BPF_SUB | BPF_X, .dst_reg = 2, .src_reg = 3},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_XDP_HAS_FRAGS);
	int fd;

	libbpf_set_print(quiet);
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "sluice_probe", "Dual BSD/GPL", pass,
			   sizeof pass / sizeof pass[0], &opts);
	if (fd < 0)
		return fail_load(errno, err, err_size);
	close(fd);
	return 0;
}

/* Settings that the last run left stay as they are. The counts of the LPM maps never say less than
 * these hold, wherever their content comes from. */
static int init_settings(struct guard *g)
{
	struct guard_settings set = {.schema = GUARD_SCHEMA, .count_sources = 1, .v6_prefix = 128};
	int rc;

	set.seed = hash_random_seed();
	if (g->is_kept[GUARD_MAP_SETTINGS] && guard_maps_get_settings(&g->maps, &set))
		return -SL_ESYS;
	rc = guard_nets_count(&g->maps, &set);
	return rc ? rc : guard_maps_set_settings(&g->maps, &set);
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
		g->maps.fd[i] = bpf_map__fd(guard_pins_map(g, i));
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
	g->is_rehearsal = options && options->is_rehearsal;
	g->skel->rodata->is_rehearsal = g->is_rehearsal;
	rc = g->is_rehearsal ? 0 : guard_pins_reuse(g, err, err_size);
	if (!rc)
		rc = load(g, log, err, err_size);
	if (rc)
		return rc;
	if (!g->is_rehearsal)
		guard_carry_all(g);
	if (init_settings(g))
		return guard_fail(-SL_ESYS, err, err_size, "cannot write the settings: %s",
				  strerror(errno));
	if (guard_filter_open(&g->maps) || guard_good_open(g))
		return guard_fail(-SL_ESYS, err, err_size, "cannot map the filters: %s",
				  strerror(errno));
	return g->is_rehearsal ? 0 : guard_pins_put(g, err, err_size);
}

static void release(struct guard *g)
{
	guard_attach_close_all(g);
	guard_filter_close(&g->maps);
	guard_good_close(g);
	guard_bpf__destroy(g->skel);
	if (g->dir_fd >= 0)
		close(g->dir_fd);
	free(g);
}

int guard_open(struct guard **out, const struct guard_options *options, char *err, size_t err_size)
{
	bool is_rehearsal = options && options->is_rehearsal;
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
	if (!is_rehearsal)
		rc = guard_pins_open(g, pin_dir, options ? options->lock_fd : -1, err, err_size);
	if (!rc)
		rc = open_and_load(g, options, log, err, err_size);
	free(log);
	if (rc) {
		int saved = errno;

		/* A folder without a pin is of no use to anyone; one with pins refuses. */
		if (g->dir_fd >= 0 && rc != -SL_EEXIST) {
			rmdir(g->map_dir);
			rmdir(g->pin_dir);
		}
		release(g);
		errno = saved;
		return rc;
	}
	if (!is_rehearsal)
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
	if (g->is_rehearsal)
		how = GUARD_CLOSE_KEEP;
	if (how != GUARD_CLOSE_KEEP)
		guard_attach_drop_all(g);
	if (how == GUARD_CLOSE_REMOVE)
		guard_pins_remove(g);
	release(g);
}

void guard_close_in_child(struct guard *g)
{
	if (g)
		release(g);
}
