/* SPDX-License-Identifier: BSD-2-Clause */
/* The steering program on real listening sockets: BPF_PROG_RUN knows no sk_reuseport. */
#include "tests/bpf/rig.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kernel/steer.h"

enum { N_MAX = 4, PORT = 7777 };

struct world {
	struct steer *steer;
	struct steer_group *group;
	enum steer_how how;
	struct steer_place place[N_MAX];
	unsigned n_places;
	struct steer_load *load; /* of slot 0; socket I is served by slot 10 + I */
	int n, fd[N_MAX];
	int client[512], n_clients;
};

static int listen_fd(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), errno);
	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), errno);
	assert_return_code(bind(fd, (struct sockaddr *)&a, sizeof a), errno);
	assert_return_code(listen(fd, 511), errno);
	return fd;
}

static struct steer_load *load(struct world *w, int i)
{
	return &w->load[10 + i];
}

static void set(struct world *w)
{
	assert_int_equal(steer_group_set(w->group, w->how, w->place, w->n_places), 0);
}

static void put(struct world *w, int i)
{
	assert_int_equal(steer_group_put(w->group, (unsigned)i, w->fd[i]), 0);
}

/* Of the sockets that are served, I is one more. */
static void serve(struct world *w, int i)
{
	w->place[w->n_places++] =
		(struct steer_place){.socket = (uint32_t)i, .slot = (uint32_t)(10 + i)};
}

static void begin(struct world *w, int n, enum steer_how how)
{
	*w = (struct world){.n = n, .how = how};
	if (steer_open(&w->steer, rig_err, sizeof rig_err) ||
	    steer_group_open(w->steer, &w->group, rig_err, sizeof rig_err))
		fail_msg("%s", rig_err);
	w->load = steer_loads(w->steer);
	for (int i = 0; i < n; i++) {
		w->fd[i] = listen_fd();
		put(w, i);
		serve(w, i);
	}
	assert_int_equal(steer_group_attach(w->group, w->fd[0]), 0);
	set(w);
}

static void end(struct world *w)
{
	for (int i = 0; i < w->n_clients; i++)
		close(w->client[i]);
	for (int i = 0; i < w->n; i++)
		if (w->fd[i] >= 0)
			close(w->fd[i]);
	steer_group_close(w->group);
	steer_close(w->steer);
}

/* N connections, each with a byte that says its number; they wait to be accepted. */
static void dial(struct world *w, int n)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	while (n--) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		char c = (char)w->n_clients;

		assert_return_code(connect(fd, (struct sockaddr *)&a, sizeof a), errno);
		assert_int_equal(send(fd, &c, 1, 0), 1);
		w->client[w->n_clients++] = fd;
	}
}

/* How many wait at socket I; each has its byte. */
static int taken(struct world *w, int i)
{
	int n = 0, fd;
	char c;

	while ((fd = accept(w->fd[i], NULL, NULL)) >= 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_int_equal(recv(fd, &c, 1, 0), 1);
		close(fd);
		n++;
	}
	assert_int_equal(errno, EAGAIN);
	return n;
}

static void test_the_one_with_fewer_connections(void **state)
{
	struct world w;

	begin(&w, 2, STEER_LOAD);
	load(&w, 0)->conns = 1000;
	dial(&w, 40);
	assert_int_equal(taken(&w, 0), 0);
	assert_int_equal(taken(&w, 1), 40);
	assert_int_equal(load(&w, 1)->given, 40);
	load(&w, 1)->conns = 2000;
	dial(&w, 40);
	assert_int_equal(taken(&w, 0), 40);
	end(&w);
}

/* Connections over the idle share: 1000 of a loop that works half its time weigh as much as 2000 of an idle one. */
static void test_busy_loops_weigh_more(void **state)
{
	static const struct {
		uint32_t conns[2], busy[2];
		int better;
	} cases[] = {
		{{1000, 1900}, {8, 0}, 1},	    {{1000, 2100}, {8, 0}, 0},
		{{1000, 1040}, {1, 0}, 1},	    {{1000, 1100}, {1, 0}, 0},
		{{100, 1400}, {15, 0}, 1},	    {{0, 60}, {15, 1}, 0},
		{{100, 20000}, {16, 0}, 1},	    {{100, 200}, {16, 16}, 0},
		{{100, 20000}, {UINT32_MAX, 0}, 1},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct world w;

		begin(&w, 2, STEER_LOAD);
		for (int k = 0; k < 2; k++) {
			load(&w, k)->conns = cases[i].conns[k];
			load(&w, k)->busy = cases[i].busy[k];
		}
		dial(&w, 1);
		if (taken(&w, cases[i].better) != 1)
			fail_msg("case %zu", i);
		end(&w);
	}
}

static void test_those_that_wait_count(void **state)
{
	struct world w;

	begin(&w, 2, STEER_LOAD);
	dial(&w, 40);
	assert_int_equal(taken(&w, 0), 20);
	assert_int_equal(taken(&w, 1), 20);
	/* Figures that contradict each other are no load. */
	load(&w, 0)->taken = 1000;
	load(&w, 1)->taken = 0;
	dial(&w, 10);
	assert_int_equal(taken(&w, 0), 10);
	end(&w);
}

static void test_the_busiest_of_many_gets_nothing(void **state)
{
	struct world w;
	int got[4];

	begin(&w, 4, STEER_LOAD);
	for (int i = 0; i < 4; i++)
		load(&w, i)->conns = (uint32_t)i * 10000;
	dial(&w, 400);
	for (int i = 0; i < 4; i++)
		got[i] = taken(&w, i);
	/* Of two taken at random: the first in 1/2, the second in 1/3, the third in 1/6. */
	assert_int_equal(got[3], 0);
	assert_in_range(got[0], 140, 260);
	assert_in_range(got[1], 80, 190);
	assert_in_range(got[2], 25, 120);
	end(&w);
}

static void test_who_is_not_there_gets_nothing(void **state)
{
	struct world w;

	begin(&w, 3, STEER_LOAD);
	w.n_places = 0;
	serve(&w, 1);
	serve(&w, 2);
	load(&w, 1)->conns = 5000;
	set(&w);
	dial(&w, 60);
	assert_int_equal(taken(&w, 0), 0);
	assert_int_equal(taken(&w, 2), 60);
	w.n_places = 1;
	set(&w);
	dial(&w, 30);
	assert_int_equal(taken(&w, 1), 30);
	end(&w);
}

static void test_with_nobody_at_all_the_kernel_chooses(void **state)
{
	struct world w;
	int a, b;

	begin(&w, 2, STEER_LOAD);
	w.n_places = 0;
	set(&w);
	dial(&w, 60);
	a = taken(&w, 0);
	b = taken(&w, 1);
	assert_int_equal(a + b, 60);
	assert_in_range(a, 10, 50);
	end(&w);
}

static void test_one_worker(void **state)
{
	struct world w;

	begin(&w, 1, STEER_LOAD);
	dial(&w, 5);
	assert_int_equal(taken(&w, 0), 5);
	end(&w);
}

static void test_by_hash(void **state)
{
	struct world w;
	int a;

	begin(&w, 2, STEER_HASH);
	load(&w, 0)->conns = 100000; /* not looked at */
	dial(&w, 100);
	a = taken(&w, 0);
	assert_in_range(a, 25, 75);
	assert_int_equal(taken(&w, 1), 100 - a);
	w.n_places = 0;
	serve(&w, 1);
	set(&w);
	dial(&w, 30);
	assert_int_equal(taken(&w, 1), 30);
	end(&w);
}

static void test_settings_out_of_range_leave_it_to_the_kernel(void **state)
{
	struct world w;
	int a;

	begin(&w, 2, STEER_LOAD);
	for (int k = 0; k < 2; k++) {
		load(&w, 0)->conns = 100000;
		w.n_places = k ? 2 : 0;
		w.place[0].slot = w.place[1].slot = STEER_WORKERS_MAX;
		set(&w);
		dial(&w, 60);
		a = taken(&w, 0);
		assert_in_range(a, 10, 50);
		assert_int_equal(taken(&w, 1), 60 - a);
	}
	end(&w);
}

/* Between the end of a socket and the settings that know of it. */
static void test_a_place_without_a_socket_is_passed_over(void **state)
{
	static const enum steer_how how[] = {STEER_HASH, STEER_LOAD};

	for (int k = 0; k < 2; k++) {
		struct world w;

		begin(&w, 2, how[k]);
		load(&w, 1)->conns = 1000;
		close(w.fd[0]);
		w.fd[0] = -1;
		dial(&w, 30);
		assert_int_equal(taken(&w, 1), 30);
		end(&w);
	}
}

/* What waits at a socket that closes goes to one that is served, and to the less busy of them. */
static void test_the_queue_of_a_closed_socket_moves(void **state)
{
	struct world w;

	begin(&w, 3, STEER_LOAD);
	w.n_places = 1;
	set(&w);
	dial(&w, 50);
	w.n_places = 0;
	serve(&w, 2);
	set(&w);
	close(w.fd[0]);
	w.fd[0] = -1;
	assert_int_equal(taken(&w, 1), 0);
	assert_int_equal(taken(&w, 2), 50);
	end(&w);
}

/* By hash as well, and also when nothing is chosen. */
static void test_the_queue_moves_however_it_is_chosen(void **state)
{
	static const enum steer_how how[] = {STEER_HASH, STEER_KERNEL};

	for (int k = 0; k < 2; k++) {
		struct world w;
		int n;

		begin(&w, 2, how[k]);
		dial(&w, 60);
		close(w.fd[0]);
		w.fd[0] = -1;
		n = taken(&w, 1);
		assert_int_equal(n, 60);
		end(&w);
	}
}

/* A worker that died: its socket is shut, and listens again for the next. */
static void test_a_socket_that_is_shut_and_listens_again(void **state)
{
	struct world w;

	begin(&w, 2, STEER_LOAD);
	load(&w, 1)->conns = 1000;
	dial(&w, 30);
	w.n_places = 0;
	serve(&w, 1);
	set(&w);
	assert_int_equal(shutdown(w.fd[0], SHUT_RD), 0);
	assert_int_equal(taken(&w, 1), 30);
	dial(&w, 10);
	assert_int_equal(taken(&w, 1), 10);
	assert_int_equal(listen(w.fd[0], 511), 0);
	dial(&w, 10); /* not in the map yet */
	assert_int_equal(taken(&w, 1), 10);
	put(&w, 0);
	serve(&w, 0);
	set(&w);
	dial(&w, 10);
	assert_int_equal(taken(&w, 0), 10);
	end(&w);
}

static void test_a_socket_that_joins_later(void **state)
{
	struct world w;

	begin(&w, 1, STEER_LOAD);
	w.fd[w.n++] = listen_fd();
	dial(&w, 10);
	assert_int_equal(taken(&w, 0), 10);
	put(&w, 1);
	load(&w, 0)->conns = 1000;
	serve(&w, 1);
	set(&w);
	dial(&w, 10);
	assert_int_equal(taken(&w, 1), 10);
	end(&w);
}

static void test_one_map_has_a_socket_at_a_time(void **state)
{
	struct steer_group *other;
	struct world w;

	begin(&w, 2, STEER_LOAD);
	put(&w, 0); /* once more is nothing */
	assert_int_equal(steer_group_open(w.steer, &other, rig_err, sizeof rig_err), 0);
	assert_int_equal(steer_group_put(other, 0, w.fd[0]), -SL_EEXIST);
	steer_group_release(w.group);
	assert_int_equal(steer_group_put(other, 0, w.fd[0]), 0);
	assert_int_equal(steer_group_attach(other, w.fd[0]), 0);
	assert_int_equal(steer_group_put(w.group, 0, w.fd[0]), -SL_EEXIST);
	steer_group_close(other);
	put(&w, 0);
	end(&w);
}

static void test_what_is_no_reuseport_socket(void **state)
{
	struct world w;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	begin(&w, 1, STEER_LOAD);
	assert_int_equal(steer_group_put(w.group, 1, fd), -SL_ESYS);
	assert_int_equal(steer_group_put(w.group, STEER_WORKERS_MAX, w.fd[0]), -SL_ESYS);
	close(fd);
	end(&w);
}

static bool keep_only(uint32_t bits)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{0}};

	d[bits / 32].effective = d[bits / 32].permitted = bits ? 1u << (bits % 32) : 0;
	if (bits == CAP_BPF && rig_needs_perfmon())
		d[1].effective = d[1].permitted |= 1u << (CAP_PERFMON - 32);
	return syscall(SYS_capset, &h, d) == 0;
}

static int in_child(int (*fn)(struct world *w), struct world *w)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(w));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int open_with_cap_bpf(struct world *w)
{
	if (keep_only(CAP_BPF) && steer_open(&w->steer, rig_err, sizeof rig_err) == 0 &&
	    steer_group_open(w->steer, &w->group, rig_err, sizeof rig_err) == 0)
		return 0;
	fprintf(stderr, "%s\n", rig_err);
	return 1;
}

static int open_without(struct world *w)
{
	return keep_only(0) && steer_open(&w->steer, rig_err, sizeof rig_err) == -SL_EPERM &&
			       strstr(rig_err, "CAP_BPF")
		       ? 0
		       : 1;
}

static void test_rights(void **state)
{
	struct world w = {0};

	assert_int_equal(in_child(open_with_cap_bpf, &w), 0);
	assert_int_equal(in_child(open_without, &w), 0);
}

/* A worker has memory and no descriptor of it. */
static int be_worker(struct world *w)
{
	struct steer_load *own = steer_close_in_worker(w->steer, 11);
	char path[64], to[64];

	for (int fd = 3; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		n = readlink(path, to, sizeof to - 1);
		to[n > 0 ? n : 0] = 0;
		if (strstr(to, "bpf"))
			return 2;
	}
	own->conns = 4321;
	return 0;
}

static void test_a_worker_writes_what_the_program_reads(void **state)
{
	struct world w;

	begin(&w, 2, STEER_LOAD);
	assert_int_equal(in_child(be_worker, &w), 0);
	assert_int_equal(load(&w, 1)->conns, 4321);
	dial(&w, 20);
	assert_int_equal(taken(&w, 0), 20);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_one_with_fewer_connections),
		cmocka_unit_test(test_busy_loops_weigh_more),
		cmocka_unit_test(test_those_that_wait_count),
		cmocka_unit_test(test_the_busiest_of_many_gets_nothing),
		cmocka_unit_test(test_who_is_not_there_gets_nothing),
		cmocka_unit_test(test_with_nobody_at_all_the_kernel_chooses),
		cmocka_unit_test(test_one_worker),
		cmocka_unit_test(test_by_hash),
		cmocka_unit_test(test_settings_out_of_range_leave_it_to_the_kernel),
		cmocka_unit_test(test_a_place_without_a_socket_is_passed_over),
		cmocka_unit_test(test_the_queue_of_a_closed_socket_moves),
		cmocka_unit_test(test_the_queue_moves_however_it_is_chosen),
		cmocka_unit_test(test_a_socket_that_is_shut_and_listens_again),
		cmocka_unit_test(test_a_socket_that_joins_later),
		cmocka_unit_test(test_one_map_has_a_socket_at_a_time),
		cmocka_unit_test(test_what_is_no_reuseport_socket),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_a_worker_writes_what_the_program_reads),
	};

	rig_enter();
	rig_sh("ip link set lo up");
	return cmocka_run_group_tests_name("steer", tests, NULL, NULL);
}
