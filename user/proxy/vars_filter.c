/* SPDX-License-Identifier: BSD-2-Clause */
/* Variables of what becomes of an answer on its way out. Reads only. */
#include "conf/conf.h"
#include "proxy/gzip.h"
#include "proxy/vars.h"
#include "proxy/vars_impl.h"

VARS_GETTER(get_gzip_ratio)
{
	return gzip_ratio(request, a, out);
}

VARS_GETTER(get_limit_rate)
{
	const struct request *r = request;

	return vars_number(a, r->limit_rate, out);
}

static void set_limit_rate(void *request, void *data, struct slice value)
{
	struct request *r = request;
	int64_t bytes;

	if (conf_parse_size(value, &bytes))
		return;
	r->limit_rate = (uint64_t)bytes;
	r->limit_rate_set = true;
}

const struct var_def vars_filter[] = {
	{.name = "limit_rate", .get = get_limit_rate, .set = set_limit_rate},
	{.name = "gzip_ratio", .get = get_gzip_ratio},
	{.name = NULL},
};
