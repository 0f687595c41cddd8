/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard's loader against the running kernel: pins, taking over after a crash, attaching in each
 * mode, who is in the way, and that nothing stays behind. */
#include "tests/bpf/rig.h"

#include <bpf/btf.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/stat.h>

#define HOUR_NS (3600ull * 1000000000)

static bool is_prog_gone(uint32_t id)
{
	for (int i = 0; i < 300 * rig_slow(); i++) {
		int fd = bpf_prog_get_fd_by_id(id);

		if (fd < 0)
			return true;
		close(fd);
		usleep(10000);
	}
	return false;
}

static uint32_t link_id_of(const char *ifname)
{
	char path[128];
	struct bpf_link_info info = {0};
	uint32_t len = sizeof info;
	int fd;

	snprintf(path, sizeof path, "%s/link_%u", rig_pin_dir, if_nametoindex(ifname));
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	return info.id;
}

/* A frame from the other end of the pair. */
static void send_frame(const char *words)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
	struct rig_packet p;
	int s = socket(AF_PACKET, SOCK_RAW, 0);

	assert_true(s >= 0);
	rig_build(&p, words, 0);
	memset(p.bytes, 0xff, 6);
	to.sll_ifindex = (int)if_nametoindex("sl-b");
	assert_int_equal(sendto(s, p.bytes, p.n, 0, (void *)&to, sizeof to), p.n);
	close(s);
}

static uint64_t total_of(const struct guard_maps *m, enum guard_total_index index)
{
	struct guard_total t[GUARD_N_TOTALS];

	assert_int_equal(guard_stats_totals(m, t), 0);
	return t[index].packets;
}

/* Waits for the softirq to have seen it. */
static bool reaches(const struct guard_maps *m, enum guard_total_index index, uint64_t want)
{
	for (int i = 0; i < 200; i++) {
		if (total_of(m, index) >= want)
			return total_of(m, index) == want;
		usleep(5000);
	}
	return false;
}

static void test_pins_are_roots_alone_and_readable_by_bpftool(void **state)
{
	struct guard *g = rig_open(0);
	char path[GUARD_PIN_PATH_MAX], cmd[GUARD_PIN_PATH_MAX + 64], out[8192];
	struct stat st;

	assert_int_equal(stat(rig_pin_dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	for (int i = 0; i < GUARD_N_MAPS; i++) {
		guard_pins_path(g->map_dir, i, path);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		assert_int_equal(st.st_uid, 0);
	}
	rig_ban(g, "198.51.100.7", 0);
	snprintf(cmd, sizeof cmd, "bpftool map dump pinned %s/deny_v4", g->map_dir);
	rig_read(cmd, out, sizeof out);
	assert_non_null(strstr(out, "\"addr\": [198,51,100,7"));
	assert_non_null(strstr(out, "\"expires_ns\": 0"));
	assert_non_null(strstr(out, "\"rule_id\": 3"));
	snprintf(cmd, sizeof cmd, "bpftool map dump pinned %s/settings", g->map_dir);
	rig_read(cmd, out, sizeof out);
	assert_non_null(strstr(out, "\"count_sources\": 1"));
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static void test_mounts_bpffs_itself(void **state)
{
	struct guard *g;

	while (umount2("/sys/fs/bpf", MNT_DETACH) == 0)
		;
	g = rig_open(0);
	rig_sh("[ \"$(stat -f -c %T /sys/fs/bpf)\" = bpf_fs ]");
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static void test_refuses_a_folder_that_others_can_write(void **state)
{
	const struct guard_options opt = {.pin_dir = rig_pin_dir};
	const struct guard_options elsewhere = {.pin_dir = "/tmp/sl-test"};
	const struct guard_options relative = {.pin_dir = "sluice"};
	struct guard *g = rig_open(0);

	guard_close(g, GUARD_CLOSE_REMOVE);
	assert_int_equal(mkdir(rig_pin_dir, 0700), 0);
	assert_int_equal(chmod(rig_pin_dir, 0777), 0);
	assert_int_equal(guard_open(&g, &opt, rig_err, sizeof rig_err), -SL_EPERM);
	assert_non_null(strstr(rig_err, rig_pin_dir));
	assert_null(g);
	assert_int_equal(guard_open(&g, &elsewhere, rig_err, sizeof rig_err), -SL_EINVAL);
	assert_int_equal(guard_open(&g, &relative, rig_err, sizeof rig_err), -SL_EINVAL);
	rmdir(rig_pin_dir);
}

static void test_one_guard_at_a_time(void **state)
{
	const struct guard_options opt = {.pin_dir = rig_pin_dir};
	struct guard *g = rig_open(0), *second;

	assert_int_equal(guard_open(&second, &opt, rig_err, sizeof rig_err), -SL_EEXIST);
	assert_non_null(strstr(rig_err, "another sluice"));
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static void test_takes_over_after_a_crash(void **state)
{
	struct guard *g = rig_open(0);
	struct guard_attachment a;
	uint32_t first_prog = g->prog_id, link;

	rig_attach(g, "sl-a", GUARD_MODE_AUTO, &a);
	assert_false(a.is_takeover);
	assert_int_equal(rig_attached_id("sl-a", NULL), first_prog);
	link = link_id_of("sl-a");
	rig_ban(g, "192.0.2.77", clock_mono_ns() + HOUR_NS);
	rig_ban(g, "2001:db8::1", 0);
	guard_maps_set_flags(guard_maps(g), false, false);
	guard_close(g, GUARD_CLOSE_KEEP);

	send_frame("ip4 tcp=S"); /* nobody runs, and still it drops */
	g = rig_open(0);
	assert_int_equal(guard_status(g)->n_maps_kept, GUARD_N_MAPS);
	assert_int_equal(guard_status(g)->n_maps_replaced, 0);
	assert_int_equal(guard_status(g)->n_links_kept, 1);
	assert_true(reaches(guard_maps(g), GUARD_DROP_DENY, 1));
	assert_true(rig_is_banned(g, "192.0.2.77"));
	assert_true(rig_is_banned(g, "2001:db8::1"));
	assert_int_equal(rig_attached_id("sl-a", NULL), first_prog);

	rig_attach(g, "sl-a", GUARD_MODE_AUTO, &a);
	assert_true(a.is_takeover);
	assert_int_equal(rig_attached_id("sl-a", NULL), g->prog_id);
	assert_int_not_equal(g->prog_id, first_prog);
	assert_int_equal(link_id_of("sl-a"), link);
	assert_true(is_prog_gone(first_prog));
	send_frame("ip4 tcp=S");
	assert_true(reaches(guard_maps(g), GUARD_DROP_DENY, 2));

	first_prog = g->prog_id;
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
	assert_true(is_prog_gone(first_prog));
}

/* A stray process of an earlier run must not keep an interface from being freed. */
static void test_close_frees_though_a_descriptor_is_left(void **state)
{
	struct guard *g = rig_open(0);
	char path[128];
	int stray;

	rig_attach(g, "sl-a", GUARD_MODE_NATIVE, NULL);
	snprintf(path, sizeof path, "%s/link_%u", rig_pin_dir, if_nametoindex("sl-a"));
	stray = bpf_obj_get(path);
	assert_true(stray >= 0);
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
	close(stray);
}

static void test_detach_keeps_bans(void **state)
{
	struct guard *g = rig_open(0);

	rig_attach(g, "sl-a", GUARD_MODE_NATIVE, NULL);
	rig_ban(g, "192.0.2.1", 0);
	guard_close(g, GUARD_CLOSE_DETACH);
	assert_int_equal(rig_attached_id("sl-a", NULL), 0);
	g = rig_open(0);
	assert_true(rig_is_banned(g, "192.0.2.1"));
	assert_int_equal(guard_status(g)->n_links_kept, 0);
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static bool has_deny(const struct guard *g, const char *text, struct guard_deny *d)
{
	struct guard_addr a = rig_addr_of(text);

	return guard_deny_get(guard_maps(g), &a, d) == 0;
}

static void test_carries_over_what_does_not_fit(void **state)
{
	struct guard *g = rig_open(100);
	struct guard_settings set;
	struct guard_deny d;

	rig_attach(g, "sl-a", GUARD_MODE_NATIVE, NULL);
	rig_ban(g, "192.0.2.1", 0);
	rig_ban(g, "2001:db8::1", 77 * HOUR_NS);
	guard_maps_set_flags(guard_maps(g), true, true);
	guard_close(g, GUARD_CLOSE_KEEP);
	g = rig_open(200);
	assert_int_equal(guard_status(g)->n_maps_replaced, 2);
	assert_int_equal(guard_status(g)->n_maps_kept, GUARD_N_MAPS - 2);
	assert_int_equal(guard_status(g)->n_entries_carried, 2);
	assert_int_equal(guard_maps_get_settings(guard_maps(g), &set), 0);
	assert_int_equal(set.dry_run, 1);
	assert_true(has_deny(g, "192.0.2.1", &d));
	assert_int_equal(d.rule_id, 3);
	assert_true(has_deny(g, "2001:db8::1", &d));
	assert_int_equal(d.expires_ns, 77 * HOUR_NS);

	set.schema = GUARD_SCHEMA + 1;
	assert_int_equal(guard_maps_set_settings(guard_maps(g), &set), 0);
	guard_close(g, GUARD_CLOSE_KEEP);
	g = rig_open(200);
	assert_int_equal(guard_status(g)->n_maps_replaced, GUARD_N_MAPS);
	assert_true(rig_is_banned(g, "192.0.2.1"));
	assert_int_equal(guard_maps_get_settings(guard_maps(g), &set), 0);
	assert_int_equal(set.schema, GUARD_SCHEMA);
	assert_int_equal(set.dry_run, 0);
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

/* A map as schema 1 had it, pinned where that had its pins. Its value is N_WIDE members of 64 bits, then
 * N_NARROW of 32. Returns its descriptor. */
static int pin_old(const char *name, enum bpf_map_type type, uint32_t key,
		   const char *const *fields, int n_wide, int n_narrow)
{
	uint32_t value = (uint32_t)(n_wide * 8 + n_narrow * 4);
	struct btf *btf = btf__new_empty();
	int fd, u8, u32, u64;
	LIBBPF_OPTS(bpf_map_create_opts, o);
	char path[128];

	u8 = btf__add_int(btf, "u8", 1, 0);
	u32 = btf__add_int(btf, "u32", 4, 0);
	u64 = btf__add_int(btf, "u64", 8, 0);
	o.btf_key_type_id = (uint32_t)(key == 4 ? u32 : btf__add_array(btf, u32, u8, key));
	o.btf_value_type_id = (uint32_t)btf__add_struct(btf, "old", value);
	for (int i = 0; i < n_wide + n_narrow; i++) {
		int bit = i < n_wide ? 64 * i : 64 * n_wide + 32 * (i - n_wide);

		assert_int_equal(
			btf__add_field(btf, fields[i], i < n_wide ? u64 : u32, (uint32_t)bit, 0),
			0);
	}
	assert_int_equal(btf__load_into_kernel(btf), 0);
	o.btf_fd = (uint32_t)btf__fd(btf);
	fd = bpf_map_create(type, name, key, value, 64, &o);
	assert_true(fd >= 0);
	snprintf(path, sizeof path, "%s/%s", rig_pin_dir, name);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	btf__free(btf);
	return fd;
}

static void test_carries_over_an_older_schema(void **state)
{
	static const char *const deny_fields[] = {"expires_ns", "banned_at_ns", "packets",
						  "bytes",	"rule_id",	"flags"};
	static const char *const source_fields[] = {"packets", "bytes",		"syns",
						    "gone",    "first_seen_ns", "last_seen_ns"};
	const struct {
		uint64_t expires_ns, banned_at_ns, packets, bytes;
		uint32_t rule_id, flags;
	} deny = {5 * HOUR_NS, 4, 3, 200, 7, 1};
	const uint64_t source[6] = {11, 12, 13, 14, 15, 16};
	struct guard_addr a = rig_addr_of("2001:db8::9");
	uint8_t v4[4] = {192, 0, 2, 9};
	struct guard_source s;
	struct guard_deny d;
	struct guard *g = rig_open(0);
	int deny_fd, sources_fd;

	guard_close(g, GUARD_CLOSE_REMOVE);
	assert_int_equal(mkdir(rig_pin_dir, 0700), 0);
	deny_fd = pin_old("deny_v4", BPF_MAP_TYPE_HASH, 4, deny_fields, 4, 2);
	sources_fd = pin_old("sources_v6", BPF_MAP_TYPE_LRU_HASH, 16, source_fields, 6, 0);
	assert_int_equal(bpf_map_update_elem(deny_fd, v4, &deny, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(sources_fd, a.bytes, source, BPF_ANY), 0);
	close(deny_fd);
	close(sources_fd);

	g = rig_open(0);
	assert_int_equal(guard_status(g)->n_entries_carried, 2);
	assert_true(has_deny(g, "192.0.2.9", &d));
	assert_int_equal(d.expires_ns, 5 * HOUR_NS);
	assert_int_equal(d.banned_at_ns, 4);
	assert_int_equal(d.packets, 3);
	assert_int_equal(d.bytes, 200);
	assert_int_equal(d.rule_id, 7);
	assert_int_equal(d.flags, 1);
	assert_int_equal(guard_stats_source(guard_maps(g), &a, &s), 0);
	assert_int_equal(s.packets, 11);
	assert_int_equal(s.syns, 13);
	assert_int_equal(s.drops, 0);
	assert_int_equal(s.last_seen_ns, 16);
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static void run_mode(const char *ifname, enum guard_mode mode, enum guard_mode want)
{
	struct guard *g = rig_open(0);
	struct guard_attachment a;
	uint8_t kernel_mode;

	rig_attach(g, ifname, mode, &a);
	assert_int_equal(a.mode, want);
	assert_string_equal(a.ifname, ifname);
	assert_int_equal(rig_attached_id(ifname, &kernel_mode), g->prog_id);
	assert_int_equal(kernel_mode,
			 want == GUARD_MODE_NATIVE ? XDP_ATTACHED_DRV : XDP_ATTACHED_SKB);
	if (mode == GUARD_MODE_AUTO && want == GUARD_MODE_GENERIC)
		assert_non_null(strstr(a.reason, "native XDP is refused"));
	else
		assert_string_equal(a.reason, "");
	guard_close(g, GUARD_CLOSE_REMOVE);
	assert_int_equal(rig_attached_id(ifname, NULL), 0);
}

static void test_modes(void **state)
{
	struct guard *g;

	run_mode("sl-a", GUARD_MODE_NATIVE, GUARD_MODE_NATIVE);
	run_mode("sl-a", GUARD_MODE_GENERIC, GUARD_MODE_GENERIC);
	run_mode("sl-a", GUARD_MODE_AUTO, GUARD_MODE_NATIVE);
	run_mode("sl-a.5", GUARD_MODE_AUTO, GUARD_MODE_GENERIC);
	run_mode("lo", GUARD_MODE_AUTO, GUARD_MODE_GENERIC);

	g = rig_open(0);
	assert_int_equal(guard_attach(g, "lo", GUARD_MODE_NATIVE, NULL, rig_err, sizeof rig_err),
			 -SL_ESYS);
	assert_non_null(strstr(rig_err, "native XDP is refused on \"lo\""));
	assert_int_equal(guard_attach(g, "sl-none", GUARD_MODE_AUTO, NULL, rig_err, sizeof rig_err),
			 -SL_ENOTFOUND);
	assert_non_null(strstr(rig_err, "sl-none"));
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static void run_traffic(enum guard_mode mode)
{
	struct guard *g = rig_open(0);
	const struct guard_maps *m = guard_maps(g);
	struct guard_addr a = rig_addr(4);
	struct guard_source s;

	rig_attach(g, "sl-a", mode, NULL);
	send_frame("ip4 tcp=S");
	send_frame("q ip4 tcp=S");
	send_frame("ad q ip4 udp");
	send_frame("ip6 hop=0 tcp=S");
	assert_true(reaches(m, GUARD_PASS, 4));
	assert_int_equal(guard_stats_source(m, &a, &s), 0);
	assert_int_equal(s.packets, 3);
	assert_int_equal(s.syns, 2);
	rig_ban(g, "192.0.2.77", 0);
	rig_ban(g, "2001:db8:1:2:3:4:5:4d", 0);
	send_frame("ip4 tcp=S");
	send_frame("q ip4 tcp=S");
	send_frame("ip6 hop=0 tcp=S");
	send_frame("ad q ip6 frag=9 tcp=S");
	assert_true(reaches(m, GUARD_DROP_DENY, 4));
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static void test_traffic_on_a_veth(void **state)
{
	run_traffic(GUARD_MODE_NATIVE);
	run_traffic(GUARD_MODE_GENERIC);
}

static void share(struct guard *g, unsigned priority, struct guard_attachment *a)
{
	if (guard_attach_share(g, "sl-a", GUARD_MODE_AUTO, priority, a, rig_err, sizeof rig_err))
		fail_msg("guard_attach_share: %s", rig_err);
}

/* Where the kernel has no freplace libxdp attaches the program alone, and all but the sharing is the same. */
static void test_through_libxdp(void **state)
{
	struct guard *g = rig_open(0);
	struct guard_attachment a;
	uint32_t first, first_prog;

	share(g, 10, &a);
	assert_true(a.is_libxdp);
	assert_false(a.is_takeover);
	assert_int_equal(a.mode, GUARD_MODE_NATIVE);
	first = rig_attached_id("sl-a", NULL);
	assert_int_not_equal(first, 0);
	share(g, 10, &a); /* a reload */
	assert_int_equal(rig_attached_id("sl-a", NULL), first);
	rig_ban(g, "192.0.2.77", 0);
	send_frame("ip4 tcp=S");
	assert_true(reaches(guard_maps(g), GUARD_DROP_DENY, 1));
	first_prog = guard_prog_id(g->link_fds[0]);
	guard_close(g, GUARD_CLOSE_KEEP);

	send_frame("ip4 tcp=S");
	g = rig_open(0);
	assert_int_equal(guard_status(g)->n_links_kept, 1);
	share(g, 10, &a);
	assert_true(a.is_takeover);
	assert_int_not_equal(guard_prog_id(g->link_fds[0]), first_prog);
	assert_true(is_prog_gone(first_prog));
	send_frame("ip4 tcp=S");
	assert_true(reaches(guard_maps(g), GUARD_DROP_DENY, 3));
	/* The interface as its own again, and back. */
	rig_attach(g, "sl-a", GUARD_MODE_AUTO, &a);
	assert_false(a.is_libxdp);
	assert_int_equal(rig_attached_id("sl-a", NULL), g->prog_id);
	share(g, 20, &a);
	guard_close(g, GUARD_CLOSE_REMOVE);
	assert_int_equal(rig_attached_id("sl-a", NULL), 0);
	rig_assert_no_trace();
}

static void test_libxdp_leaves_others_alone(void **state)
{
	struct guard *g = rig_open(0);
	uint32_t id;
	int prog = rig_load_foreign(&id);

	assert_int_equal(
		bpf_xdp_attach((int)if_nametoindex("sl-a"), prog, XDP_FLAGS_DRV_MODE, NULL), 0);
	assert_int_equal(
		guard_attach_share(g, "sl-a", GUARD_MODE_AUTO, 10, NULL, rig_err, sizeof rig_err),
		-SL_EEXIST);
	assert_non_null(strstr(rig_err, "already runs the XDP program"));
	assert_int_equal(rig_attached_id("sl-a", NULL), id);
	guard_close(g, GUARD_CLOSE_REMOVE);
	assert_int_equal(rig_attached_id("sl-a", NULL), id);
	close(prog);
}

static void test_reload_of_interfaces(void **state)
{
	static const char *const only_a[] = {"sl-a"};
	const struct guard_attachment *list;
	struct guard_attachment a;
	struct guard *g = rig_open(0);
	uint32_t link;

	rig_attach(g, "sl-a", GUARD_MODE_NATIVE, NULL);
	rig_attach(g, "sl-b", GUARD_MODE_NATIVE, NULL);
	rig_attach(g, "sl-a.5", GUARD_MODE_GENERIC, NULL);
	link = link_id_of("sl-a");
	assert_int_equal(guard_attach_list(g, &list), 3);
	rig_attach(g, "sl-a", GUARD_MODE_NATIVE, &a);
	assert_int_equal(guard_attach_only(g, only_a, 1), 2);
	assert_int_equal(rig_attached_id("sl-b", NULL), 0);
	assert_int_equal(rig_attached_id("sl-a.5", NULL), 0);
	assert_int_equal(guard_attach_list(g, &list), 1);
	assert_string_equal(list[0].ifname, "sl-a");
	assert_int_equal(link_id_of("sl-a"), link);

	rig_attach(g, "sl-a", GUARD_MODE_GENERIC, &a);
	assert_int_equal(a.mode, GUARD_MODE_GENERIC);
	rig_attach(g, "sl-a", GUARD_MODE_AUTO, &a);
	assert_int_equal(a.mode, GUARD_MODE_GENERIC);
	rig_attach(g, "lo", GUARD_MODE_GENERIC, NULL);
	assert_int_equal(guard_attach(g, "lo", GUARD_MODE_NATIVE, NULL, rig_err, sizeof rig_err),
			 -SL_ESYS);
	assert_int_equal(rig_attached_id("lo", NULL), g->prog_id); /* back in the mode before */
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
	assert_int_equal(rig_attached_id("lo", NULL), 0);
}

static void test_interfaces_that_go_and_come(void **state)
{
	const struct guard_attachment *list;
	struct guard *g = rig_open(0);

	rig_attach(g, "sl-a", GUARD_MODE_NATIVE, NULL);
	rig_delete_interfaces();
	rig_make_links(NULL);
	rig_attach(g, "sl-a", GUARD_MODE_NATIVE, NULL);
	assert_int_equal(guard_attach_list(g, &list), 1);
	guard_close(g, GUARD_CLOSE_KEEP);
	rig_delete_interfaces();
	rig_make_links(NULL);
	g = rig_open(0);
	assert_int_equal(guard_status(g)->n_links_kept, 0);
	assert_int_equal(guard_status(g)->n_links_removed, 1);
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static void test_says_who_is_in_the_way(void **state)
{
	char id_text[32];
	uint32_t id;
	struct guard *g = rig_open(0);
	int prog = rig_load_foreign(&id), ifindex = (int)if_nametoindex("sl-a"), link;

	snprintf(id_text, sizeof id_text, "(id %u, native)", id);
	assert_int_equal(bpf_xdp_attach(ifindex, prog, XDP_FLAGS_DRV_MODE, NULL), 0);
	for (int mode = GUARD_MODE_AUTO; mode <= GUARD_MODE_GENERIC; mode++) {
		assert_int_equal(guard_attach(g, "sl-a", mode, NULL, rig_err, sizeof rig_err),
				 -SL_EEXIST);
		assert_non_null(strstr(rig_err, "\"sl-a\""));
		assert_non_null(strstr(rig_err, "\"sl_foreign\""));
		assert_non_null(strstr(rig_err, id_text));
		assert_non_null(strstr(rig_err, "ip link set dev sl-a xdp off"));
	}
	assert_int_equal(bpf_xdp_detach(ifindex, XDP_FLAGS_DRV_MODE, NULL), 0);

	link = bpf_link_create(prog, ifindex, BPF_XDP, NULL);
	assert_true(link >= 0);
	assert_int_equal(guard_attach(g, "sl-a", GUARD_MODE_AUTO, NULL, rig_err, sizeof rig_err),
			 -SL_EEXIST);
	assert_non_null(strstr(rig_err, id_text));
	assert_non_null(strstr(rig_err, "bpftool link detach id"));
	close(link);
	close(prog);
	rig_attach(g, "sl-a", GUARD_MODE_AUTO, NULL);
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, rig_make_links, rig_delete_links)
	const struct CMUnitTest tests[] = {
		T(test_pins_are_roots_alone_and_readable_by_bpftool),
		T(test_mounts_bpffs_itself),
		T(test_refuses_a_folder_that_others_can_write),
		T(test_one_guard_at_a_time),
		T(test_takes_over_after_a_crash),
		T(test_close_frees_though_a_descriptor_is_left),
		T(test_detach_keeps_bans),
		T(test_carries_over_what_does_not_fit),
		T(test_carries_over_an_older_schema),
		T(test_modes),
		T(test_traffic_on_a_veth),
		T(test_through_libxdp),
		T(test_libxdp_leaves_others_alone),
		T(test_reload_of_interfaces),
		T(test_interfaces_that_go_and_come),
		T(test_says_who_is_in_the_way),
	};

	rig_enter();
	return cmocka_run_group_tests_name("guard_loader", tests, NULL, NULL);
}
