/* SPDX-License-Identifier: BSD-2-Clause */
/* The master process: the only one with privileges. It reads configurations, opens sockets, loads the
 * guard, spawns and replaces the others, and is the only writer of bans. */
#ifndef SL_MASTER_MASTER_H
#define SL_MASTER_MASTER_H

#include "core/event_ring.h"
#include "core/msg.h"
#include "core/shm.h"
#include "core/stats.h"
#include "kernel/guard.h"
#include "kernel/relay.h"
#include "kernel/xdp_conf.h"
#include "master/core_conf.h"
#include "net/listen.h"
#include "net/loop.h"
#include "policy/ban.h"
#include "policy/lists.h"

enum { INHERITED_MAX = 256, ADMIN_PEERS_MAX = 16 };

/* What whoever started this master left open for it. */
struct inherited {
	int fd[INHERITED_MAX]; /* listening sockets; -1: taken */
	struct addr addr[INHERITED_MAX];
	unsigned n;
	int guard_lock_fd; /* -1: none */
	bool is_upgrade;   /* from the master of the binary before, whose end was not yet seen */
	pid_t predecessor; /* that master; 0: none, or it has ended. See upgrade_predecessor() */
};

enum child_kind {
	CHILD_WORKER,
	CHILD_ADMIN,
};

struct child {
	struct io io; /* first: the master's end of the channel */
	struct master *m;
	struct child *next;
	enum child_kind kind;
	pid_t pid;
	unsigned slot;	/* worker: of struct stats */
	unsigned index; /* worker: among those of its configuration, from 0 */
	bool resolves;
	bool leaving;	  /* was told to end */
	bool retiring;	  /* belongs to the configuration that a reload replaces */
	bool missed_bans; /* worker: its queue was full */
	uint64_t started_ms;
};

/* A configuration and what was opened for it. */
struct cycle {
	struct conf conf;
	const struct core_conf *core;
	struct admin_fd *admin_fds;
	int n_admin_fds;
	struct log log;	  /* of the main block */
	struct log early; /* to the file of -e */
};

/* So many now and so many a second. */
struct allowance {
	uint64_t since_ms, left;
};

struct eventing {
	struct event_ring *ring;
	struct guard_events *guard; /* NULL: none are read */
	struct io io;
	struct allowance told, logged;
	uint64_t n_unlogged;
};

struct peering;

/* An interface of the xdp block. */
struct guarded {
	char ifname[GUARD_IFNAME_MAX];
	unsigned ifindex; /* which one it is about; 0: there was none of the name */
	bool is_on;
	enum guard_mode mode;
};

/* What the command line says of the configuration; kept for reloads. */
struct cycle_source {
	const char *prefix, *path;
	const char *error_log; /* -e, or NULL */
	struct slice globals;
};

struct master {
	struct loop loop;
	struct cycle *cycle;
	struct cycle *old_cycle; /* while a reload spawns: what its children must not keep */
	struct shm_registry shm;
	struct stats *stats;
	struct ban_table *bans;
	struct ban_evidence *evidence;
	struct eventing eventing;
	struct peering *peering; /* what was seen of the peers of peering_cycle */
	const struct cycle *peering_cycle;
	struct steering *steering; /* steering.c's; NULL: not begun */
	struct guard *guard;	   /* NULL: off */
	char guard_off_why[GUARD_ERR_MAX];
	struct guarded guarded[GUARD_INTERFACES_MAX];
	uint32_t n_guarded;	  /* 0 without a guard */
	struct guard_maps reader; /* for the admin process; valid when guard */
	struct relay *relay;	  /* NULL: no group wants it, or it cannot be */
	char relay_off_why[RELAY_ERR_MAX];
	uint64_t known_turned_ms, good_turned_ms; /* when the guard's filters were last turned */
	struct child *children;
	struct io signal_io;
	struct timer sweep_timer, respawn_timer;
	bool bans_dirty, said_unsaved;
	uint64_t bans_retry_ms;	    /* not written before that: the disk was full */
	uint64_t deny_ends_wall_ms; /* the next end of an entry of the deny list; 0: none */
	uint64_t listed_ms;	    /* when exempt addresses were last looked for */
	bool said_exempt_full;
	struct admin_peer {
		struct ban_net net;
		uint64_t until_ms;
	} admin_peers[ADMIN_PEERS_MAX];
	uint32_t n_waiting;  /* bans that found no room in the kernel */
	bool said_userspace; /* that there is no guard for the bans */
	bool ending, quitting, failed;
	uint64_t ending_ms; /* since when children are told to end at once */
	bool no_workers;    /* WINCH: they were ended and stay away */
	bool daemonized;
	int ready_fd, null_fd; /* of the background start, -1 otherwise */
	char bans_path[4096];
	struct cycle_source source;
	char *const *argv; /* a copy of its own, for a new binary */
	const char *binary;
	bool is_root;
	struct inherited inherited;
	pid_t new_binary;  /* 0: none */
	struct io said_io; /* what it says until it is ready */
};

/* Reads a configuration; NULL after all messages. TEST: open nothing that stays. BOOT_LOG may be NULL.
 * FIRST_ERROR (empty, or NULL) gets the first of the messages. */
struct cycle *cycle_load(struct shm_registry *shm, const struct cycle_source *source, bool test,
			 struct log *boot_log, char *first_error, size_t room);
void cycle_free(struct cycle *c);
/* Workers open logs again by themselves after USR1: as root, gives them the files, as nginx does. */
void cycle_own_logs(struct cycle *c);

/* sockets.c: what a configuration listens on. */
/* Opens all of C's; those of OLD (may be NULL) and of IN with the same address are used again.
 * -SL_ESYS after messages, with everything newly opened closed again. */
int sockets_open(struct cycle *c, struct cycle *old, struct inherited *in);
/* Closes descriptors of C that KEPT (may be NULL) does not use. FILES: those of unix sockets go too. */
void sockets_close(struct cycle *c, const struct cycle *kept, bool files);
/* In a child: closes sockets and logs of C that KEPT does not use; takes nothing away from the master. */
void sockets_close_in_child(struct cycle *c, const struct cycle *kept);
/* In worker number INDEX: of each listener's sockets its own stays, in struct listener's fd. */
void sockets_choose(struct cycle *c, unsigned index);
/* In the admin process: it takes no requests. */
void sockets_close_http(struct cycle *c);
/* All descriptors that listen, for a new binary; returns how many, at most MAX. */
unsigned sockets_list(const struct cycle *c, int *fds, unsigned max);

/* Runs as the master until it is told to end; returns the exit code. */
int master_run(struct master *m);
/* 0, or -SL_EINVAL with the first error in TEXT. */
int master_reload(struct master *m, char *text, size_t room);

/* upgrade.c */
void upgrade_inherit(struct inherited *in);
/* An inherited socket with this address, now the caller's; -1: none. IN may be NULL. */
int upgrade_take(struct inherited *in, const struct addr *a);
/* Those that no listener took. */
void upgrade_close_rest(struct master *m);
/* USR2. */
void upgrade_start(struct master *m);
/* True: PID was the new binary's. */
bool upgrade_reaped(struct master *m, pid_t pid, int status);
/* Does the master that started this one still run? */
bool upgrade_predecessor(struct master *m);
void upgrade_unlink_pid(const struct master *m);

/* spawn.c: 0 or -SL_ESYS. */
int spawn_all(struct master *m);
/* Tells the children marked as retiring to end after what they have. */
void spawn_retire(struct master *m);
/* Starts what died too fast to be replaced at once. */
int spawn_missing(struct master *m);
/* After waitpid() said so; counts, frees, and replaces unless it was to end. */
void spawn_reaped(struct master *m, pid_t pid, int status);
void spawn_tell(struct master *m, enum child_kind kind, uint32_t msg_type, bool leaving);
void spawn_kill(struct master *m, int sig);

/* steering.c: which worker a new connection goes to, where each has its own socket (reuseport). */
struct steer_load;
/* Brings the programs in line with m->cycle, whose workers need not be there yet. */
void steering_apply(struct master *m);
/* Workers came or went. */
void steering_sync(struct master *m);
/* Does what waits at a reuseport socket that closes go to another one? */
bool steering_migrates(const struct master *m);
/* Before the fork of a worker: its socket listens, if its predecessor's death had shut it; its figures are 0. */
void steering_before_worker(struct master *m, unsigned index, unsigned slot);
/* A worker died that nobody told to: what waits at its socket goes to the others, and so does what comes until
 * there is another one. */
void steering_worker_died(struct master *m, unsigned index);
/* A new binary is about to steer. / It has ended. */
void steering_release(struct master *m);
void steering_take_back(struct master *m);
/* In a worker: no descriptor stays; the figures that it writes, or NULL. */
struct steer_load *steering_close_in_worker(struct master *m, unsigned slot);
/* In the admin process, and at the end. */
void steering_close(struct master *m);

/* guarding.c: the guard. */
void guarding_start(struct master *m);
/* Brings guard and lists in line with m->cycle. */
void guarding_apply(struct master *m);
/* KEEP: another master goes on with what is in the kernel and in the file. */
void guarding_stop(struct master *m, bool keep);
/* Another master had the guard for a while. */
void guarding_take_back(struct master *m);
void guarding_sweep(struct master *m);

/* attaching.c: which interfaces it is on. */
void attaching_apply(struct master *m, const struct xdp_conf *x);
void attaching_none(struct master *m);
void attaching_sweep(struct master *m);

/* listing.c: the allow and deny lists. */
/* Who is exempt from bans now; then all into the guard's maps, by difference. */
void listing_find(struct master *m);
void listing_apply(struct master *m);
/* What `allow_auto` of C exempts where no sluice runs: neither names nor admins. How many there are. */
uint32_t listing_of_conf(const struct conf *c, struct ban_exempt out[static BAN_EXEMPT_MAX]);
/* What changes by itself: addresses, names, ends. */
void listing_sweep(struct master *m);
/* Somebody with the token used the admin API from there. */
void listing_admin(struct master *m, const struct msg_ban *who);
/* "the allow list", and why it is in there; NULL: it is not. */
const char *listing_why_allowed(const struct master *m, const struct ban_net *n);

/* banning.c: the bans. */
/* Carries a ban out everywhere; 0, or -SL_EPERM, -SL_EINVAL, -SL_ELIMIT with TEXT. */
int banning_ban(struct master *m, const struct msg_ban *ban, char *text, size_t room);
/* 0 or -SL_ENOTFOUND. */
int banning_unban(struct master *m, const struct msg_ban *ban);
/* Ends what is over, tries again what failed, saves what changed. */
void banning_sweep(struct master *m);
void banning_lift_allowed(struct master *m);
/* Writes the bans to their file now; reads what an earlier run wrote. */
void banning_save(struct master *m);
void banning_load(struct master *m);
/* Bans that only the kernel knows become ours (the guard was opened, or another master has stopped to
 * write); ours go to the kernel. */
void banning_adopt(struct master *m);
void banning_push(struct master *m);
/* The guard is gone: all hold in userspace. */
void banning_leave_kernel(struct master *m);
void banning_stop(struct master *m);

/* sysctls.c: warns in C's log of what in the kernel's settings leaves its listeners open to floods. */
void sysctls_check(const struct cycle *c);
/* PATH below /proc/sys/net, of the network namespace that this process is in; -1: this kernel has no such setting. */
int64_t sysctls_read(const char *path);

/* filling.c: what the xdp block says, into the maps of a guard; it must be there. Lists by difference. */
/* N_AUTO: so many addresses are let through because of allow_auto. */
int filling_put(const struct guard_maps *m, const struct conf *c, uint32_t *n_auto, char *err,
		size_t room);
int filling_settings(const struct guard_maps *m, const struct xdp_conf *x);
int filling_allow(const struct guard_maps *m, const struct lists *l,
		  const struct ban_exempt *exempt, uint32_t n_exempt, char *err, size_t room);
struct filling_denied {
	size_t n;
	uint64_t ends_wall_ms; /* the next end of one; 0: none ends */
	struct guard_nets_change change;
};
int filling_deny(const struct guard_maps *m, const struct lists *l, struct filling_denied *out,
		 char *err, size_t room);
/* What the block calls a rule; NULL: it has none of this id. */
const char *filling_rule_text(const struct conf *c, uint32_t rule_id);

/* eventing.c: what happened, for the log and for who watches. */
void eventing_init(struct master *m, struct event_ring *ring);
/* From here on what m->guard tells is read, until it goes or another master reads it. */
void eventing_guard_come(struct master *m);
void eventing_guard_gone(struct master *m);
void eventing_close_in_child(struct master *m);
/* Now and then: says how many events were not logged. */
void eventing_tick(struct master *m);
/* KIND: EVENT_BAN, EVENT_BAN_LIFTED, EVENT_BAN_OVER. */
void eventing_ban(struct master *m, enum event_kind kind, const struct ban_entry *ban,
		  bool is_dry_run);
/* KIND: EVENT_GUARD_ON, EVENT_GUARD_OFF. IFNAME may be empty. */
void eventing_guard(struct master *m, enum event_kind kind, const char *ifname, const char *fmt,
		    ...) __attribute__((format(printf, 4, 5)));

/* relaying.c: `sockmap on`. */
/* Brings it in line with m->cycle, before workers are made. */
void relaying_apply(struct master *m);
void relaying_stop(struct master *m);

/* peering.c: tells of peers that went or came back since the last time. */
void peering_tick(struct master *m);
/* The configuration is another one: the old one's groups may be gone, and are not looked at. */
void peering_stale(struct master *m);

/* privileges.c */
/* Keeps the capabilities that the master needs, by name; all others go, but for CAP_SYS_ADMIN where the
 * configuration needs it (`attach libxdp`). */
int privileges_limit_master(bool keeps_sys_admin, char *err, size_t room);
/* worker_rlimit_nofile, before privileges are dropped; a failure is told to LOG and nothing else. */
void privileges_raise_nofile(const struct cycle *c);
/* Warns of connections for which there are no descriptors. */
void privileges_check_nofile(const struct cycle *c);
/* worker_cpu_affinity, of this process, which is the INDEXth worker. */
void privileges_bind_cpu(const struct core_conf *core, unsigned index, const struct log *log);
/* Becomes uid and gid without any capability; for children of a root master. */
int privileges_drop(const struct core_conf *core, bool is_root, char *err, size_t room);

#endif
