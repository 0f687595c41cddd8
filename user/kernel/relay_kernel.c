/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the list of kernels that may not be tried. Asks nobody. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/err.h"
#include "kernel/relay_impl.h"

/* "6.1.142..." */
static bool parse_number(const char *text, unsigned v[3])
{
	v[2] = 0;
	return sscanf(text, "%u.%u.%u", &v[0], &v[1], &v[2]) >= 2;
}

int relay_kernel_check(const char *release, const char *version, char *err, size_t err_size)
{
	/* The first of each series that has the mend. Other series ended without it. */
	static const unsigned mended[][3] = {{6, 1, 142}, {6, 6, 94}, {6, 12, 34}, {6, 15, 3}};
	/* Debian's release says 6.1.0-37-amd64, its version "#1 SMP ... Debian 6.1.140-1 (...)". */
	const char *debian = strstr(version, "Debian ");
	unsigned v[3];

	if (!parse_number(debian ? debian + 7 : release, v))
		return relay_fail(-SL_EINVAL, err, err_size,
				  "the kernel's version \"%s\" cannot be read", release);
	if (v[0] > 6 || (v[0] == 6 && v[1] > 15))
		return 0;
	for (size_t i = 0; i < sizeof mended / sizeof mended[0]; i++)
		if (v[0] == mended[i][0] && v[1] == mended[i][1] && v[2] >= mended[i][2])
			return 0;
	return relay_fail(
		-SL_EINVAL, err, err_size,
		"kernel %u.%u.%u may panic on large redirects (CVE-2025-38165); mended in 6.1.142, "
		"6.6.94, 6.12.34, 6.15.3 and 6.16",
		v[0], v[1], v[2]);
}
