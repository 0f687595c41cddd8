/* SPDX-License-Identifier: BSD-2-Clause */
/* Directives of the main block and of events (module MOD_CORE). */
#ifndef SL_MASTER_CORE_CONF_H
#define SL_MASTER_CORE_CONF_H

#include <sys/types.h>

#include "conf/conf.h"

extern const struct conf_module core_module;

struct core_env {
	struct core_env *next;
	const char *name, *value; /* value NULL: as the environment has it */
};

enum { CORE_CPUS_MAX = 1024 };

struct core_cpus {
	uint64_t bits[CORE_CPUS_MAX / 64];
};

/* `worker_cpu_affinity`. */
struct core_affinity {
	bool is_auto; /* with at most one mask */
	int n;
	struct core_cpus *masks; /* the last one is for all workers that are left */
};

struct core_conf { /* MOD_CORE's struct in main and in events */
	/* main */
	bool has_user;
	uid_t uid;
	gid_t gid;
	const char *user_cstr;
	int64_t worker_processes;	    /* 0: as many as CPUs */
	int64_t worker_rlimit_nofile;	    /* 0: leave it */
	int64_t worker_shutdown_timeout_ms; /* 0: none */
	int64_t daemon, master_process;
	int64_t seccomp; /* enum confine_mode */
	int64_t pcre_jit, regex_match_limit;
	struct slice pid; /* NUL-terminated absolute path */
	struct core_env *env;
	struct core_affinity *affinity; /* NULL: wherever the system likes */
	const struct conf_node *user_node;
	/* events */
	int64_t worker_connections, multi_accept, use;
};

/* worker_processes, with "auto" and `master_process off` resolved. */
unsigned core_conf_n_workers(const struct core_conf *c);
const struct core_conf *core_conf_main(const struct conf *c);
/* The events block; never NULL: a file without one gets the defaults. */
const struct core_conf *core_conf_events(const struct conf *c);

#endif
