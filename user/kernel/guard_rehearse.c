/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns running the program outside of any interface, on packets and a clock of the caller's. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

/* The program of a rehearsal takes the heartbeat for its clock: see bpf/clock.h. */
int guard_rehearse(struct guard *g, const void *frame, size_t n, uint64_t time_ns)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = (uint32_t)n,
		    .repeat = 1);
	uint32_t zero = 0;

	if (bpf_map_update_elem(g->maps.fd[GUARD_MAP_HEARTBEAT], &zero, &time_ns, BPF_ANY) ||
	    bpf_prog_test_run_opts(g->prog_fd, &o))
		return -SL_ESYS;
	return o.retval == XDP_DROP;
}
