/* SPDX-License-Identifier: BSD-2-Clause */
/* Compares what a client has with what the answer is. Upstreams see these fields themselves, so that only
 * answers of our own are looked at. */
#include "proxy/cond.h"

#include "http/date.h"
#include "proxy/filters_conf.h"
#include "proxy/request.h"

static struct slice without_weakness(struct slice tag)
{
	return tag.n > 2 && slice_starts(tag, SLICE("W/")) ? slice_skip(tag, 2) : tag;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

bool cond_has_etag(struct slice list, struct slice tag, bool weak)
{
	if (slice_eq(list, SLICE("*")))
		return true;
	if (weak)
		tag = without_weakness(tag);
	while (list.n && tag.n) {
		if (weak)
			list = without_weakness(list);
		if (slice_starts(list, tag)) {
			struct slice rest = slice_skip(list, tag.n);

			while (rest.n && is_space(rest.p[0]))
				rest = slice_skip(rest, 1);
			if (!rest.n || rest.p[0] == ',')
				return true;
		}
		while (list.n && list.p[0] != ',')
			list = slice_skip(list, 1);
		while (list.n && (list.p[0] == ',' || is_space(list.p[0])))
			list = slice_skip(list, 1);
	}
	return false;
}

static struct slice etag_of(const struct request *r)
{
	const struct hdr *h = hdrs_find(&r->resp.fields, HDR_ETAG);

	return h ? h->value : (struct slice){0};
}

static bool is_unmodified_since(const struct request *r, struct slice date)
{
	int64_t modified = date_parse(r->resp.last_modified);

	return modified >= 0 && date_parse(date) >= modified;
}

static bool is_modified_since(const struct request *r, struct slice date)
{
	int64_t how = filters_scope_of(r->block)->if_modified_since;
	int64_t modified = date_parse(r->resp.last_modified), since = date_parse(date);

	if (modified < 0 || how == IMS_OFF)
		return true;
	if (since == modified)
		return false;
	return how == IMS_EXACT || since < modified;
}

static void become_304(struct response *resp)
{
	resp->status = 304;
	resp->reason = (struct slice){0};
	resp->content_type = (struct slice){0};
	resp->content_length = -1;
	resp->no_body = true;
	resp->allow_ranges = false;
	hdrs_remove(&resp->fields, HDR_ACCEPT_RANGES, NULL);
	hdrs_remove(&resp->fields, HDR_CONTENT_ENCODING, NULL);
}

unsigned cond_step(struct request *r)
{
	const struct hdrs *fields = &r->head.fields;
	const struct hdr *since, *none, *h;

	if (r->resp.status != 200 || r->resp.from_upstream)
		return 0;
	h = hdrs_find(fields, HDR_IF_UNMODIFIED_SINCE);
	if (h && !is_unmodified_since(r, h->value))
		return 412;
	h = hdrs_find(fields, HDR_IF_MATCH);
	if (h && !cond_has_etag(h->value, etag_of(r), false))
		return 412;
	since = hdrs_find(fields, HDR_IF_MODIFIED_SINCE);
	none = hdrs_find(fields, HDR_IF_NONE_MATCH);
	if (!since && !none)
		return 0;
	if (since && is_modified_since(r, since->value))
		return 0;
	if (none && !cond_has_etag(none->value, etag_of(r), true))
		return 0;
	become_304(&r->resp);
	return 0;
}

bool cond_if_range(const struct request *r)
{
	const struct hdr *h = hdrs_find(&r->head.fields, HDR_IF_RANGE);
	int64_t modified;

	if (!h)
		return true;
	if (h->value.n >= 2 && h->value.p[h->value.n - 1] == '"')
		return slice_eq(h->value, etag_of(r));
	modified = date_parse(r->resp.last_modified);
	return modified >= 0 && date_parse(h->value) == modified;
}
