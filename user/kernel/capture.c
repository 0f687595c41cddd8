/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns reading captures: the only user of libpcap. Streams, with one frame in memory. Knows link
 * headers and nothing of what is in the packets. */
#include "kernel/capture.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <pcap/pcap.h>
#include <pcap/sll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "kernel/guard_impl.h"

enum { COOKED_OUTGOING = 4 /* PACKET_OUTGOING of packet(7) */ };

struct capture {
	pcap_t *pcap;
	int link;
	struct capture_counts counts;
	uint64_t last_ns;
	char link_name[64];
	uint8_t frame[CAPTURE_FRAME_MAX];
};

static bool is_link_known(int link)
{
	return link == DLT_EN10MB || link == DLT_RAW || link == DLT_IPV4 || link == DLT_IPV6 ||
	       link == DLT_LINUX_SLL || link == DLT_LINUX_SLL2;
}

static int check_link(struct capture *c, char *err, size_t err_size)
{
	const char *name, *text;

	c->link = pcap_datalink(c->pcap);
	name = pcap_datalink_val_to_name(c->link);
	text = pcap_datalink_val_to_description(c->link);
	snprintf(c->link_name, sizeof c->link_name, "%s (%s)", name ? name : "?",
		 text ? text : "unknown");
	if (is_link_known(c->link))
		return 0;
	return guard_fail(-SL_EINVAL, err, err_size,
			  "its link type is %s: Ethernet, Linux cooked or raw IP is needed",
			  c->link_name);
}

static int set_filter(struct capture *c, const char *filter, char *err, size_t err_size)
{
	struct bpf_program program;
	int r;

	if (pcap_compile(c->pcap, &program, filter, 1, PCAP_NETMASK_UNKNOWN))
		return guard_fail(-SL_EINVAL, err, err_size, "the filter \"%s\": %s", filter,
				  pcap_geterr(c->pcap));
	r = pcap_setfilter(c->pcap, &program);
	pcap_freecode(&program);
	if (r)
		return guard_fail(-SL_EINVAL, err, err_size, "the filter \"%s\": %s", filter,
				  pcap_geterr(c->pcap));
	return 0;
}

int capture_open(struct capture **out, const char *path, const char *filter, char *err,
		 size_t err_size)
{
	struct capture *c = calloc(1, sizeof *c);
	char why[PCAP_ERRBUF_SIZE] = "";
	int r;

	*out = NULL;
	if (!c)
		return guard_fail(-SL_ENOMEM, err, err_size, "no memory");
	c->pcap = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, why);
	if (!c->pcap) {
		size_t n = strlen(path);
		bool is_named = strncmp(why, path, n) == 0 && strncmp(why + n, ": ", 2) == 0;

		free(c);
		return guard_fail(-SL_EINVAL, err, err_size, "%s", is_named ? why + n + 2 : why);
	}
	r = check_link(c, err, err_size);
	if (!r && filter)
		r = set_filter(c, filter, err, err_size);
	if (r)
		capture_close(c);
	else
		*out = c;
	return r;
}

/* The link's header: how long it is and what type of packet follows. False: there is no whole header.
 * Ethernet's stays in the frame. */
static bool link_header(const struct capture *c, const uint8_t *p, size_t n, size_t *header,
			uint16_t *type, bool *is_sent)
{
	struct sll2_header v2;
	struct sll_header v1;

	*is_sent = false;
	switch (c->link) {
	case DLT_EN10MB:
		*header = 0;
		return n >= ETH_HLEN;
	case DLT_LINUX_SLL:
		*header = sizeof v1;
		if (n < sizeof v1)
			return false;
		memcpy(&v1, p, sizeof v1);
		*type = v1.sll_protocol;
		*is_sent = v1.sll_pkttype == htons(COOKED_OUTGOING);
		return true;
	case DLT_LINUX_SLL2:
		*header = sizeof v2;
		if (n < sizeof v2)
			return false;
		memcpy(&v2, p, sizeof v2);
		*type = v2.sll2_protocol;
		*is_sent = v2.sll2_pkttype == COOKED_OUTGOING;
		return true;
	default:
		*header = 0;
		*type = htons(n && p[0] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP);
		return n > 0;
	}
}

/* Makes the frame; false: the packet is passed over. */
static bool make_frame(struct capture *c, const struct pcap_pkthdr *h, const uint8_t *p,
		       struct capture_packet *out)
{
	size_t header, wire = h->len, have = h->caplen, at = 0;
	uint16_t type = 0;
	bool is_sent;

	if (!link_header(c, p, have, &header, &type, &is_sent)) {
		c->counts.n_odd++;
		return false;
	}
	if (is_sent) {
		c->counts.n_sent++;
		return false;
	}
	if (c->link != DLT_EN10MB) {
		memset(c->frame, 0, ETH_HLEN);
		memcpy(c->frame + 2 * ETH_ALEN, &type, sizeof type);
		at = ETH_HLEN;
	}
	have -= header;
	wire = wire > header + have ? wire - header : have;
	if (at + wire > sizeof c->frame) {
		c->counts.n_odd++;
		return false;
	}
	memcpy(c->frame + at, p + header, have);
	memset(c->frame + at + have, 0, wire - have);
	c->counts.n_cut += wire > have;
	out->bytes = c->frame;
	out->n = at + wire;
	return true;
}

static uint64_t time_of(struct capture *c, const struct pcap_pkthdr *h)
{
	uint64_t t = (uint64_t)h->ts.tv_sec * 1000000000u + (uint64_t)h->ts.tv_usec;

	c->counts.n_back += t < c->last_ns;
	if (t > c->last_ns)
		c->last_ns = t;
	return c->last_ns;
}

int capture_next(struct capture *c, struct capture_packet *out, char *err, size_t err_size)
{
	struct pcap_pkthdr *h;
	const uint8_t *p;
	int r;

	for (;;) {
		r = pcap_next_ex(c->pcap, &h, &p);
		if (r == PCAP_ERROR_BREAK)
			return 0;
		if (r != 1)
			return guard_fail(-SL_EINVAL, err, err_size, "%s", pcap_geterr(c->pcap));
		if (!make_frame(c, h, p, out))
			continue;
		out->time_ns = time_of(c, h);
		if (!c->counts.n_packets++)
			c->counts.begin_ns = out->time_ns;
		c->counts.end_ns = out->time_ns;
		return 1;
	}
}

const struct capture_counts *capture_counts(const struct capture *c)
{
	return &c->counts;
}

const char *capture_link_name(const struct capture *c)
{
	return c->link_name;
}

void capture_close(struct capture *c)
{
	if (!c)
		return;
	pcap_close(c->pcap);
	free(c);
}
