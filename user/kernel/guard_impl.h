/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of user/kernel share and nobody else sees. */
#ifndef SL_KERNEL_GUARD_IMPL_H
#define SL_KERNEL_GUARD_IMPL_H

#include <stdarg.h>
#include <stdio.h>

#include "kernel/guard.h"

#define GUARD_PATH_MAX 256
#define GUARD_PIN_PATH_MAX (GUARD_PATH_MAX + 48)

struct guard_bpf;
struct bpf_map;

struct guard {
	char pin_dir[GUARD_PATH_MAX];
	char map_dir[GUARD_PATH_MAX + 16]; /* in it, named after the schema */
	bool is_kept[GUARD_N_MAPS];	   /* the pinned map is in use, with its content */
	bool is_rehearsal;		   /* nothing of it is pinned */
	int dir_fd;			   /* holds the lock on the folder of pins */
	struct guard_bpf *skel;
	int prog_fd; /* the skeleton's */
	uint32_t prog_id;
	struct guard_maps maps;	 /* the skeleton's descriptors */
	struct guard_good *good; /* mapped */
	struct guard_known *known;
	struct guard_status status;
	struct guard_attachment links[GUARD_INTERFACES_MAX];
	/* Of the link at the same place in links; with libxdp, of the program. */
	int link_fds[GUARD_INTERFACES_MAX];
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
/* The same for each network of two LPM maps. */
int guard_maps_each_net(const struct guard_maps *m, enum guard_map v4, enum guard_map v6,
			int (*fn)(void *arg, const struct guard_cidr *net,
				  const struct guard_net *value),
			void *arg);

/* guard_pins.c. Mounts, makes, locks; gives the skeleton the pinned maps that fit; pins the others and
 * removes what lies in folders of other schemas; removes all. */
int guard_pins_open(struct guard *g, const char *pin_dir, int inherited_fd, char *err,
		    size_t err_size);
int guard_pins_reuse(struct guard *g, char *err, size_t err_size);
int guard_pins_put(struct guard *g, char *err, size_t err_size);
void guard_pins_remove(struct guard *g);
/* Each folder where maps of another schema may lie. */
void guard_pins_each_other(struct guard *g, void (*fn)(void *arg, const char *dir), void *arg);
void guard_pins_path(const char *dir, enum guard_map map, char out[GUARD_PIN_PATH_MAX]);
struct bpf_map *guard_pins_map(const struct guard *g, enum guard_map map);

/* guard_carry.c: what pinned maps of another layout hold, into the new maps. What cannot be read is
 * left behind. */
void guard_carry_all(struct guard *g);

/* guard_nets.c: the number of entries of each LPM map, into SET. */
int guard_nets_count(const struct guard_maps *m, struct guard_settings *set);

/* guard_libxdp.c. FD is the program's, to be closed by the caller; OLD_FD is that of the program that it
 * takes the place of, or -1. -SL_ESYS leaves errno; EBUSY: somebody is attached without a dispatcher. */
int guard_libxdp_attach(struct guard *g, unsigned ifindex, enum guard_mode mode, unsigned priority,
			int old_fd, int *fd, bool *is_shared);
int guard_libxdp_detach(unsigned ifindex, int prog_fd);
bool guard_libxdp_has(unsigned ifindex, uint32_t prog_id, enum guard_mode *mode);

/* guard_filter.c, guard_good.c: map at guard_open(), once the lists have what is carried over. */
int guard_filter_open(struct guard_maps *m);
void guard_filter_close(struct guard_maps *m);
int guard_good_open(struct guard *g);
void guard_good_close(struct guard *g);

/* guard_attach.c: 0 for what is no program. */
uint32_t guard_prog_id(int fd);
/* Which program an interface runs, and how; 0 for none. */
uint32_t guard_attached_id(unsigned ifindex, enum guard_mode *mode);
/* The pinned links of an earlier run, at guard_open(); all links, at the end. */
void guard_attach_adopt(struct guard *g);
void guard_attach_drop_all(struct guard *g);
void guard_attach_close_all(struct guard *g);

#endif
