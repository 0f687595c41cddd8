/* SPDX-License-Identifier: BSD-2-Clause */
/* What the filter lets through, refuses, and kills for: each in a process of its own, which has nothing else
 * against it (here: root, with all capabilities). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "master/confine.h"

#if defined(__SANITIZE_ADDRESS__)
enum {
	IS_SANITIZED = 1
}; /* its runtime needs what the filter refuses: only the list that kills holds */
#else
enum { IS_SANITIZED = 0 };
#endif

enum { SET_FAILED = 100 };

/* The wait status of a child that calls FN under the filter and leaves with its result. */
static int in_child(enum confine_role role, enum confine_mode mode, int (*fn)(const void *),
		    const void *arg)
{
	struct rlimit no_core = {0, 0};
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		char err[256];

		setrlimit(RLIMIT_CORE, &no_core);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    confine_enter(role, mode, err, sizeof err))
			_exit(SET_FAILED);
		_exit(fn(arg));
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

struct call {
	const char *name;
	long nr;
	long args[6];
	int flags;
};

enum { DEBUGGING = 1, WORKER_ONLY = 2 };

/* The errno, 0 where there is none. */
static int make(const void *arg)
{
	const struct call *c = arg;
	long r = syscall(c->nr, c->args[0], c->args[1], c->args[2], c->args[3], c->args[4],
			 c->args[5]);

	return r < 0 ? errno : 0;
}

static const struct call deadly[] = {
	{"execve", SYS_execve, {0}, DEBUGGING},
	{"execveat", SYS_execveat, {-1}, 0},
	{"ptrace", SYS_ptrace, {0}, DEBUGGING},
	{"process_vm_readv", SYS_process_vm_readv, {1}, DEBUGGING},
	{"process_vm_writev", SYS_process_vm_writev, {1}, 0},
	{"pidfd_getfd", SYS_pidfd_getfd, {-1}, 0},
	{"setuid", SYS_setuid, {0}, 0},
	{"setresuid", SYS_setresuid, {-1, -1, -1}, 0},
	{"setgroups", SYS_setgroups, {0}, 0},
	{"capset", SYS_capset, {0}, 0},
	{"mount", SYS_mount, {0}, 0},
	{"fsopen", SYS_fsopen, {0}, 0},
	{"unshare", SYS_unshare, {CLONE_NEWUSER}, 0},
	{"setns", SYS_setns, {-1}, 0},
	{"chroot", SYS_chroot, {0}, 0},
	{"io_uring_setup", SYS_io_uring_setup, {1}, 0},
	{"keyctl", SYS_keyctl, {0}, 0},
	{"perf_event_open", SYS_perf_event_open, {0}, 0},
	{"userfaultfd", SYS_userfaultfd, {0}, 0},
	{"init_module", SYS_init_module, {0}, 0},
	{"bpf(MAP_CREATE)", SYS_bpf, {BPF_MAP_CREATE}, 0},
	{"bpf(PROG_LOAD)", SYS_bpf, {BPF_PROG_LOAD}, 0},
	{"bpf(OBJ_PIN)", SYS_bpf, {BPF_OBJ_PIN}, 0},
	{"bpf(OBJ_GET)", SYS_bpf, {BPF_OBJ_GET}, 0},
	{"bpf(PROG_ATTACH)", SYS_bpf, {BPF_PROG_ATTACH}, 0},
	{"bpf(PROG_TEST_RUN)", SYS_bpf, {BPF_PROG_TEST_RUN}, 0},
	{"bpf(MAP_GET_FD_BY_ID)", SYS_bpf, {BPF_MAP_GET_FD_BY_ID}, 0},
	{"bpf(OBJ_GET_INFO_BY_FD)", SYS_bpf, {BPF_OBJ_GET_INFO_BY_FD}, 0},
	{"bpf(MAP_FREEZE)", SYS_bpf, {BPF_MAP_FREEZE}, 0},
	{"bpf(MAP_DELETE_BATCH)", SYS_bpf, {BPF_MAP_DELETE_BATCH}, 0},
	{"bpf(LINK_CREATE)", SYS_bpf, {BPF_LINK_CREATE}, 0},
	{"bpf(LINK_DETACH)", SYS_bpf, {BPF_LINK_DETACH}, 0},
	{"bpf(1000)", SYS_bpf, {1000}, 0},
	{"bpf(-1)", SYS_bpf, {-1}, 0},
	{"bpf(PROG_LOAD), upper half set", SYS_bpf, {BPF_PROG_LOAD | 1L << 32}, 0},
};

/* As if the kernel did not have them. */
static const struct call refused[] = {
	{"socket(AF_PACKET)", SYS_socket, {AF_PACKET, SOCK_RAW, 0}, 0},
	{"socket(AF_NETLINK)", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}, 0},
	{"socket(AF_ALG)", SYS_socket, {AF_ALG, SOCK_SEQPACKET, 0}, 0},
	{"socket(AF_VSOCK)", SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}, 0},
	{"socket(SOCK_RAW)", SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_TCP}, 0},
	{"socket(SOCK_RAW | SOCK_CLOEXEC)", SYS_socket, {AF_INET6, SOCK_RAW | SOCK_CLOEXEC, 58}, 0},
	{"socket(SCTP)", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_SCTP}, 0},
	{"socket(ICMP)", SYS_socket, {AF_INET, SOCK_DGRAM, IPPROTO_ICMP}, 0},
	{"listen", SYS_listen, {-1, 1}, 0},
	{"setsockopt(SO_ATTACH_FILTER)", SYS_setsockopt, {-1, SOL_SOCKET, SO_ATTACH_FILTER}, 0},
	{"setsockopt(SO_ATTACH_BPF)", SYS_setsockopt, {-1, SOL_SOCKET, SO_ATTACH_BPF}, 0},
	{"setsockopt(SO_DETACH_REUSEPORT_BPF)",
	 SYS_setsockopt,
	 {-1, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF},
	 0},
	{"mmap(PROT_EXEC)",
	 SYS_mmap,
	 {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0},
	 0},
	{"mprotect(PROT_EXEC)", SYS_mprotect, {0, 0, PROT_READ | PROT_WRITE | PROT_EXEC}, 0},
	{"pkey_mprotect", SYS_pkey_mprotect, {0, 0, PROT_EXEC, -1}, 0},
	{"personality", SYS_personality, {0x0400000}, 0},
	{"memfd_create", SYS_memfd_create, {0}, 0},
	{"fork", SYS_fork, {0}, 0},
	{"clone", SYS_clone, {SIGCHLD}, 0},
	{"clone3", SYS_clone3, {0}, 0},
	{"ioctl(TIOCSTI)", SYS_ioctl, {-1, TIOCSTI}, 0},
	{"prctl(PR_SET_SECCOMP)", SYS_prctl, {PR_SET_SECCOMP, 2}, 0},
	{"prlimit64 of another", SYS_prlimit64, {1}, 0},
	{"kill of another", SYS_kill, {1, 0}, 0},
	{"tgkill of another", SYS_tgkill, {1, 1, 0}, 0},
	{"shmget", SYS_shmget, {0}, 0},
	{"chmod", SYS_chmod, {0}, 0},
	{"sched_setaffinity", SYS_sched_setaffinity, {0}, 0},
	{"a call of tomorrow", 1000, {0}, 0},
};

/* Whatever the kernel says of such arguments, it is the kernel that says it. */
static const struct call passed[] = {
	{"bpf(MAP_LOOKUP_ELEM)", SYS_bpf, {BPF_MAP_LOOKUP_ELEM}, 0},
	{"bpf(MAP_GET_NEXT_KEY)", SYS_bpf, {BPF_MAP_GET_NEXT_KEY}, 0},
	{"bpf(MAP_LOOKUP_BATCH)", SYS_bpf, {BPF_MAP_LOOKUP_BATCH}, 0},
	{"bpf(MAP_UPDATE_ELEM)", SYS_bpf, {BPF_MAP_UPDATE_ELEM}, WORKER_ONLY},
	{"socket(AF_UNIX)", SYS_socket, {AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0}, 0},
	{"socket(AF_INET)", SYS_socket, {AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0}, 0},
	{"socket(AF_INET, TCP)", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_TCP}, 0},
	{"socket(AF_INET6, UDP)",
	 SYS_socket,
	 {AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP},
	 0},
	{"setsockopt(SO_LINGER)", SYS_setsockopt, {-1, SOL_SOCKET, SO_LINGER}, 0},
	{"setsockopt(TCP_CORK)", SYS_setsockopt, {-1, IPPROTO_TCP, 3}, 0},
	{"openat2", SYS_openat2, {-1}, 0},
	{"statx", SYS_statx, {-1}, 0},
	{"sendmmsg", SYS_sendmmsg, {-1}, 0},
	{"ioctl(FIONREAD)", SYS_ioctl, {-1, FIONREAD}, 0},
	{"mremap", SYS_mremap, {1}, 0},
	{"rseq", SYS_rseq, {0}, 0},
	{"clock_nanosleep", SYS_clock_nanosleep, {-1}, 0},
	{"futex_waitv", SYS_futex_waitv, {0}, 0},
};

#define N(a) (sizeof(a) / sizeof(a)[0])

static bool expect(bool ok, const struct call *c, enum confine_role role, int status)
{
	if (!ok)
		print_error("%s in %s: wait status 0x%x\n", c->name,
			    role == CONFINE_WORKER ? "a worker" : "admin", (unsigned)status);
	return ok;
}

static bool is_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void test_calls(void **state)
{
	bool ok = true;

	for (enum confine_role role = CONFINE_WORKER; role <= CONFINE_ADMIN; role++) {
		for (size_t i = 0; i < N(deadly); i++) {
			const struct call *c = &deadly[i];
			int status;

			if (IS_SANITIZED && c->flags & DEBUGGING)
				continue;
			status = in_child(role, CONFINE_ON, make, c);
			ok &= expect(is_killed(status), c, role, status);
		}
		for (size_t i = 0; i < N(refused) && !IS_SANITIZED; i++) {
			int status = in_child(role, CONFINE_ON, make, &refused[i]);

			ok &= expect(WIFEXITED(status) && WEXITSTATUS(status) == ENOSYS,
				     &refused[i], role, status);
		}
		for (size_t i = 0; i < N(passed); i++) {
			const struct call *c = &passed[i];
			int status = in_child(role, CONFINE_ON, make, c);
			bool may = !(c->flags & WORKER_ONLY) || role == CONFINE_WORKER;

			ok &= expect(may ? WIFEXITED(status) && WEXITSTATUS(status) != ENOSYS &&
						     WEXITSTATUS(status) != SET_FAILED
					 : is_killed(status),
				     c, role, status);
		}
	}
	assert_true(ok);
}

static void test_modes(void **state)
{
	static const struct call load = {"bpf", SYS_bpf, {BPF_PROG_LOAD}, 0};
	static const struct call raw = {"", SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_TCP}, 0};
	int status;

	for (int i = 0; i < 2; i++) {
		status = in_child(CONFINE_WORKER, i ? CONFINE_OFF : CONFINE_LOG, make, &load);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) != SET_FAILED);
		status = in_child(CONFINE_ADMIN, i ? CONFINE_OFF : CONFINE_LOG, make, &raw);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) != ENOSYS &&
			    WEXITSTATUS(status) != SET_FAILED);
	}
}

static int die(const void *arg)
{
	(void)arg;
	abort();
}

static void test_abort_is_an_abort(void **state)
{
	int status = in_child(CONFINE_WORKER, CONFINE_ON, die, NULL);

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#define MUST(x) \
	do { \
		if (!(x)) \
			return __LINE__ % 90 + 1; \
	} while (0)

/* Files as bodies and logs are, under a name of its own. */
static int live_with_files(void)
{
	char path[] = "/tmp/sl-confine-XXXXXX", other[64], buf[16];
	int fd = mkstemp(path), pipes[2];
	struct stat st;
	off_t at = 0;

	MUST(fd >= 0 && write(fd, "hello", 5) == 5 && fstat(fd, &st) == 0 && st.st_size == 5);
	MUST(pwrite(fd, "j", 1, 0) == 1 && pread(fd, buf, 5, 0) == 5 && buf[0] == 'j');
	MUST(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL) == 0 && ftruncate(fd, 4) == 0);
	MUST(fchmod(fd, 0600) == 0 && fsync(fd) == 0 && fcntl(fd, F_GETFL) >= 0);
	snprintf(other, sizeof other, "%s.b", path);
	MUST(rename(path, other) == 0 && stat(other, &st) == 0 && access(other, R_OK) == 0);
	MUST(pipe2(pipes, O_CLOEXEC) == 0 && sendfile(pipes[1], fd, &at, 4) == 4);
	MUST(read(pipes[0], buf, 4) == 4 && memcmp(buf, "jell", 4) == 0);
	MUST(unlink(other) == 0 && mkdir(other, 0700) == 0 && rmdir(other) == 0);
	MUST(close(fd) == 0 && close(pipes[0]) == 0 && close(pipes[1]) == 0);
	return 0;
}

static int live_with_memory(void)
{
	char *big = malloc(1 << 20), *page;

	MUST(big);
	memset(big, 1, 1 << 20);
	big = realloc(big, 64 << 20);
	MUST(big);
	free(big);
	malloc_trim(0);
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(page != MAP_FAILED && mprotect(page, 4096, PROT_READ) == 0);
	MUST(madvise(page, 4096, MADV_DONTNEED) == 0 && munmap(page, 8192) == 0);
	return 0;
}

/* What libc asks for on behalf of others: names, time zones, processors, random bytes. */
static int live_with_libc(void)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai = NULL;
	struct timespec tick = {0, 1000};
	char buf[256];
	struct sysinfo si;
	cpu_set_t set;
	time_t now = time(NULL);
	struct tm tm;

	getaddrinfo("localhost", "https", &hints, &ai); /* asks for the interfaces, over netlink */
	if (ai)
		freeaddrinfo(ai);
	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	MUST(getaddrinfo("127.0.0.1", "514", &hints, &ai) == 0);
	freeaddrinfo(ai);
	MUST(getgrgid(0) && localtime_r(&now, &tm) && strftime(buf, sizeof buf, "%c", &tm));
	MUST(gethostname(buf, sizeof buf) == 0 && sysconf(_SC_NPROCESSORS_ONLN) > 0);
	MUST(sched_getaffinity(0, sizeof set, &set) == 0 && sysinfo(&si) == 0);
	MUST(getrandom(buf, 16, 0) == 16 && nanosleep(&tick, NULL) == 0);
	MUST(!isatty(eventfd(0, EFD_CLOEXEC)) && raise(0) == 0);
	return 0;
}

static int live_with_sockets(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof sa;
	int one = 1, pair[2], fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN};
	sigset_t sigs;
	char byte;

	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0);
	MUST(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	MUST(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && send(fd, "x", 1, 0) == 1);
	MUST(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 &&
	     epoll_wait(epoll_fd, &e, 1, 1000) == 1 && recv(fd, &byte, 1, 0) == 1);
	MUST(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &one, sizeof one) == 0);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	MUST(write(pair[0], "x", 1) == 1 && shutdown(pair[0], SHUT_RDWR) == 0);
	sigemptyset(&sigs);
	sigaddset(&sigs, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &sigs, NULL) == 0 && signalfd(-1, &sigs, SFD_NONBLOCK) >= 0);
	return 0;
}

static int live(const void *arg)
{
	static int (*const parts[])(void) = {live_with_files, live_with_memory, live_with_libc,
					     live_with_sockets};

	return parts[*(const int *)arg]();
}

static void test_ordinary_life(void **state)
{
	for (int part = 0; part < 4; part++) {
		int status = in_child(CONFINE_WORKER, CONFINE_ON, live, &part);

		if (status)
			print_error("part %d: wait status 0x%x\n", part, (unsigned)status);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_abort_is_an_abort),
		cmocka_unit_test(test_ordinary_life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
