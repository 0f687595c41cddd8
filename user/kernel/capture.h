/* SPDX-License-Identifier: BSD-2-Clause */
/* Captured packets (pcap, pcapng) one after the other, as Ethernet frames of the length they had on
 * the wire, which is what the guard sees. */
#ifndef SL_KERNEL_CAPTURE_H
#define SL_KERNEL_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

/* The longest frame that is given out. */
#define CAPTURE_FRAME_MAX (65536 + 18)

struct capture;

struct capture_packet {
	const uint8_t *bytes; /* borrowed until the next call */
	size_t n;	      /* as on the wire: what the capture cut off is zeros */
	uint64_t time_ns;     /* since the epoch; never before that of the packet before */
};

struct capture_counts {
	uint64_t n_packets; /* given out */
	uint64_t n_cut;	    /* of them, with zeros at the end */
	uint64_t n_sent;    /* passed over: sent by the capturing host, where the capture says so */
	uint64_t n_odd;	    /* passed over: shorter than their link header, or longer than fits */
	uint64_t n_back;    /* given out with the time of the one before, for theirs was earlier */
	uint64_t begin_ns, end_ns;
};

/* PATH "-": standard input. FILTER: a pcap-filter(7) expression, or NULL. -SL_EINVAL for what is no
 * capture, or one of a link that XDP does not see, or a bad filter; -SL_ESYS; ERR has a line. */
int capture_open(struct capture **out, const char *path, const char *filter, char *err,
		 size_t err_size);
/* 1: a packet; 0: the end; -SL_EINVAL: the file is broken from here on, ERR says how. */
int capture_next(struct capture *c, struct capture_packet *out, char *err, size_t err_size);
const struct capture_counts *capture_counts(const struct capture *c);
/* "EN10MB (Ethernet)"; borrowed. */
const char *capture_link_name(const struct capture *c);
/* C may be NULL. */
void capture_close(struct capture *c);

#endif
