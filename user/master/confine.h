/* SPDX-License-Identifier: BSD-2-Clause */
/* The system calls that workers and the admin process may make; a seccomp filter, for good. */
#ifndef SL_MASTER_CONFINE_H
#define SL_MASTER_CONFINE_H

#include <stddef.h>

enum confine_mode { /* the directive `seccomp` */
		    CONFINE_OFF,
		    CONFINE_ON,
		    CONFINE_LOG, /* what would be refused is done, and told to the kernel's log */
};

enum confine_role {
	CONFINE_WORKER, /* bpf(): may read and write maps that it holds */
	CONFINE_ADMIN,	/* bpf(): may read them */
};

/* For this process, which has one thread and no_new_privs; cannot be undone. What no part of such a process
 * ever does for a good reason kills it, with SIGSYS; any other call that it does not need fails with ENOSYS,
 * as on a kernel that does not have it. Both are told to the kernel's log. -SL_ESYS with ERR: the kernel has
 * no such filters, or libseccomp cannot make one. Code that was made before (regular expressions) stays, and cannot be
 * written any more. */
int confine_enter(enum confine_role role, enum confine_mode mode, char *err, size_t room);
/* Before what the configuration holds is freed: that code can be written again, and not be run. */
void confine_leave(void);

#endif
