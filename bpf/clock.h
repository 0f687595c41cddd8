/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The time of a packet. Reading the kernel's clock costs as much as a look-up in a hash, so it is
 * read once a tick and CPU. */
#ifndef SL_BPF_CLOCK_H
#define SL_BPF_CLOCK_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "shared.h"

/* Of `sluice -t --pcap`: a packet's time is what the heartbeat says. Known when the program is loaded,
 * so nothing of it is in the one that guards. */
const volatile bool is_rehearsal = false;

static __always_inline __u64 clock_of_rehearsal(void)
{
	__u32 zero = 0;
	__u64 *beat = bpf_map_lookup_elem(&heartbeat, &zero);

	return beat ? *beat : 0;
}

/* The true time. */
static __always_inline __u64 clock_true_ns(void)
{
	return is_rehearsal ? clock_of_rehearsal() : bpf_ktime_get_ns();
}

/* Behind the true time by at most a tick. */
static __always_inline __u64 clock_tick_ns(struct guard_cpu *own)
{
	__u64 jiffies;

	if (is_rehearsal)
		return clock_of_rehearsal();
	jiffies = bpf_jiffies64();
	if (own->jiffies != jiffies) {
		own->now_ns = bpf_ktime_get_ns();
		own->jiffies = jiffies;
	}
	return own->now_ns;
}

#endif
