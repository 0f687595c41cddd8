/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The time of a packet. Reading the kernel's clock costs as much as a look-up in a hash, so it is
 * read once a tick and CPU. */
#ifndef SL_BPF_CLOCK_H
#define SL_BPF_CLOCK_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

/* Behind the true time by at most a tick. */
static __always_inline __u64 clock_tick_ns(struct guard_cpu *own)
{
	__u64 jiffies = bpf_jiffies64();

	if (own->jiffies != jiffies) {
		own->now_ns = bpf_ktime_get_ns();
		own->jiffies = jiffies;
	}
	return own->now_ns;
}

#endif
