/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the memory in which the kernel finds a process's command line. */
#include "core/title.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static struct {
	char *start;
	size_t room;
} area;

void title_init(int argc, char **argv)
{
	char *end = argv[0];

	for (int i = 0; i < argc; i++)
		if (argv[i] == end)
			end += strlen(argv[i]) + 1;
	/* The environment lies right behind; it is moved away so that its room can be used too. */
	for (int i = 0; environ && environ[i]; i++) {
		if (environ[i] != end)
			continue;
		end += strlen(environ[i]) + 1;
		environ[i] = strdup(environ[i]);
	}
	area.start = argv[0];
	area.room = (size_t)(end - argv[0]);
}

void title_set(const char *text)
{
	if (!area.room)
		return;
	memset(area.start, 0, area.room);
	snprintf(area.start, area.room, "sluice: %s", text);
}
