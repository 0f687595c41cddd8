/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads User-Agent. What follows from it is its callers' business. */
#define _GNU_SOURCE
#include "proxy/agent.h"

#include <string.h>

static bool has(struct slice agent, struct slice word)
{
	return agent.n && memmem(agent.p, agent.n, word.p, word.n);
}

bool agent_is_msie6(struct slice agent)
{
	for (; agent.n >= 8; agent = slice_skip(agent, 1)) {
		if (!slice_starts(agent, SLICE("MSIE ")))
			continue;
		if (agent.p[6] != '.')
			return false;
		if (agent.p[5] == '4' || agent.p[5] == '5')
			return true;
		return agent.p[5] == '6' && !has(agent, SLICE("SV1"));
	}
	return false;
}

bool agent_is_safari(struct slice agent)
{
	return has(agent, SLICE("Safari/")) && has(agent, SLICE("Mac OS X")) &&
	       !has(agent, SLICE("Opera")) && !has(agent, SLICE("Gecko/")) &&
	       !has(agent, SLICE("Chrome/")) && !has(agent, SLICE("MSIE "));
}
