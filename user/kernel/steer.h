/* SPDX-License-Identifier: BSD-2-Clause */
/* Steering of new connections among the sockets of a listener (SO_REUSEPORT), and what makes the kernel move the
 * queue of a socket that closes to one that goes on (Linux 5.14). See bpf/steer.bpf.c for how it chooses.
 *
 * Only the master opens this. A worker gets its slot of the load figures, memory without a descriptor.
 * Functions return 0 or -SL_E...; ERR gets one line for the log. */
#ifndef SL_KERNEL_STEER_H
#define SL_KERNEL_STEER_H

#include <stdbool.h>
#include <stddef.h>

#include "bpf/steer_shared.h"

#define STEER_ERR_MAX 256

struct steer;	    /* the load figures, one for all listeners */
struct steer_group; /* one listener's program and maps */

/* -SL_EPERM without CAP_BPF, -SL_ESYS where the kernel cannot do it. */
int steer_open(struct steer **out, char *err, size_t err_size);
/* Gives descriptors and memory back, the groups' too. Sockets go on to be steered, by figures that nobody
 * writes: release the groups first where that matters. */
void steer_close(struct steer *s);
/* STEER_WORKERS_MAX slots. */
struct steer_load *steer_loads(struct steer *s);
/* After a fork, in a worker: the same, but its figures stay, and are returned. */
struct steer_load *steer_close_in_worker(struct steer *s, unsigned slot);

/* Loads a program of its own for a listener. It chooses nothing before steer_group_set(). */
int steer_group_open(struct steer *s, struct steer_group **out, char *err, size_t err_size);
/* All sockets of the reuseport group that FD is in are chosen by the program from now on, also those that join
 * it later. */
int steer_group_attach(struct steer_group *g, int fd);
/* FD is the socket at place I; nothing happens where it is already. -SL_EEXIST: another program's
 * map has it. A socket that stops to listen leaves by itself. */
int steer_group_put(struct steer_group *g, unsigned i, int fd);
/* N places in all, at most STEER_WORKERS_MAX. */
int steer_group_set(struct steer_group *g, enum steer_how how, const struct steer_place *places,
		    unsigned n);
/* Takes all sockets out, so that another program's map can have them: the kernel chooses. */
void steer_group_release(struct steer_group *g);
/* Releases and frees. */
void steer_group_close(struct steer_group *g);

#endif
