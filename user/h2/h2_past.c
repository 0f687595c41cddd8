/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns two short memories of stream numbers. Knows no session. */
#include "h2/h2_past.h"

void h2_past_opened(struct h2_past *p, int32_t id)
{
	if (id > p->last + 2 || (p->last == 0 && id > 1)) {
		p->gap[p->n_gaps % H2_PAST_GAPS].from = p->last ? p->last + 2 : 1;
		p->gap[p->n_gaps++ % H2_PAST_GAPS].to = id - 2;
	}
	p->last = id;
}

void h2_past_done(struct h2_past *p, int32_t id)
{
	p->done[p->n_done++ % H2_PAST_DONE] = id;
}

bool h2_past_has_done(const struct h2_past *p, int32_t id)
{
	for (int i = 0; i < H2_PAST_DONE; i++)
		if (p->done[i] == id)
			return true;
	return false;
}

bool h2_past_has_skipped(const struct h2_past *p, int32_t id)
{
	for (int i = 0; i < H2_PAST_GAPS; i++)
		if (id >= p->gap[i].from && id <= p->gap[i].to)
			return true;
	return false;
}
