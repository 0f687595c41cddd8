/* SPDX-License-Identifier: BSD-2-Clause */
/* Variables of what becomes of an answer on its way out. Reads only. */
#include "proxy/gzip.h"
#include "proxy/vars.h"
#include "proxy/vars_impl.h"

VARS_GETTER(get_gzip_ratio)
{
	return gzip_ratio(request, a, out);
}

const struct var_def vars_filter[] = {
	{.name = "gzip_ratio", .get = get_gzip_ratio},
	{.name = NULL},
};
