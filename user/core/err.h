/* SPDX-License-Identifier: BSD-2-Clause */
/* Error codes: functions return 0 or one of these, negative. Parsers return >0 for what they
 * consumed, 0 when they need more, and a negative code for malformed input. */
#ifndef SL_CORE_ERR_H
#define SL_CORE_ERR_H

enum sl_err {
	SL_EAGAIN = 1, /* nothing to read, or no room to write, now */
	SL_ECLOSED,    /* the peer closed in order */
	SL_ERESET,     /* the peer reset, or the connection broke */
	SL_EINVAL,     /* malformed input */
	SL_ELIMIT,     /* over a limit */
	SL_ENOMEM,
	SL_ESYS, /* a system call failed: errno says why */
	SL_ETIMEOUT,
	SL_ENOTFOUND,
	SL_EEXIST,
	SL_EPERM,
	SL_ETLS,       /* the TLS layer failed: the connection or context has the text */
	SL_ETRUNCATED, /* a TLS peer closed the transport without close_notify */
};

#endif
