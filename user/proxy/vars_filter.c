/* SPDX-License-Identifier: BSD-2-Clause */
/* Variables of files and of what becomes of an answer on its way out. Only $limit_rate can be set. */
#include "conf/conf.h"
#include "proxy/files.h"
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

VARS_GETTER(get_request_filename)
{
	return files_path(request, a, out);
}

VARS_GETTER(get_document_root)
{
	return files_root(request, a, out);
}

VARS_GETTER(get_realpath_root)
{
	return files_real_root(request, a, out);
}

/* There is no cache: as in nginx where none is used. */
VARS_GETTER(get_none)
{
	return false;
}

const struct var_def vars_filter[] = {
	{.name = "request_filename", .get = get_request_filename},
	{.name = "document_root", .get = get_document_root},
	{.name = "realpath_root", .get = get_realpath_root},
	{.name = "limit_rate", .get = get_limit_rate, .set = set_limit_rate},
	{.name = "gzip_ratio", .get = get_gzip_ratio},
	{.name = "upstream_cache_status", .get = get_none},
	{.name = NULL},
};
