/* SPDX-License-Identifier: BSD-2-Clause */
/* What a connection shares with the kernel while its bytes are put around TCP (kernel/relay.h), in mapped
 * memory that a BPF program reads and writes, too. */
#ifndef SL_CORE_DETOUR_H
#define SL_CORE_DETOUR_H

#include <stdint.h>

struct detour {
	/* Ours: bytes read so far. */
	uint64_t n_read;
	/* The program's: bytes that came by TCP may lie behind those that did not, so that a read that got less
	 * than it had room for may not have got all. */
	uint64_t mixed;
	/* The program's: what the peer had not read when it last sent something. */
	uint64_t unread;
};

#endif
