// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* tc egress: a VLAN tag of id 0 before each packet, for kernels without 8021q and act_vlan. The
 * receiver's stack takes such a tag off by itself, so the connection works, and XDP sees the tag. */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int vlan_tag(struct __sk_buff *skb)
{
	if (!skb->vlan_present)
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
