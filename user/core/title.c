/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the memory in which the kernel finds a process's command line. */
#include "core/title.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static struct {
	char *start;
	size_t room;
	char *environment; /* the copy, which nobody may free: environ may point into it */
} area;

/* The environment lies right behind the arguments; it is moved away so that its room can be used too. */
static char *move_environment(char *end)
{
	char *start = end, *copy;

	for (int i = 0; environ && environ[i]; i++)
		if (environ[i] == end)
			end += strlen(environ[i]) + 1;
	copy = malloc((size_t)(end - start) + 1);
	if (!copy)
		return start;
	memcpy(copy, start, (size_t)(end - start));
	for (int i = 0; environ && environ[i]; i++)
		if (environ[i] >= start && environ[i] < end)
			environ[i] = copy + (environ[i] - start);
	area.environment = copy;
	return end;
}

void title_init(int argc, char **argv)
{
	char *end = argv[0];

	for (int i = 0; i < argc; i++)
		if (argv[i] == end)
			end += strlen(argv[i]) + 1;
	end = move_environment(end);
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
