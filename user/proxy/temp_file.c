/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the names of temporary files and what is done to them in one piece. Logs nothing. */
#define _GNU_SOURCE
#include "proxy/temp_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"

enum { NAME_TRIES = 100 };

/* As nginx: the last digits of the number name the subfolders, the first level the very last ones. */
static int put_name(const struct io_temp *t, uint64_t number, char *to, size_t room)
{
	char digits[21];
	int end = snprintf(digits, sizeof digits, "%010llu", (unsigned long long)number);
	int n = snprintf(to, room, "%s", t->dir), at = end;

	for (int i = 0; i < t->n_levels && n < (int)room; i++) {
		at -= t->level[i];
		n += snprintf(to + n, room - (size_t)n, "/%.*s", t->level[i], digits + at);
		if (mkdir(to, 0700) && errno != EEXIST)
			return -SL_ESYS;
	}
	if (n < (int)room)
		n += snprintf(to + n, room - (size_t)n, "/%s", digits);
	errno = ENAMETOOLONG;
	return n < (int)room ? 0 : -SL_ESYS;
}

int temp_file_open_named(const struct io_temp *t, uint64_t number, char *path, size_t room)
{
	int fd = -1;

	for (unsigned i = 0; fd < 0 && i < NAME_TRIES; i++) {
		if (put_name(t, number + i, path, room))
			return -1;
		fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0660);
		if (fd < 0 && errno != EEXIST)
			return -1;
	}
	return fd;
}

int temp_file_open(const struct io_temp *t)
{
	int fd = open(t->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[4096];

	if (fd >= 0 || errno != EOPNOTSUPP)
		return fd;
	if (snprintf(path, sizeof path, "%s/body.XXXXXX", t->dir) >= (int)sizeof path)
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

int temp_file_write(int fd, const char *p, size_t n, uint64_t at)
{
	while (n) {
		ssize_t k = pwrite(fd, p, n, (off_t)at);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -SL_ESYS;
		p += k;
		n -= (size_t)k;
		at += (size_t)k;
	}
	return 0;
}

int temp_file_read(int fd, void *to, size_t n, uint64_t at)
{
	ssize_t got;

	do
		got = pread(fd, to, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -SL_ESYS : (int)got;
}
