/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of directive tables and of variables: which parts this sluice is made of. */
#include "modules.h"

#include "admin/admin_conf.h"
#include "conf/log_conf.h"
#include "kernel/xdp_conf.h"
#include "master/core_conf.h"
#include "policy/ban_conf.h"
#include "policy/lists.h"
#include "policy/limit_conf.h"
#include "policy/limit_conn_conf.h"
#include "policy/upstream_conf.h"
#include "proxy/access_conf.h"
#include "proxy/access_log.h"
#include "proxy/charset.h"
#include "proxy/compat_conf.h"
#include "proxy/fields.h"
#include "proxy/files_conf.h"
#include "proxy/filters_conf.h"
#include "proxy/flow_conf.h"
#include "proxy/gzip_conf.h"
#include "proxy/h2_conf.h"
#include "proxy/health_conf.h"
#include "proxy/geo_conf.h"
#include "proxy/http_conf.h"
#include "proxy/io_conf.h"
#include "proxy/map_conf.h"
#include "proxy/proxy_conf.h"
#include "proxy/proxy_tls.h"
#include "proxy/realip.h"
#include "proxy/rewrite.h"
#include "proxy/status.h"
#include "proxy/split_conf.h"
#include "proxy/vars.h"
#include "proxy/vars_user.h"
#include "tls/tls_conf.h"

/* One a line, so that two who add one do not meet. */
/* clang-format off */
const struct conf_module *const modules_all[CONF_N_MODULES] = {
	[MOD_CORE] = &core_module,
	[MOD_LOG] = &log_module,
	[MOD_HTTP] = &http_module,
	[MOD_HTTP2] = &h2_module,
	[MOD_TLS] = &tls_module,
	[MOD_MAP] = &map_module,
	[MOD_GEO] = &geo_module,
	[MOD_SPLIT] = &split_module,
	[MOD_REWRITE] = &rewrite_module,
	[MOD_UPSTREAM] = &upstream_module,
	[MOD_PROXY] = &proxy_module,
	[MOD_FIELDS] = &fields_module,
	[MOD_PROXY_TLS] = &proxy_tls_module,
	[MOD_FLOW] = &flow_module,
	[MOD_HEALTH] = &health_module,
	[MOD_REALIP] = &realip_module,
	[MOD_ACCESS] = &access_module,
	[MOD_LIMIT] = &limit_module,
	[MOD_LIMIT_CONN] = &limit_conn_module,
	[MOD_BAN] = &ban_module,
	[MOD_STUB_STATUS] = &status_module,
	[MOD_ACCESS_LOG] = &access_log_module,
	[MOD_GZIP] = &gzip_module,
	[MOD_FILES] = &files_module,
	[MOD_CHARSET] = &charset_module,
	[MOD_COMPAT] = &compat_module,
	[MOD_FILTERS] = &filters_module,
	[MOD_XDP] = &xdp_module,
	[MOD_LISTS] = &lists_module,
	[MOD_ADMIN] = &admin_module,
	[MOD_IO] = &io_module,
};
/* clang-format on */

const struct var_def *const modules_vars[] = {
	vars_request, vars_conn,	  vars_body,   vars_upstream, vars_filter,
	vars_tls,     vars_user_captures, vars_realip, vars_status,   NULL,
};
