/* SPDX-License-Identifier: BSD-2-Clause */
/* Temporary files of bodies. */
#ifndef SL_PROXY_TEMP_FILE_H
#define SL_PROXY_TEMP_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/io_conf.h"

/* A file in T's folder without a name, so that nothing stays when the process dies. -1: errno says why. */
int temp_file_open(const struct io_temp *t);
/* One with a name as nginx makes it, from a number of at most 10 digits and up; PATH gets it. -1 likewise. */
int temp_file_open_named(const struct io_temp *t, uint64_t number, char *path, size_t room);
/* All N bytes at AT. 0 or -SL_ESYS. */
int temp_file_write(int fd, const char *p, size_t n, uint64_t at);
/* At most N bytes: how many, 0 at the end, or -SL_ESYS. */
int temp_file_read(int fd, void *to, size_t n, uint64_t at);

#endif
