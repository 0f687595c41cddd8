/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mock-llm: an upstream that looks like an LLM API and fails on request, for sluice's demo, tests
 * and benchmarks. Owns the command line, the listeners and the loop; shares no code with sluice.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "mock.h"

enum { LISTENERS_MAX = 64, EVENTS_A_TURN = 256 };

struct options {
	struct server *srv;
	struct listener listeners[LISTENERS_MAX];
	size_t n_listeners;
	const char *cert, *key, *log, *unix_path;
	bool wants_tls;
};

static const char help[] = "usage: mock-llm [option]...\n"
			   "  --listen ADDR:PORT        plain HTTP; IPv6 as [ADDR]:PORT; port 0 "
			   "chooses one; repeatable\n"
			   "  --listen-tls ADDR:PORT    HTTPS, needs --cert and --key; repeatable\n"
			   "  --listen-unix PATH        plain HTTP on a unix socket\n"
			   "  --cert FILE --key FILE    certificate chain and key, PEM\n"
			   "  --name NAME               said in x-mock-name (mock-llm)\n"
			   "  --tokens N                words in an answer (16)\n"
			   "  --delay-ms N              wait before the head (0)\n"
			   "  --chunk-delay-ms N        time between events (0)\n"
			   "  --status N                answer with this status\n"
			   "  --fault NAME              fail in this way\n"
			   "  --timestamps              sent_ns in each event\n"
			   "  --log FILE                one JSON line for each answer\n"
			   "  --version, --help\n";

static void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "mock-llm: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

static struct span span_of(const char *s)
{
	return (struct span){s, strlen(s)};
}

static struct listener *add_listener(struct options *o, int fd, bool tls)
{
	if (o->n_listeners == LISTENERS_MAX)
		die("more than %d listeners", LISTENERS_MAX);
	struct listener *l = &o->listeners[o->n_listeners++];
	*l = (struct listener){.watch = WATCH_LISTENER, .fd = fd, .tls = tls};
	return l;
}

static void name_listener(struct listener *l)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[64], port[16];

	if (getsockname(l->fd, (struct sockaddr *)&ss, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		die("cannot tell the address of a listener");
	snprintf(l->name_cstr, sizeof(l->name_cstr), ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
		 host, port);
}

static void listen_tcp(struct options *o, const char *arg, bool tls)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *ai = NULL;
	const char *colon = strrchr(arg, ':');
	char host[64];
	uint64_t port;
	int on = 1;

	size_t n = colon ? (size_t)(colon - arg) : 0;
	bool bracket = n > 2 && arg[0] == '[' && arg[n - 1] == ']';
	if (bracket)
		arg++, n -= 2;
	if (n == 0 || n >= sizeof(host) || !span_u64(span_of(colon + 1), 65535, &port) ||
	    (!bracket && memchr(arg, ':', n) != NULL))
		die("bad address \"%s\": expected ADDR:PORT or [ADDR]:PORT",
		    bracket ? arg - 1 : arg);
	snprintf(host, sizeof(host), "%.*s", (int)n, arg);
	if (getaddrinfo(host, colon + 1, &hints, &ai) != 0 ||
	    (ai->ai_family == AF_INET6) != bracket)
		die("bad address \"%s\": not a numeric IPv4 address or [IPv6 address]", host);
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, 4096) < 0)
		die("cannot listen on %s port %s: %s", host, colon + 1, strerror(errno));
	freeaddrinfo(ai);
	name_listener(add_listener(o, fd, tls));
}

static void listen_unix(struct options *o, const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(path) >= sizeof(un.sun_path))
		die("path too long: %s", path);
	if (o->unix_path != NULL)
		die("--listen-unix twice");
	memcpy(un.sun_path, path, strlen(path));
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 || chmod(path, 0666) < 0 ||
	    listen(fd, 4096) < 0)
		die("cannot listen on %s: %s", path, strerror(errno));
	snprintf(add_listener(o, fd, false)->name_cstr, sizeof(o->listeners[0].name_cstr),
		 "unix:%s", path);
	o->unix_path = path;
}

static void set_name(struct server *srv, const char *name)
{
	size_t n =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-");

	if (n == 0 || name[n] != '\0' || n >= sizeof(srv->name_cstr))
		die("bad name \"%s\": expected 1 to 64 letters, digits and . _ : -", name);
	memcpy(srv->name_cstr, name, n + 1);
}

/* An option that takes a value. */
static void take_option(struct options *o, const char *option, const char *value)
{
	static const char *const settings[] = {"tokens", "delay-ms", "chunk-delay-ms", "status",
					       "fault"};
	const char *name = option + 2;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		if (strcmp(name, settings[i]) != 0)
			continue;
		if (behave_set(&o->srv->defaults, span_of(name), span_of(value)) < 0)
			die("bad value for %s: \"%s\"", option, value);
		return;
	}
	if (strcmp(name, "listen") == 0)
		listen_tcp(o, value, false);
	else if (strcmp(name, "listen-tls") == 0)
		listen_tcp(o, value, true);
	else if (strcmp(name, "listen-unix") == 0)
		listen_unix(o, value);
	else if (strcmp(name, "cert") == 0)
		o->cert = value;
	else if (strcmp(name, "key") == 0)
		o->key = value;
	else if (strcmp(name, "log") == 0)
		o->log = value;
	else
		set_name(o->srv, value);
}

static bool has_value(const char *option)
{
	static const char *const names[] = {"--tokens",	    "--delay-ms",    "--chunk-delay-ms",
					    "--status",	    "--fault",	     "--listen",
					    "--listen-tls", "--listen-unix", "--cert",
					    "--key",	    "--log",	     "--name"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(option, names[i]) == 0)
			return true;
	return false;
}

static bool is_listen(const char *option)
{
	return strncmp(option, "--listen", 8) == 0;
}

/* All but the listeners, so that a mistake leaves nothing behind. */
static void read_options(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(help, stdout);
			exit(0);
		}
		if (strcmp(argv[i], "--version") == 0) {
			puts("mock-llm 0.1.0");
			exit(0);
		}
		if (strcmp(argv[i], "--timestamps") == 0)
			o->srv->defaults.timestamps = true;
		else if (!has_value(argv[i]))
			die("unknown option \"%s\"; --help lists them", argv[i]);
		else if (++i == argc)
			die("%s wants a value", argv[i - 1]);
		else if (!is_listen(argv[i - 1]))
			take_option(o, argv[i - 1], argv[i]);
		else
			o->wants_tls = o->wants_tls || strcmp(argv[i - 1], "--listen-tls") == 0;
	}
	if (o->wants_tls && (o->cert == NULL || o->key == NULL))
		die("--listen-tls needs --cert and --key");
}

static void open_listeners(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (is_listen(argv[i]))
			take_option(o, argv[i], argv[i + 1]);
		if (has_value(argv[i]))
			i++;
	}
	if (o->n_listeners == 0)
		die("nothing to listen on: give --listen, --listen-tls or --listen-unix");
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *n_out,
		       const unsigned char *in, unsigned n_in, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, n_out, ours, sizeof(ours) - 1, in, n_in) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static const char *tls_error(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	return reason != NULL ? reason : "unknown";
}

static void start_tls(struct options *o)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (ctx == NULL)
		die("TLS: %s", tls_error());
	o->srv->tls = ctx;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"mock-llm", 8);
	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
	if (SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1)
		die("cannot use certificate %s: %s", o->cert, tls_error());
	if (SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1)
		die("cannot use key %s: %s", o->key, tls_error());
}

static void raise_limits(void)
{
	struct rlimit want = {1 << 20, 1 << 20}, now;

	if (setrlimit(RLIMIT_NOFILE, &want) == 0 || getrlimit(RLIMIT_NOFILE, &now) < 0)
		return;
	now.rlim_cur = now.rlim_max;
	setrlimit(RLIMIT_NOFILE, &now);
}

static void make_content(struct server *srv)
{
	uint32_t x = 1;

	srv->recv_buf = malloc(RECV_MAX);
	srv->pattern = malloc(2 * BYTES_PERIOD);
	if (srv->recv_buf == NULL || srv->pattern == NULL)
		die("out of memory");
	for (int i = 0; i < BYTES_PERIOD; i++) {
		x = (x * 75 + 74) % 65537;
		srv->pattern[i] = srv->pattern[i + BYTES_PERIOD] = (char)(33 + x % 94);
	}
	if (getrandom(&srv->last_request_id, sizeof(srv->last_request_id), 0) < 0)
		srv->last_request_id = (uint64_t)getpid() << 32;
	srv->last_request_id &= ~0xffffffffull;
}

static void watch(struct server *srv, int fd, void *what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = what};

	if (fd < 0 || epoll_ctl(srv->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll: %s", strerror(errno));
}

static void read_clock(struct server *srv)
{
	time_t now = time(NULL);
	struct tm tm;

	if (now == srv->date_s)
		return;
	srv->date_s = now;
	gmtime_r(&now, &tm);
	strftime(srv->date_cstr, sizeof(srv->date_cstr), "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static int wait_events(struct server *srv, struct epoll_event *evs)
{
	uint64_t next_ns = timer_next_ns(&srv->timers),
		 now_ns = next_ns == UINT64_MAX ? 0 : timer_now_ns();
	uint64_t left_ns = next_ns > now_ns ? next_ns - now_ns : 0;
	struct timespec ts = {(time_t)(left_ns / 1000000000u), (long)(left_ns % 1000000000u)};

	int n = epoll_pwait2(srv->epoll_fd, evs, EVENTS_A_TURN, next_ns == UINT64_MAX ? NULL : &ts,
			     NULL);
	if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
		n = epoll_wait(srv->epoll_fd, evs, EVENTS_A_TURN,
			       next_ns == UINT64_MAX ? -1 : (int)((left_ns + 999999) / 1000000));
	return n;
}

static void loop(struct server *srv)
{
	struct epoll_event evs[EVENTS_A_TURN];

	for (;;) {
		int n = wait_events(srv, evs);
		if (n < 0 && errno != EINTR)
			die("epoll: %s", strerror(errno));
		read_clock(srv);
		for (int i = 0; i < n; i++) {
			enum watch *what = evs[i].data.ptr;
			if (*what == WATCH_SIGNAL)
				return;
			if (*what == WATCH_LISTENER)
				conn_accept(srv, (struct listener *)what);
			else
				conn_event((struct conn *)what, evs[i].events);
		}
		uint64_t now_ns = timer_now_ns();
		for (struct timer *t; (t = timer_pop(&srv->timers, now_ns)) != NULL;)
			conn_timer(conn_of_timer(t), now_ns);
		conn_reap(srv);
	}
}

static void fini(struct options *o)
{
	struct server *srv = o->srv;

	while (srv->conns != NULL) {
		struct conn *c = srv->conns;
		if (c->state == CONN_REPLY)
			reply_end(c, false);
		conn_drop(c, false);
	}
	conn_reap(srv);
	for (size_t i = 0; i < o->n_listeners; i++)
		close(o->listeners[i].fd);
	if (o->unix_path != NULL)
		unlink(o->unix_path);
	timer_fini(&srv->timers);
	buf_free(&srv->scratch);
	buf_free(&srv->embedding);
	SSL_CTX_free(srv->tls);
	free(srv->recv_buf);
	free(srv->pattern);
	if (srv->log != NULL)
		fclose(srv->log);
	close(srv->spare_fd);
	close(srv->epoll_fd);
}

int main(int argc, char **argv)
{
	struct server srv = {.name_cstr = "mock-llm", .defaults.tokens = 16};
	struct options o = {.srv = &srv};
	enum watch on_signal = WATCH_SIGNAL;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise_limits();
	read_options(&o, argc, argv);
	if (o.wants_tls)
		start_tls(&o);
	if (o.log != NULL) {
		srv.log = fopen(o.log, "ae");
		if (srv.log == NULL)
			die("cannot open %s: %s", o.log, strerror(errno));
		setvbuf(srv.log, NULL, _IOLBF, 0);
	}
	open_listeners(&o, argc, argv);
	make_content(&srv);
	read_clock(&srv);
	srv.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	srv.spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	watch(&srv, signal_fd, &on_signal);
	for (size_t i = 0; i < o.n_listeners; i++)
		watch(&srv, o.listeners[i].fd, &o.listeners[i]);
	printf("mock-llm: ready\n");
	for (size_t i = 0; i < o.n_listeners; i++)
		printf("mock-llm: %s %s\n", o.listeners[i].tls ? "https" : "http",
		       o.listeners[i].name_cstr);
	fflush(stdout);
	loop(&srv);
	fini(&o);
	close(signal_fd);
	return 0;
}
