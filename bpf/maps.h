/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The guard's maps. Their names are the names of their pins; user/kernel pins them and takes them
 * over, so nothing here says how. Only bans live in deny_*: a plain hash, made in full at load, so
 * that neither memory pressure nor a flood of sources can push one out. */
#ifndef SL_BPF_MAPS_H
#define SL_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_ALLOW_MAX);
	__type(key, struct guard_cidr_v4);
	__type(value, struct guard_net);
} allow_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_ALLOW_MAX);
	__type(key, struct guard_cidr_v6);
	__type(value, struct guard_net);
} allow_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_DENY_MAX);
	__type(key, struct guard_v4);
	__type(value, struct guard_deny);
} deny_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_DENY_MAX);
	__type(key, struct guard_v6);
	__type(value, struct guard_deny);
} deny_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_DENY_NET_MAX);
	__type(key, struct guard_cidr_v4);
	__type(value, struct guard_net);
} deny_net_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_DENY_NET_MAX);
	__type(key, struct guard_cidr_v6);
	__type(value, struct guard_net);
} deny_net_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_BAN_NET_MAX);
	__type(key, struct guard_cidr_v4);
	__type(value, struct guard_net);
} ban_net_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_BAN_NET_MAX);
	__type(key, struct guard_cidr_v6);
	__type(value, struct guard_net);
} ban_net_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GUARD_SOURCES_MAX);
	__type(key, struct guard_v4);
	__type(value, struct guard_source);
} sources_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GUARD_SOURCES_MAX);
	__type(key, struct guard_v6);
	__type(value, struct guard_source);
} sources_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GUARD_SOURCES_MAX);
	__type(key, struct guard_v6);
	__type(value, struct guard_prefix);
} prefixes_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_N_TOTALS);
	__type(key, __u32);
	__type(value, struct guard_total);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GUARD_N_RATES *GUARD_SKETCH_ROWS *GUARD_SKETCH_COLUMNS);
	__type(key, __u32);
	__type(value, struct guard_cell);
} sketch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, GUARD_FILTER_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, GUARD_KNOWN_WORDS);
	__type(key, __u32);
	__type(value, struct guard_known);
} known SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_cpu);
} cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} heartbeat SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, sizeof(struct guard_good) / sizeof(__u64));
	__type(key, __u32);
	__type(value, __u64);
} good SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, GUARD_EVENTS_BYTES);
} events SEC(".maps");

#endif
