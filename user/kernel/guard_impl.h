/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of user/kernel share and nobody else sees. */
#ifndef SL_KERNEL_GUARD_IMPL_H
#define SL_KERNEL_GUARD_IMPL_H

#include <stdarg.h>
#include <stdio.h>

#include "kernel/guard.h"

#define GUARD_PATH_MAX 256

struct guard_bpf;

struct guard {
	char pin_dir[GUARD_PATH_MAX];
	int dir_fd; /* holds the lock on the folder of pins */
	struct guard_bpf *skel;
	int prog_fd; /* the skeleton's */
	uint32_t prog_id;
	struct guard_maps maps; /* the skeleton's descriptors */
	struct guard_status status;
	struct guard_attachment links[GUARD_INTERFACES_MAX];
	int link_fds[GUARD_INTERFACES_MAX]; /* of the link at the same place in links */
	size_t n_links;
};

/* Writes one line to ERR, if there is room for any, and hands CODE back. Keeps errno. */
__attribute__((format(printf, 4, 5))) static inline int guard_fail(int code, char *err,
								   size_t err_size, const char *fmt,
								   ...)
{
	va_list ap;

	if (!err || !err_size)
		return code;
	va_start(ap, fmt);
	vsnprintf(err, err_size, fmt, ap);
	va_end(ap);
	return code;
}

/* The name of a map is the name of its pin. */
const char *guard_maps_name(enum guard_map map);
int guard_maps_set_settings(const struct guard_maps *m, const struct guard_settings *set);
/* Calls FN with each key and value of a map, until it returns other than 0. Reads N_BATCH entries
 * at a time, or more where a bucket of the map holds more than that. */
#define GUARD_BATCH 1024
int guard_maps_each(int fd, size_t key_size, size_t value_size, uint32_t n_batch,
		    int (*fn)(void *arg, const void *key, const void *value), void *arg);

/* guard_attach.c: the pinned links of an earlier run, at guard_open(); all links, at the end. */
void guard_attach_adopt(struct guard *g);
void guard_attach_drop_all(struct guard *g);
void guard_attach_close_all(struct guard *g);

#endif
