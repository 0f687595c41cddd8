/* SPDX-License-Identifier: BSD-2-Clause */
/* Parses PROXY protocol headers (the specification of 2020/03/05). Believes nobody: whether the sender may
 * speak for others is for real_ip to decide. */
#include "net/proxy_intro.h"

#include "core/err.h"

enum {
	V1_MAX = 107, /* with CRLF */
	V2_FIXED = 16,
	V2_LOCAL = 0x20,
	V2_PROXY = 0x21,
	V2_TCP4 = 0x11,
	V2_TCP6 = 0x21,
	TLV_HEAD = 3,
};

static const struct slice v1_start = SLICE_INIT("PROXY ");
static const struct slice v2_start = SLICE_INIT("\r\n\r\n\0\r\nQUIT\n");

/* The text up to STOP, which is passed over; false: STOP does not come. */
static bool take_word(struct slice *rest, char stop, struct slice *word)
{
	ptrdiff_t n = slice_find(*rest, stop);

	if (n < 0)
		return false;
	*word = slice_make(rest->p, (size_t)n);
	*rest = slice_skip(*rest, (size_t)n + 1);
	return true;
}

/* Without a leading zero, as the specification says. */
static int parse_port(struct slice s, uint16_t *port)
{
	unsigned v = 0;

	if (s.n < 1 || s.n > 5 || (s.n > 1 && s.p[0] == '0'))
		return -SL_EINVAL;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -SL_EINVAL;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	*port = (uint16_t)v;
	return v > 65535 ? -SL_EINVAL : 0;
}

static int parse_addr(struct slice ip, int family, uint16_t port, struct addr *out)
{
	return (ip.n && ip.p[0] == '[') || addr_from_ip(ip, port, out) ||
			       out->sa.sa_family != family
		       ? -SL_EINVAL
		       : 0;
}

/* LINE is behind "PROXY ", without CRLF. */
static int parse_v1_line(struct slice line, struct proxy_intro *out)
{
	struct slice proto, src, dst, src_port;
	uint16_t from, to;
	int family;

	if (slice_eq(line, SLICE("UNKNOWN")) || slice_starts(line, SLICE("UNKNOWN ")))
		return 0;
	if (!take_word(&line, ' ', &proto) || !take_word(&line, ' ', &src) ||
	    !take_word(&line, ' ', &dst) || !take_word(&line, ' ', &src_port))
		return -SL_EINVAL;
	if (slice_eq(proto, SLICE("TCP4")))
		family = AF_INET;
	else if (slice_eq(proto, SLICE("TCP6")))
		family = AF_INET6;
	else
		return -SL_EINVAL;
	if (parse_port(src_port, &from) || parse_port(line, &to) ||
	    parse_addr(src, family, from, &out->src) || parse_addr(dst, family, to, &out->dst))
		return -SL_EINVAL;
	return 0;
}

static int parse_v1(struct slice buf, struct proxy_intro *out)
{
	size_t n = buf.n < V1_MAX ? buf.n : V1_MAX;
	const char *lf = memchr(buf.p, '\n', n);
	size_t end;

	if (!lf) {
		const char *cr = memchr(buf.p, '\r', n);

		/* Only the line's end may follow a CR. */
		return n == V1_MAX || (cr && cr + 1 < buf.p + n) ? -SL_EINVAL : 0;
	}
	end = (size_t)(lf - buf.p);
	if (lf[-1] != '\r' || memchr(buf.p, '\r', end) != lf - 1)
		return -SL_EINVAL;
	if (parse_v1_line(slice_make(buf.p + v1_start.n, end - 1 - v1_start.n), out))
		return -SL_EINVAL;
	return (int)end + 1;
}

static uint16_t get_u16(const char *p)
{
	return (uint16_t)((unsigned char)p[0] << 8 | (unsigned char)p[1]);
}

static int check_tlvs(struct slice s)
{
	while (s.n) {
		size_t n;

		if (s.n < TLV_HEAD)
			return -SL_EINVAL;
		n = TLV_HEAD + get_u16(s.p + 1);
		if (n > s.n)
			return -SL_EINVAL;
		s = slice_skip(s, n);
	}
	return 0;
}

static void set_v4(struct addr *a, const char *ip, const char *port)
{
	a->in.sin_family = AF_INET;
	memcpy(&a->in.sin_addr, ip, 4);
	memcpy(&a->in.sin_port, port, 2);
	a->len = sizeof a->in;
}

static void set_v6(struct addr *a, const char *ip, const char *port)
{
	a->in6.sin6_family = AF_INET6;
	memcpy(&a->in6.sin6_addr, ip, 16);
	memcpy(&a->in6.sin6_port, port, 2);
	a->len = sizeof a->in6;
}

/* Bytes of the address block for a family and transport of the specification; -1: there is none such. */
static int block_bytes(unsigned char family)
{
	static const int bytes[] = {0, 12, 36, 216};

	return family >> 4 > 3 || (family & 15) > 2 ? -1 : bytes[family >> 4];
}

static int parse_v2(struct slice buf, struct proxy_intro *out)
{
	unsigned char command, family;
	struct slice rest;
	size_t n;
	int block;

	if (buf.n < V2_FIXED)
		return 0;
	command = (unsigned char)buf.p[12];
	family = (unsigned char)buf.p[13];
	n = V2_FIXED + get_u16(buf.p + 14);
	if ((command != V2_LOCAL && command != V2_PROXY) || n > PROXY_INTRO_MAX)
		return -SL_EINVAL;
	if (buf.n < n)
		return 0;
	/* A receiver must take what a local connection says for nothing. */
	if (command == V2_LOCAL)
		return (int)n;
	rest = slice_make(buf.p + V2_FIXED, n - V2_FIXED);
	block = block_bytes(family);
	if (block < 0 || rest.n < (size_t)block)
		return -SL_EINVAL;
	if (family >> 4 && check_tlvs(slice_skip(rest, (size_t)block)))
		return -SL_EINVAL;
	if (family == V2_TCP4) {
		set_v4(&out->src, rest.p, rest.p + 8);
		set_v4(&out->dst, rest.p + 4, rest.p + 10);
	} else if (family == V2_TCP6) {
		set_v6(&out->src, rest.p, rest.p + 32);
		set_v6(&out->dst, rest.p + 16, rest.p + 34);
	}
	return (int)n;
}

/* Is BUF the beginning of a text, or does it begin with it? */
static bool may_be(struct slice buf, struct slice text)
{
	return slice_starts(buf, text) || slice_starts(text, buf);
}

int proxy_intro_parse(struct slice buf, struct proxy_intro *out)
{
	*out = (struct proxy_intro){0};
	if (may_be(buf, v1_start))
		return buf.n <= v1_start.n ? 0 : parse_v1(buf, out);
	if (may_be(buf, v2_start))
		return parse_v2(buf, out);
	return -SL_EINVAL;
}
