/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of sl-load share: one context, struct load, owned by main. It must not include
 * anything of user/: what is measured would then be judged by its own code.
 */
#ifndef SL_BENCH_LOAD_H
#define SL_BENCH_LOAD_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define HEAD_MAX 16384
#define LINE_MAX_BYTES 65536
#define READ_BYTES 131072
#define WATCH_MAX 64
#define HIST_SUB 128
#define HIST_SLOTS (58 * HIST_SUB)

enum mode { MODE_REQUESTS, MODE_HANDSHAKE, MODE_DOWNLOAD, MODE_STREAMS };

enum fault {
	FAULT_NONE,
	FAULT_CONNECT,
	FAULT_TLS,
	FAULT_SEND,
	FAULT_RECV,
	FAULT_EARLY_CLOSE,
	FAULT_MALFORMED,
	FAULT_STATUS,
	FAULT_BODY,
	FAULT_TIMEOUT,
	FAULT_NO_DONE,
	FAULT_COUNT
};

enum state { ST_DOWN, ST_CONNECT, ST_TLS, ST_READY, ST_SEND, ST_RECV, ST_OVER };

enum phase {
	PH_HEAD,
	PH_LENGTH,
	PH_UNTIL_CLOSE,
	PH_CHUNK_SIZE,
	PH_CHUNK_EXT,
	PH_CHUNK_LF,
	PH_CHUNK_DATA,
	PH_DATA_CR,
	PH_DATA_LF,
	PH_TRAILER,
	PH_DONE
};

/* Log-linear buckets of nanoseconds: 128 to each power of two, so a quantile is right to 0.8%. */
struct hist {
	uint64_t slot[HIST_SLOTS];
	uint64_t count, max;
};

struct text {
	char *p;
	size_t len, room;
};

struct conn {
	int fd;
	uint32_t armed; /* epoll events asked for */
	enum state state;
	enum phase phase;
	SSL *ssl;
	uint64_t start_ns, active_ns;
	size_t sent;
	bool claimed; /* one of the budgeted attempts is on this connection */
	bool stacked; /* in load.ready */
	bool keep;
	/* the answer */
	int status;
	unsigned digits, trailer;
	uint64_t left, body_len;
	struct text part; /* the head, or a line of an event stream, that reads have split */
	/* the event stream */
	bool pend, pend_done, pend_token, done, stamped, first_seen;
	uint64_t pend_sent_ns;
	uint64_t events;
};

struct sample {
	uint64_t at_ns, cpu_ns, pss_kb, items;
};

struct options {
	enum mode mode;
	const char *connect, *sni, *ca, *path, *method;
	struct text headers, body;
	bool tls, resume, json, have_body;
	uint64_t connections, requests, warmup, timeout_ns, expect_bytes, rate_per_s;
	struct in_addr source; /* the first of n_sources, which the connections take in turn */
	uint64_t n_sources;    /* 0: whatever the kernel chooses */
	double seconds;
	uint64_t interval_ms, events, ramp_ms, max_lost, max_p99_ms;
	pid_t watch[WATCH_MAX];
	size_t n_watch;
};

struct load {
	struct options opt;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	SSL_CTX *tls;
	SSL_SESSION *session;
	int epfd, sigfd;
	struct text request;
	struct conn *conns;
	struct conn **down, **ready;
	size_t n_down, n_ready;
	uint64_t now_ns, mark_ns, begin_ns, end_ns, deadline_ns, retry_ns, scan_ns, ramp_from_ns;
	uint64_t issued, over, opening, ok, reconnects, resumed, body_bytes;
	bool marked, stop, ramping;
	uint64_t faults[FAULT_COUNT], status[600];
	struct hist latency, late;
	/* streams */
	uint64_t started, completed, cut, unopened, events, other_events, lost, n_silent;
	struct sample idle, from,
		to; /* watched processes: before, and at both ends of what is counted */
	char tls_version[16], tls_cipher[64];
	char buf[READ_BYTES];
};

extern const char *const load_mode_names[];
extern const char *const load_fault_names[FAULT_COUNT];

/* load_stat.c: prints and exits 2: it could not run. */
void load_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
uint64_t load_clock_ns(void);
/* The text grows and always ends in a NUL that len does not count. */
void load_text_add(struct text *t, const char *p, size_t n);
void load_text_addf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void load_hist_add(struct hist *h, uint64_t v);
/* The upper edge of the bucket that holds the quantile, so that a figure is never flattered. */
uint64_t load_hist_quantile(const struct hist *h, unsigned per_mille);
/* CPU (and, if asked, memory) of all watched processes now, beside the number of items done. */
void load_sample_take(const struct load *l, struct sample *s, uint64_t items, bool with_pss);

/* load_answer.c: 0, or -fault. c->phase is PH_DONE once the answer is whole; bytes beyond it are a
 * fault. */
int load_answer_feed(struct load *l, struct conn *c, const char *p, size_t n);

/* load.c: a stamped event came on the stream c; only those that carry a token are counted as
 * expected ones. */
void load_event(struct load *l, struct conn *c, uint64_t sent_ns, bool token);

/* load_options.c: exits 0 after --help, 2 on a wrong command line. */
void load_options_parse(struct options *o, int argc, char **argv);
void load_options_address(struct load *l);
/* FD comes from the source address of the NTH connection; there must be sources. */
void load_options_bind(const struct options *o, int fd, uint64_t nth);
void load_options_request(struct load *l);

/* load_report.c: to stdout; the verdict is the exit code, its reasons go to stderr. */
void load_report_json(const struct load *l, double elapsed_s);
void load_report_text(const struct load *l, double elapsed_s);
int load_report_verdict(const struct load *l);

#endif
