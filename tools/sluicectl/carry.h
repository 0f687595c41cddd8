/* SPDX-License-Identifier: BSD-2-Clause */
/* Bans to a file and from one: a line of JSON each, as the API shows them. */
#ifndef SL_SLUICECTL_CARRY_H
#define SL_SLUICECTL_CARRY_H

/* PATH "-": standard output, or input. Both return the exit code. */
int carry_export(const char *socket_path, const char *path);
/* Every line is checked before the first is asked for. */
int carry_import(const char *socket_path, const char *path);

#endif
