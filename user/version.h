/* SPDX-License-Identifier: BSD-2-Clause */
/* The one place that names the version. */
#ifndef SL_VERSION_H
#define SL_VERSION_H

#define SLUICE_VERSION "0.1.0"

#endif
