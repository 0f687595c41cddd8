/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells systemd how the master is (sd_notify(3)); without $NOTIFY_SOCKET nothing is said. */
#ifndef SL_MASTER_NOTIFY_H
#define SL_MASTER_NOTIFY_H

/* Lines of KEY=VALUE. Never blocks, never fails loudly: nobody depends on it. */
void notify_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
