/* SPDX-License-Identifier: BSD-2-Clause */
/* What ps(1) shows of a process: "sluice: worker process", as people know it from nginx. */
#ifndef SL_CORE_TITLE_H
#define SL_CORE_TITLE_H

/* Once, from main(): the arguments and the environment are copied, so that their memory can be written
 * over. Pointers into ARGV that the caller keeps would change: it must have copied them. */
void title_init(int argc, char **argv);
/* "sluice: TEXT"; cut to the room that the command line had. */
void title_set(const char *text);

#endif
