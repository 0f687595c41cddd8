/* SPDX-License-Identifier: BSD-2-Clause */
/* What the admin process shows of the XDP guard: real maps of the guard's layout with known
 * content, read-only descriptors, a process without privileges. Needs the right to make BPF maps.
 */
#include "tests/unit/admin/rig.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "tests/unit/admin/prom.h"

struct fx {
	struct rig *rig;
	struct guard_maps maps, reader;
};

static const struct {
	enum bpf_map_type type;
	uint32_t key, value, entries;
} layouts[GUARD_N_MAPS] = {
	[GUARD_MAP_ALLOW_V4] = {BPF_MAP_TYPE_HASH, 8, sizeof(struct guard_net), 1},
	[GUARD_MAP_ALLOW_V6] = {BPF_MAP_TYPE_HASH, 20, sizeof(struct guard_net), 1},
	[GUARD_MAP_DENY_V4] = {BPF_MAP_TYPE_HASH, 4, sizeof(struct guard_deny), 64},
	[GUARD_MAP_DENY_V6] = {BPF_MAP_TYPE_HASH, 16, sizeof(struct guard_deny), 64},
	[GUARD_MAP_DENY_NET_V4] = {BPF_MAP_TYPE_HASH, 8, sizeof(struct guard_net), 1},
	[GUARD_MAP_DENY_NET_V6] = {BPF_MAP_TYPE_HASH, 20, sizeof(struct guard_net), 1},
	[GUARD_MAP_SOURCES_V4] = {BPF_MAP_TYPE_LRU_HASH, 4, sizeof(struct guard_source), 4096},
	[GUARD_MAP_SOURCES_V6] = {BPF_MAP_TYPE_LRU_HASH, 16, sizeof(struct guard_source), 4096},
	[GUARD_MAP_BAN_NET_V4] = {BPF_MAP_TYPE_HASH, 8, sizeof(struct guard_net), 1},
	[GUARD_MAP_BAN_NET_V6] = {BPF_MAP_TYPE_HASH, 20, sizeof(struct guard_net), 1},
	[GUARD_MAP_PREFIXES_V6] = {BPF_MAP_TYPE_LRU_HASH, 16, sizeof(struct guard_prefix), 64},
	[GUARD_MAP_HEARTBEAT] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(uint64_t), 1},
	[GUARD_MAP_GOOD] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(uint64_t), 1},
	[GUARD_MAP_EVENTS] = {BPF_MAP_TYPE_RINGBUF, 0, 0, 4096},
	[GUARD_MAP_SKETCH] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct guard_cell), 1},
	[GUARD_MAP_FILTER] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(uint64_t), 1},
	[GUARD_MAP_KNOWN] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct guard_known), 1},
	[GUARD_MAP_STATE] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct guard_state), 1},
	[GUARD_MAP_CPU] = {BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct guard_cpu), 1},
	[GUARD_MAP_TOTALS] = {BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct guard_total),
			      GUARD_N_TOTALS},
	[GUARD_MAP_SETTINGS] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct guard_settings), 1},
};

static int read_only_copy(int fd)
{
	LIBBPF_OPTS(bpf_get_fd_by_id_opts, opts, .open_flags = BPF_F_RDONLY);
	struct bpf_map_info info = {0};
	uint32_t n = sizeof info;

	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &n), 0);
	return bpf_map_get_fd_by_id_opts(info.id, &opts);
}

static void put_source(struct fx *fx, uint32_t i, uint64_t packets)
{
	struct guard_source s = {.packets = packets,
				 .bytes = packets * 60,
				 .syns = packets / 2,
				 .drops = packets / 4,
				 .first_seen_ns = clock_mono_ns() - 2000000000ull,
				 .last_seen_ns = clock_mono_ns() - 1000000000ull};
	uint8_t v4[4] = {198, 51, (uint8_t)(i >> 8), (uint8_t)i};
	uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i};
	int fd = fx->maps.fd[i % 2 ? GUARD_MAP_SOURCES_V6 : GUARD_MAP_SOURCES_V4];

	assert_int_equal(bpf_map_update_elem(fd, i % 2 ? v6 : v4, &s, BPF_ANY), 0);
}

static void fill(struct fx *fx)
{
	struct guard_total per_cpu[1024] = {0};
	struct guard_settings set = {.schema = GUARD_SCHEMA, .dry_run = 1};
	struct guard_addr addr = {.family = 4, .bytes = {198, 51, 0, 4}};
	struct guard_ban ban = {.expires_ns = clock_mono_ns() + 600000000000ull, .rule_id = 5};
	struct guard_deny deny;
	uint32_t key = 0;

	assert_true(fx->maps.n_cpus <= 1024);
	assert_int_equal(bpf_map_update_elem(fx->maps.fd[GUARD_MAP_SETTINGS], &key, &set, 0), 0);
	for (int cpu = 0; cpu < fx->maps.n_cpus; cpu++)
		per_cpu[cpu] = (struct guard_total){.packets = 10, .bytes = 1000};
	key = GUARD_DROP_DENY;
	assert_int_equal(bpf_map_update_elem(fx->maps.fd[GUARD_MAP_TOTALS], &key, per_cpu, 0), 0);
	for (uint32_t i = 0; i < 1200; i++)
		put_source(fx, i, 100 + i);
	assert_int_equal(guard_deny_add(&fx->maps, &addr, &ban, clock_mono_ns()), 0);
	assert_int_equal(guard_deny_get(&fx->maps, &addr, &deny), 0);
	deny.packets = 321;
	deny.bytes = 32100;
	assert_int_equal(bpf_map_update_elem(fx->maps.fd[GUARD_MAP_DENY_V4], addr.bytes, &deny, 0),
			 0);
}

static int setup(void **state)
{
	struct fx *fx = calloc(1, sizeof *fx);

	fx->rig = rig_new();
	fx->maps.n_cpus = fx->reader.n_cpus = libbpf_num_possible_cpus();
	for (int i = 0; i < GUARD_N_MAPS; i++) {
		fx->maps.fd[i] = bpf_map_create(layouts[i].type, "sl_test", layouts[i].key,
						layouts[i].value, layouts[i].entries, NULL);
		if (fx->maps.fd[i] < 0)
			fail_msg("cannot make a BPF map: %s", strerror(errno));
		fx->reader.fd[i] = read_only_copy(fx->maps.fd[i]);
		assert_true(fx->reader.fd[i] >= 0);
	}
	fill(fx);
	fx->rig->env.guard = &fx->reader;
	fx->rig->stats->guard_on = fx->rig->stats->guard_interfaces = 1;
	snprintf(fx->rig->stats->guard_mode, sizeof fx->rig->stats->guard_mode, "sl-veth0 native");
	fx->rig->drop = true;
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fx *fx = *state;

	guard_maps_close(&fx->maps);
	guard_maps_close(&fx->reader);
	rig_free(fx->rig);
	free(fx);
	return 0;
}

static json_int_t num(const json_t *j, const char *key)
{
	assert_true(json_is_integer(json_object_get(j, key)));
	return json_integer_value(json_object_get(j, key));
}

static const char *text(const json_t *j, const char *key)
{
	assert_true(json_is_string(json_object_get(j, key)));
	return json_string_value(json_object_get(j, key));
}

static void ban_in_kernel(struct fx *fx)
{
	struct ban_entry e;
	struct ban_net net = {.family = 4, .bytes = {198, 51, 0, 4}};

	rig_ban(fx->rig, "198.51.0.4", 600000, 0, "limit_req");
	assert_true(ban_find(fx->rig->bans, &net, &e));
	e.in_kernel = 1;
	assert_int_equal(ban_put(fx->rig->bans, &e), 0);
}

static void test_sources(void **state)
{
	struct fx *fx = *state;
	struct reply a;
	json_t *j, *list, *first;

	ban_in_kernel(fx);
	rig_start(fx->rig);
	a = rig_ask(fx->rig, "GET", "/api/v1/sources", "");
	assert_int_equal(a.status, 200);
	j = rig_json(&a);
	assert_string_equal(text(j, "guard"), "on");
	list = json_object_get(j, "sources");
	assert_int_equal(json_array_size(list), 20);
	first = json_array_get(list, 0);
	assert_string_equal(text(first, "address"), "2001:db8::4af");
	assert_int_equal(num(first, "packets"), 1299);
	assert_int_equal(num(first, "bytes"), 1299 * 60);
	assert_int_equal(num(first, "syns"), 649);
	assert_int_equal(num(first, "drops"), 324);
	assert_true(strcmp(text(first, "first_seen"), text(first, "last_seen")) < 0);
	assert_string_equal(text(json_array_get(list, 1), "address"), "198.51.4.174");
	for (size_t i = 1; i < 20; i++)
		assert_true(num(json_array_get(list, i - 1), "packets") >
			    num(json_array_get(list, i), "packets"));
	a = rig_ask(fx->rig, "GET", "/api/v1/sources?top=1000", "");
	assert_int_equal(json_array_size(json_object_get(rig_json(&a), "sources")), 1000);
	a = rig_ask(fx->rig, "GET", "/api/v1/sources?top=1001", "");
	rig_assert_error(&a, 400, "bad_request");
}

static void test_source_banned(void **state)
{
	struct fx *fx = *state;
	struct reply a;
	json_t *first, *second;

	put_source(fx, 4, 1000000);
	put_source(fx, 6, 999999);
	ban_in_kernel(fx);
	rig_start(fx->rig);
	a = rig_ask(fx->rig, "GET", "/api/v1/sources?top=2", "");
	first = json_array_get(json_object_get(rig_json(&a), "sources"), 0);
	second = json_array_get(json_object_get(rig_json(&a), "sources"), 1);
	assert_string_equal(text(first, "address"), "198.51.0.4");
	assert_true(json_is_true(json_object_get(first, "banned")));
	assert_string_equal(text(second, "address"), "198.51.0.6");
	assert_true(json_is_false(json_object_get(second, "banned")));
}

static void test_totals(void **state)
{
	struct fx *fx = *state;
	struct prom p = {0};
	struct reply a, b;
	char line[96];
	json_t *guard, *totals;

	ban_in_kernel(fx);
	rig_start(fx->rig);
	a = rig_ask(fx->rig, "GET", "/api/v1/status", "");
	guard = json_object_get(rig_json(&a), "guard");
	assert_true(json_is_true(json_object_get(guard, "on")));
	assert_true(json_is_true(json_object_get(guard, "dry_run")));
	assert_string_equal(text(guard, "mode"), "sl-veth0 native");
	totals = json_object_get(guard, "totals");
	assert_int_equal(json_object_size(totals), GUARD_N_TOTALS);
	assert_int_equal(num(json_object_get(totals, "drop_deny"), "packets"),
			 10 * fx->maps.n_cpus);
	assert_int_equal(num(json_object_get(totals, "pass"), "packets"), 0);
	a = rig_ask(fx->rig, "GET", "/metrics", "");
	if (!prom_check(&p, a.body))
		fail_msg("%s", p.error);
	prom_fini(&p);
	snprintf(line, sizeof line, "\nsluice_guard_packets_total{verdict=\"drop_deny\"} %d\n",
		 10 * fx->maps.n_cpus);
	assert_non_null(strstr(a.body, line));
	snprintf(line, sizeof line, "\nsluice_guard_bytes_total{verdict=\"drop_deny\"} %d\n",
		 1000 * fx->maps.n_cpus);
	assert_non_null(strstr(a.body, line));
	assert_non_null(strstr(a.body, "\nsluice_guard_attached 1\n"));
	/* On one of two is not on. */
	fx->rig->stats->guard_interfaces = 2;
	b = rig_ask(fx->rig, "GET", "/metrics", "");
	assert_non_null(strstr(b.body, "\nsluice_guard_attached 0\n"));
	assert_non_null(strstr(a.body, "\nsluice_bans_in_kernel 1\n"));
}

static void test_ban_dropped(void **state)
{
	struct fx *fx = *state;
	struct reply a;
	json_t *ban;

	ban_in_kernel(fx);
	rig_start(fx->rig);
	a = rig_ask(fx->rig, "GET", "/api/v1/bans/198.51.0.4", "");
	ban = rig_json(&a);
	assert_true(json_is_true(json_object_get(ban, "in_kernel")));
	assert_int_equal(num(json_object_get(ban, "dropped"), "packets"), 321);
	assert_int_equal(num(json_object_get(ban, "dropped"), "bytes"), 32100);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_sources),
		T(test_source_banned),
		T(test_totals),
		T(test_ban_dropped),
	};
#undef T

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
