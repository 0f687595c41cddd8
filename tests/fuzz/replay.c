/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a fuzzer's entry point on the files and folders named, without libFuzzer, so that a kept
 * corpus is a regression test with any compiler. A run over no file at all fails. */
#include <dirent.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

/* True when the file could be read; the fuzzer itself aborts where something does not hold. */
static int run_file(const char *path)
{
	uint8_t *data = NULL;
	size_t size = 0, room = 0, n;
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		return 0;
	}
	do {
		if (size == room) {
			room = room ? room * 2 : 4096;
			data = realloc(data, room);
			FUZZ_CHECK(data != NULL);
		}
		n = fread(data + size, 1, room - size, f);
		size += n;
	} while (n > 0);
	fclose(f);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

/* How many files were run, or -1. */
static int run_path(const char *path)
{
	char name[4096];
	struct dirent *e;
	struct stat st;
	DIR *dir;
	int n = 0;

	if (stat(path, &st)) {
		perror(path);
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return run_file(path) ? 1 : -1;
	dir = opendir(path);
	if (!dir) {
		perror(path);
		return -1;
	}
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "%s/%s", path, e->d_name);
		if (!run_file(name)) {
			n = -1;
			break;
		}
		n++;
	}
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	int total = 0, n;

	for (int i = 1; i < argc; i++) {
		n = run_path(argv[i]);
		if (n < 0)
			return 1;
		total += n;
	}
	printf("%s: %d inputs\n", argv[0], total);
	return total == 0;
}
