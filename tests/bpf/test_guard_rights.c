/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may do what with the guard: children that only read, a master with few capabilities, and a
 * process with none. */
#include "tests/bpf/rig.h"

#include <dirent.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Runs FN in a child, which fails the test by ending with anything but 0. */
static void in_child(void (*fn)(struct guard *g, const struct guard_maps *reader), struct guard *g,
		     const struct guard_maps *reader)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		fn(g, reader);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void check_at(bool is_true, int line)
{
	if (is_true)
		return;
	fprintf(stderr, "child failed at line %d: %s (%s)\n", line, rig_err, strerror(errno));
	_exit(1);
}

#define CHECK(cond) check_at((cond), __LINE__)

/* How many descriptors of this process are of a kind. */
static size_t count_fds(const char *kind)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	size_t n = 0;

	while (dir && (e = readdir(dir))) {
		char path[300], to[128];
		ssize_t len;

		snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
		len = readlink(path, to, sizeof to - 1);
		to[len > 0 ? len : 0] = '\0';
		n += strstr(to, kind) != NULL;
	}
	if (dir)
		closedir(dir);
	return n;
}

static int stop_at_first(void *arg, const struct guard_addr *addr, const struct guard_deny *deny)
{
	return 1;
}

static void be_worker(struct guard *g, const struct guard_maps *reader)
{
	struct guard_total totals[GUARD_N_TOTALS];
	struct guard_source_entry top[4];
	const struct guard_ban b = {0};
	struct guard_addr a = rig_addr_of("192.0.2.1");
	struct guard_deny d;

	guard_close_in_child(g);
	CHECK(count_fds("bpf-prog") == 0);
	CHECK(count_fds("bpf_link") == 0 && count_fds("bpf-link") == 0);
	CHECK(count_fds("bpf-map") == GUARD_N_MAPS);
	CHECK(count_fds(rig_pin_dir) == 0);
	CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);

	CHECK(guard_stats_totals(reader, totals) == 0);
	CHECK(totals[GUARD_PASS].packets == 1);
	CHECK(guard_stats_top(reader, top, 4) == 1);
	CHECK(top[0].counts.packets == 1);
	CHECK(guard_deny_get(reader, &a, &d) == 0);
	CHECK(guard_deny_each(reader, stop_at_first, NULL) == 1);

	errno = 0;
	CHECK(guard_deny_add(reader, &a, &b, 1) == -SL_ESYS && errno == EPERM);
	CHECK(guard_deny_del(reader, &a) == -SL_ESYS && errno == EPERM);
	CHECK(guard_maps_set_flags(reader, true, true) == -SL_ESYS && errno == EPERM);
}

static void test_children_read_only(void **state)
{
	const struct guard_options opt = {.pin_dir = rig_pin_dir};
	struct guard *g = rig_open(0), *second;
	struct guard_maps reader;
	struct rig_packet p;

	rig_attach(g, "sl-a", GUARD_MODE_NATIVE, NULL);
	rig_ban(g, "192.0.2.1", 0);
	rig_build(&p, "ip4 tcp=S", 0);
	assert_int_equal(rig_run(g, p.bytes, p.n), XDP_PASS);
	assert_int_equal(guard_maps_open_reader(g, &reader, rig_err, sizeof rig_err), 0);
	assert_int_equal(count_fds("bpf-prog"), 1);
	assert_int_equal(count_fds("bpf_link") + count_fds("bpf-link"), 1);
	in_child(be_worker, g, &reader);
	guard_maps_close(&reader);
	/* The parent has lost neither the guard nor its lock. */
	assert_int_equal(rig_attached_id("sl-a", NULL), g->prog_id);
	assert_int_equal(guard_open(&second, &opt, rig_err, sizeof rig_err), -SL_EEXIST);
	guard_close(g, GUARD_CLOSE_REMOVE);
	rig_assert_no_trace();
}

static void be_nobody(struct guard *g, const struct guard_maps *reader)
{
	const struct guard_options opt = {.pin_dir = rig_pin_dir};

	CHECK(setresuid(65534, 65534, 65534) == 0);
	CHECK(guard_probe(rig_err, sizeof rig_err) == -SL_EPERM);
	CHECK(strstr(rig_err, "CAP_BPF"));
	rig_err[0] = '\0';
	CHECK(guard_open(&g, &opt, rig_err, sizeof rig_err) == -SL_EPERM);
	CHECK(strstr(rig_err, "CAP_BPF") && !g);
}

static void test_without_permission(void **state)
{
	assert_int_equal(guard_probe(rig_err, sizeof rig_err), 0);
	in_child(be_nobody, NULL, NULL);
}

/* Uid 0 with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON alone: the whole life. Without the last it says so. */
static void be_least_master(struct guard *g, const struct guard_maps *reader)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {0};
	const struct guard_options opt = {.pin_dir = rig_pin_dir};
	const uint32_t net_admin = 1u << CAP_NET_ADMIN, bpf = 1u << (CAP_BPF - 32),
		       perfmon = 1u << (CAP_PERFMON - 32);
	struct guard_attachment a;
	int prog;
	uint32_t id;

	prog = rig_load_foreign(&id);
	CHECK(bpf_xdp_attach((int)if_nametoindex("sl-b"), prog, XDP_FLAGS_DRV_MODE, NULL) == 0);
	caps[0].effective = caps[0].permitted = net_admin;
	caps[1].permitted = bpf | perfmon;
	caps[1].effective = bpf;
	CHECK(syscall(SYS_capset, &head, caps) == 0);
	CHECK(guard_probe(rig_err, sizeof rig_err) == -SL_EPERM);
	CHECK(strstr(rig_err, "CAP_PERFMON"));
	rig_err[0] = '\0';
	caps[1].effective = caps[1].permitted;
	CHECK(syscall(SYS_capset, &head, caps) == 0);
	CHECK(guard_probe(rig_err, sizeof rig_err) == 0);
	CHECK(guard_open(&g, &opt, rig_err, sizeof rig_err) == 0);
	CHECK(guard_attach(g, "sl-a", GUARD_MODE_NATIVE, &a, rig_err, sizeof rig_err) == 0);
	rig_ban(g, "192.0.2.1", 0);
	/* Who is in the way has its id, if not its name: that needs CAP_SYS_ADMIN. */
	CHECK(guard_attach(g, "sl-b", GUARD_MODE_NATIVE, &a, rig_err, sizeof rig_err) ==
	      -SL_EEXIST);
	CHECK(strstr(rig_err, "\"?\" (id "));
	guard_close(g, GUARD_CLOSE_KEEP);

	CHECK(guard_open(&g, &opt, rig_err, sizeof rig_err) == 0);
	CHECK(rig_is_banned(g, "192.0.2.1"));
	CHECK(guard_attach(g, "sl-a", GUARD_MODE_NATIVE, &a, rig_err, sizeof rig_err) == 0);
	CHECK(a.is_takeover && rig_attached_id("sl-a", NULL) == g->prog_id);
	CHECK(guard_attach(g, "sl-a", GUARD_MODE_GENERIC, &a, rig_err, sizeof rig_err) == 0);
	guard_close(g, GUARD_CLOSE_REMOVE);
	CHECK(rig_attached_id("sl-a", NULL) == 0);
}

static void test_least_capabilities(void **state)
{
	guard_close(rig_open(0), GUARD_CLOSE_REMOVE); /* mounts bpffs, which takes more */
	in_child(be_least_master, NULL, NULL);
	rig_assert_no_trace();
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, rig_make_links, rig_delete_links)
	const struct CMUnitTest tests[] = {
		T(test_children_read_only),
		T(test_without_permission),
		T(test_least_capabilities),
	};

	rig_enter();
	return cmocka_run_group_tests_name("guard_rights", tests, NULL, NULL);
}
