/* SPDX-License-Identifier: BSD-2-Clause */
/* The only user of libseccomp. Three lists: what is done, what is done with certain arguments, what kills. A call
 * that is harmless and may be needed once a year belongs to the first: a list too short fails in production. */
#include "master/confine.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/prctl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/err.h"

/* The sanitizers' runtime maps, traces and starts what it likes: there only the last list holds. */
#if defined(__SANITIZE_ADDRESS__)
enum { IS_SANITIZED = 1 };
#else
enum { IS_SANITIZED = 0 };
#endif

static const int allowed[] = {
	/* files and descriptors */
	SCMP_SYS(access),
	SCMP_SYS(close),
	SCMP_SYS(close_range),
	SCMP_SYS(copy_file_range),
	SCMP_SYS(dup),
	SCMP_SYS(dup2),
	SCMP_SYS(dup3),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(fadvise64),
	SCMP_SYS(fallocate),
	SCMP_SYS(fchmod),
	SCMP_SYS(fcntl),
	SCMP_SYS(fdatasync),
	SCMP_SYS(flock),
	SCMP_SYS(fstat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(fsync),
	SCMP_SYS(ftruncate),
	SCMP_SYS(getcwd),
	SCMP_SYS(getdents64),
	SCMP_SYS(link),
	SCMP_SYS(linkat),
	SCMP_SYS(lseek),
	SCMP_SYS(lstat),
	SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(openat2),
	SCMP_SYS(pread64),
	SCMP_SYS(preadv),
	SCMP_SYS(preadv2),
	SCMP_SYS(read),
	SCMP_SYS(pwrite64),
	SCMP_SYS(pwritev),
	SCMP_SYS(pwritev2),
	SCMP_SYS(readahead),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(readv),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(rmdir),
	SCMP_SYS(sendfile),
	SCMP_SYS(splice),
	SCMP_SYS(stat),
	SCMP_SYS(statfs),
	SCMP_SYS(statx),
	SCMP_SYS(sync_file_range),
	SCMP_SYS(tee),
	SCMP_SYS(truncate),
	SCMP_SYS(umask),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(utimensat),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	/* sockets; not listen(): those are the master's to open */
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(bind),
	SCMP_SYS(connect),
	SCMP_SYS(getpeername),
	SCMP_SYS(getsockname),
	SCMP_SYS(getsockopt),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(shutdown),
	/* waiting */
	SCMP_SYS(epoll_create),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(eventfd),
	SCMP_SYS(eventfd2),
	SCMP_SYS(pause),
	SCMP_SYS(pipe),
	SCMP_SYS(pipe2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(pselect6),
	SCMP_SYS(select),
	/* time */
	SCMP_SYS(alarm),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(getitimer),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(nanosleep),
	SCMP_SYS(setitimer),
	SCMP_SYS(time),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_gettime),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(times),
	/* signals */
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigpending),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigsuspend),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(signalfd),
	SCMP_SYS(signalfd4),
	/* memory */
	SCMP_SYS(brk),
	SCMP_SYS(get_mempolicy),
	SCMP_SYS(madvise),
	SCMP_SYS(membarrier),
	SCMP_SYS(mincore),
	SCMP_SYS(mlock),
	SCMP_SYS(mlock2),
	SCMP_SYS(mremap),
	SCMP_SYS(msync),
	SCMP_SYS(munlock),
	SCMP_SYS(munmap),
	/* what libraries ask about the process and the system */
	SCMP_SYS(arch_prctl),
	SCMP_SYS(capget),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(futex),
	SCMP_SYS(futex_waitv),
	SCMP_SYS(get_robust_list),
	SCMP_SYS(getcpu),
	SCMP_SYS(getegid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getgroups),
	SCMP_SYS(getpgid),
	SCMP_SYS(getpgrp),
	SCMP_SYS(getpid),
	SCMP_SYS(getppid),
	SCMP_SYS(getpriority),
	SCMP_SYS(getrandom),
	SCMP_SYS(getresgid),
	SCMP_SYS(getresuid),
	SCMP_SYS(getrlimit),
	SCMP_SYS(getrusage),
	SCMP_SYS(getsid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(rseq),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_getparam),
	SCMP_SYS(sched_getscheduler),
	SCMP_SYS(sched_get_priority_max),
	SCMP_SYS(sched_get_priority_min),
	SCMP_SYS(sched_yield),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
};

/* Nothing here does one of these by mistake. */
static const int killing[] = {
	/* other programs, other processes */
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(process_madvise),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(ptrace),
	/* another user */
	SCMP_SYS(capset),
	SCMP_SYS(setfsgid),
	SCMP_SYS(setfsuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setgroups),
	SCMP_SYS(setregid),
	SCMP_SYS(setresgid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setreuid),
	SCMP_SYS(setuid),
	/* another view of the system */
	SCMP_SYS(chroot),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fsopen),
	SCMP_SYS(fspick),
	SCMP_SYS(mount),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(pivot_root),
	SCMP_SYS(setns),
	SCMP_SYS(umount2),
	SCMP_SYS(unshare),
	/* the kernel itself, and the parts of it that attacks begin with */
	SCMP_SYS(acct),
	SCMP_SYS(add_key),
	SCMP_SYS(delete_module),
	SCMP_SYS(fanotify_init),
	SCMP_SYS(finit_module),
	SCMP_SYS(init_module),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(ioperm),
	SCMP_SYS(iopl),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(kexec_load),
	SCMP_SYS(keyctl),
	SCMP_SYS(modify_ldt),
	SCMP_SYS(name_to_handle_at),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(quotactl),
	SCMP_SYS(reboot),
	SCMP_SYS(request_key),
	SCMP_SYS(swapoff),
	SCMP_SYS(swapon),
	SCMP_SYS(syslog),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(vhangup),
};

/* The first error is kept; what this architecture does not have is no error. */
struct filter {
	scmp_filter_ctx ctx;
	int error;
	uint32_t other; /* what becomes of a call without a rule */
	bool is_log;
};

static void add(struct filter *f, uint32_t action, int call, unsigned n_args,
		const struct scmp_arg_cmp *args)
{
	int r;

	if (f->error || call < 0 || action == f->other || (f->is_log && action != SCMP_ACT_ALLOW))
		return;
	r = seccomp_rule_add_array(f->ctx, action, call, n_args, args);
	if (r && r != -EEXIST)
		f->error = r;
}

/* CALL, when its argument number ARG is one of VALUES; the kernel does not look at the upper half either. */
static void add_values(struct filter *f, uint32_t action, int call, unsigned arg,
		       const uint64_t *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(f, action, call, 1,
		    &(struct scmp_arg_cmp){arg, SCMP_CMP_MASKED_EQ, 0xffffffffu, values[i]});
}

/* Whatever else is a module of the kernel that somebody may load by asking for it. */
static void allow_sockets(struct filter *f)
{
	static const struct {
		int family, type, protocol;
	} kinds[] = {
		{AF_UNIX, SOCK_STREAM, 0},
		{AF_UNIX, SOCK_DGRAM, 0},
		{AF_UNIX, SOCK_SEQPACKET, 0},
		{AF_INET, SOCK_STREAM, 0},
		{AF_INET, SOCK_STREAM, IPPROTO_TCP},
		{AF_INET, SOCK_DGRAM, 0},
		{AF_INET, SOCK_DGRAM, IPPROTO_UDP},
		{AF_INET6, SOCK_STREAM, 0},
		{AF_INET6, SOCK_STREAM, IPPROTO_TCP},
		{AF_INET6, SOCK_DGRAM, 0},
		{AF_INET6, SOCK_DGRAM, IPPROTO_UDP},
	};

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		const struct scmp_arg_cmp args[] = {
			SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)kinds[i].family),
			SCMP_A1_32(SCMP_CMP_MASKED_EQ, 0xf, (uint32_t)kinds[i].type),
			SCMP_A2_32(SCMP_CMP_EQ, (uint32_t)kinds[i].protocol),
		};

		add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3, args);
		if (kinds[i].family == AF_UNIX)
			add(f, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 3, args);
	}
}

/* Of the socket level only what is named: a filter or program can be attached there, or taken off. */
static void allow_socket_options(struct filter *f)
{
	static const uint32_t levels[] = {IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP};
	static const uint32_t names[] = {
		SO_REUSEADDR,	  SO_KEEPALIVE,	   SO_LINGER,	    SO_SNDBUF,	     SO_RCVBUF,
		SO_SNDTIMEO_OLD,  SO_RCVTIMEO_OLD, SO_SNDTIMEO_NEW, SO_RCVTIMEO_NEW, SO_PASSCRED,
		SO_PRIORITY,	  SO_RCVLOWAT,	   SO_BUSY_POLL,    SO_INCOMING_CPU, SO_ZEROCOPY,
		SO_TIMESTAMP_OLD, SO_BROADCAST,	   SO_REUSEPORT,
	};

	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
		add(f, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 1,
		    &SCMP_A1_32(SCMP_CMP_EQ, levels[i]));
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		const struct scmp_arg_cmp args[] = {
			SCMP_A1_32(SCMP_CMP_EQ, SOL_SOCKET),
			SCMP_A2_32(SCMP_CMP_EQ, names[i]),
		};

		add(f, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2, args);
	}
}

/* Not one that puts text into a terminal. */
static void allow_ioctls(struct filter *f)
{
	static const uint64_t requests[] = {
		FIONBIO,  FIONREAD,    FIOCLEX,	     FIONCLEX,	  TCGETS,      TIOCGWINSZ,
		TIOCOUTQ, SIOCOUTQNSD, SIOCGIFINDEX, SIOCGIFNAME, SIOCGIFCONF, SIOCGIFFLAGS,
	};

	add_values(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, requests,
		   sizeof requests / sizeof requests[0]);
}

static void allow_process(struct filter *f)
{
	static const uint64_t options[] = {
		PR_SET_NAME,	   PR_GET_NAME, PR_GET_DUMPABLE,
		PR_SET_TIMERSLACK, PR_SET_VMA,	PR_GET_NO_NEW_PRIVS,
	};
	const uint64_t self[] = {0, (uint64_t)getpid()};

	add_values(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 0, options,
		   sizeof options / sizeof options[0]);
	add_values(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 0, self, 2);
	/* abort() and its like; not a signal to anybody else */
	add_values(f, SCMP_ACT_ALLOW, SCMP_SYS(kill), 0, self + 1, 1);
	add_values(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 0, self + 1, 1);
}

/* No code comes in by data; what the master's JIT made can be written no more. */
static void allow_memory(struct filter *f)
{
	add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, &SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
	    &SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/* bpf(): of descriptors that the master left here, never a new one. What an admin process may not is refused
 * by the kernel too, as its descriptors are for reading. */
static void limit_bpf(struct filter *f, enum confine_role role)
{
	for (uint64_t command = 0; command <= BPF_MAP_LOOKUP_BATCH; command++) {
		bool fits = command == BPF_MAP_LOOKUP_ELEM || command == BPF_MAP_GET_NEXT_KEY ||
			    command == BPF_MAP_LOOKUP_BATCH ||
			    (command == BPF_MAP_UPDATE_ELEM && role == CONFINE_WORKER);

		add_values(f, fits ? SCMP_ACT_ALLOW : SCMP_ACT_KILL_PROCESS, SCMP_SYS(bpf), 0,
			   &command, 1);
	}
	add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(bpf), 1,
	    &SCMP_A0_32(SCMP_CMP_GT, BPF_MAP_LOOKUP_BATCH));
}

/* For a sanitizer's runtime, too. */
static bool is_debugging(int call)
{
	return call == SCMP_SYS(execve) || call == SCMP_SYS(ptrace) ||
	       call == SCMP_SYS(process_vm_readv);
}

static void add_all(struct filter *f, enum confine_role role)
{
	for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
		add(f, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
	for (size_t i = 0; i < sizeof killing / sizeof killing[0]; i++)
		if (!IS_SANITIZED || !is_debugging(killing[i]))
			add(f, SCMP_ACT_KILL_PROCESS, killing[i], 0, NULL);
	allow_sockets(f);
	allow_socket_options(f);
	allow_ioctls(f);
	allow_process(f);
	allow_memory(f);
	limit_bpf(f, role);
}

/* Machine code of regular expressions is writable where the master made it; it has no name in the list. */
static int protect_code(const char *rights, int prot)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], is[5];
	int r = maps ? 0 : -SL_ESYS;

	while (r == 0 && fgets(line, sizeof line, maps)) {
		unsigned long start, end, inode;
		int at = 0;

		if (sscanf(line, "%lx-%lx %4s %*s %*s %lu %n", &start, &end, is, &inode, &at) < 4 ||
		    strcmp(is, rights) != 0 || inode || line[at])
			continue;
		if (mprotect((void *)start, end - start, prot))
			r = -SL_ESYS;
	}
	if (maps)
		fclose(maps);
	return r;
}

void confine_leave(void)
{
	protect_code("r-xp", PROT_READ | PROT_WRITE);
}

int confine_enter(enum confine_role role, enum confine_mode mode, char *err, size_t room)
{
	struct filter f = {.other = mode == CONFINE_LOG ? SCMP_ACT_LOG
				    : IS_SANITIZED	? SCMP_ACT_ALLOW
							: SCMP_ACT_ERRNO(ENOSYS)};

	if (mode == CONFINE_OFF)
		return 0;
	if (protect_code("rwxp", PROT_READ | PROT_EXEC)) {
		snprintf(err, room, "memory cannot be protected: %s", strerror(errno));
		return -SL_ESYS;
	}
	f.is_log = mode == CONFINE_LOG;
	f.ctx = seccomp_init(f.other);
	if (!f.ctx)
		f.error = -ENOMEM;
	if (!f.error)
		f.error = seccomp_attr_set(f.ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!f.error)
		f.error = seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_LOG, 1);
	if (!f.error)
		f.error = seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	add_all(&f, role);
	if (!f.error)
		f.error = seccomp_load(f.ctx);
	seccomp_release(f.ctx);
	if (!f.error)
		return 0;
	snprintf(err, room, "the seccomp filter cannot be set: %s; \"seccomp off\" does without",
		 strerror(-f.error));
	return -SL_ESYS;
}
