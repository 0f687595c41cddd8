/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sl-load's command line, and what follows from it alone: the addresses and the bytes of the request.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char usage_text[] =
	"usage: sl-load requests|handshake|download|streams --connect ADDR:PORT|unix:PATH "
	"[options]\n"
	"  --tls --sni NAME --ca FILE --resume      TLS; with --ca the certificate and the name "
	"are verified\n"
	"  --connections N                          64; handshake 16; download 8; streams 100\n"
	"  --requests N | --seconds S               how long; requests by default 10000 (download "
	"200)\n"
	"  --warmup N                               requests before counting starts\n"
	"  --rate R                                 requests a second in all; latency then counts "
	"from when due\n"
	"  --sources ADDR[+N]                       IPv4: from N addresses, beginning with ADDR, in turn\n"
	"  --path P --method M --header 'K: V'      --header may be repeated\n"
	"  --body-bytes N | --body FILE             chat JSON of N bytes, or a file, as the "
	"request's body\n"
	"  --expect-bytes N                         length that each answer's body must have\n"
	"  --timeout-ms N                           10000: silence that makes an attempt an error\n"
	"  --interval-ms X --events N --ramp-ms R   streams: an event every X ms (100), N of them "
	"(or --seconds),\n"
	"                                           started over R ms (1000)\n"
	"  --max-lost N --max-p99-ms N              streams: exit 1 beyond these\n"
	"  --watch PID[,PID...]                     sample CPU and memory of these processes\n"
	"  --json\n"
	"Exit 0: all well. 1: errors, or a limit exceeded. 2: it could not run.\n";

static uint64_t number(const char *name, const char *s)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno != 0 || end == s || *end != '\0' || *s == '-')
		load_die("--%s wants a number, not \"%s\"", name, s);
	return v;
}

static void body_from_file(struct text *body, const char *path)
{
	char chunk[4096];
	FILE *f = fopen(path, "re");
	size_t n;

	if (f == NULL)
		load_die("%s: %s", path, strerror(errno));
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		load_text_add(body, chunk, n);
	fclose(f);
}

/* A chat request of exactly n_bytes (if its frame alone is not longer). */
static void body_make(struct text *body, size_t n_bytes, bool stream)
{
	static const char prose[] =
		"Explain in two sentences why a proxy should forward each event as it comes. ";
	static const char tail[] = "\"}]}";
	size_t i;

	load_text_addf(
		body,
		"{\"model\":\"mock-small\",\"temperature\":0.2,\"max_tokens\":256,%s\"messages\":"
		"[{\"role\":\"system\",\"content\":\"You are "
		"brief.\"},{\"role\":\"user\",\"content\":\"",
		stream ? "\"stream\":true," : "");
	for (i = 0; body->len + sizeof(tail) - 1 < n_bytes; i++)
		load_text_add(body, &prose[i % (sizeof(prose) - 1)], 1);
	load_text_add(body, tail, sizeof(tail) - 1);
}

static void watch_add(struct options *o, const char *list)
{
	char *copy = strdup(list), *rest = copy, *item;

	while (copy != NULL && (item = strsep(&rest, ",")) != NULL) {
		if (o->n_watch == WATCH_MAX)
			load_die("--watch: at most %d processes", WATCH_MAX);
		o->watch[o->n_watch++] = (pid_t)number("watch", item);
	}
	free(copy);
}

static void header_add(struct options *o, const char *line)
{
	if (strchr(line, ':') == NULL || strpbrk(line, "\r\n") != NULL)
		load_die("--header wants 'Name: value'");
	load_text_addf(&o->headers, "%s\r\n", line);
}

static void sources_set(struct options *o, const char *text)
{
	char addr[INET_ADDRSTRLEN];
	size_t n = strcspn(text, "+");

	o->n_sources = text[n] == '+' ? number("sources", text + n + 1) : 1;
	if (n < sizeof(addr)) {
		memcpy(addr, text, n);
		addr[n] = '\0';
		if (inet_pton(AF_INET, addr, &o->source) == 1 && o->n_sources > 0)
			return;
	}
	load_die("--sources wants ADDR or ADDR+N, not \"%s\"", text);
}

static const struct option long_options[] = {{"connect", required_argument, NULL, 'c'},
					     {"tls", no_argument, NULL, 't'},
					     {"sni", required_argument, NULL, 's'},
					     {"ca", required_argument, NULL, 'a'},
					     {"resume", no_argument, NULL, 'r'},
					     {"connections", required_argument, NULL, 'n'},
					     {"requests", required_argument, NULL, 'q'},
					     {"seconds", required_argument, NULL, 'S'},
					     {"warmup", required_argument, NULL, 'w'},
					     {"rate", required_argument, NULL, 'R'},
					     {"sources", required_argument, NULL, 'f'},
					     {"path", required_argument, NULL, 'p'},
					     {"method", required_argument, NULL, 'm'},
					     {"header", required_argument, NULL, 'H'},
					     {"body-bytes", required_argument, NULL, 'b'},
					     {"body", required_argument, NULL, 'B'},
					     {"expect-bytes", required_argument, NULL, 'e'},
					     {"timeout-ms", required_argument, NULL, 'T'},
					     {"interval-ms", required_argument, NULL, 'i'},
					     {"events", required_argument, NULL, 'E'},
					     {"ramp-ms", required_argument, NULL, 'u'},
					     {"max-lost", required_argument, NULL, 'l'},
					     {"max-p99-ms", required_argument, NULL, 'P'},
					     {"watch", required_argument, NULL, 'W'},
					     {"json", no_argument, NULL, 'j'},
					     {"help", no_argument, NULL, 'h'},
					     {NULL, 0, NULL, 0}};

static void option_set(struct options *o, int opt, const char *name, uint64_t *body_bytes)
{
	char *end;

	switch (opt) {
	case 'c':
		o->connect = optarg;
		break;
	case 't':
		o->tls = true;
		break;
	case 's':
		o->sni = optarg;
		break;
	case 'a':
		o->ca = optarg;
		break;
	case 'r':
		o->resume = true;
		break;
	case 'n':
		o->connections = number(name, optarg);
		break;
	case 'q':
		o->requests = number(name, optarg);
		break;
	case 'S':
		o->seconds = strtod(optarg, &end);
		if (*end != '\0' || !(o->seconds > 0) || o->seconds > 1e6)
			load_die("--seconds wants a time above 0, not \"%s\"", optarg);
		break;
	case 'w':
		o->warmup = number(name, optarg);
		break;
	case 'R':
		o->rate_per_s = number(name, optarg);
		break;
	case 'f':
		sources_set(o, optarg);
		break;
	case 'p':
		o->path = optarg;
		break;
	case 'm':
		o->method = optarg;
		break;
	case 'H':
		header_add(o, optarg);
		break;
	case 'b':
		*body_bytes = number(name, optarg);
		o->have_body = true;
		break;
	case 'B':
		body_from_file(&o->body, optarg);
		o->have_body = true;
		break;
	case 'e':
		o->expect_bytes = number(name, optarg);
		break;
	case 'T':
		o->timeout_ns = number(name, optarg) * NS_PER_MS;
		break;
	case 'i':
		o->interval_ms = number(name, optarg);
		break;
	case 'E':
		o->events = number(name, optarg);
		break;
	case 'u':
		o->ramp_ms = number(name, optarg);
		break;
	case 'l':
		o->max_lost = number(name, optarg);
		break;
	case 'P':
		o->max_p99_ms = number(name, optarg);
		break;
	case 'W':
		watch_add(o, optarg);
		break;
	case 'j':
		o->json = true;
		break;
	case 'h':
		fputs(usage_text, stdout);
		exit(0);
	default:
		fputs(usage_text, stderr);
		exit(2);
	}
}

static void options_defaults(struct options *o, uint64_t body_bytes)
{
	static const uint64_t connections[] = {64, 16, 8, 100};
	bool chat = o->mode == MODE_REQUESTS || o->mode == MODE_STREAMS;

	if (o->connections == 0)
		o->connections = connections[o->mode];
	if (o->connections > 100000)
		load_die("--connections: at most 100000");
	if (o->path == NULL)
		o->path = chat			     ? "/v1/chat/completions"
			  : o->mode == MODE_DOWNLOAD ? "/bytes/1048576"
						     : "/";
	if (o->method == NULL)
		o->method = chat || o->have_body ? "POST" : "GET";
	if (o->have_body ? body_bytes > 0 : chat && strcmp(o->method, "POST") == 0)
		body_make(&o->body, body_bytes > 0 ? body_bytes : 600, o->mode == MODE_STREAMS);
	if (o->expect_bytes == 0 && o->mode == MODE_DOWNLOAD && strncmp(o->path, "/bytes/", 7) == 0)
		o->expect_bytes = strtoull(o->path + 7, NULL, 10);
	if (o->mode == MODE_STREAMS) {
		if (o->interval_ms == 0)
			o->interval_ms = 100;
		if (o->events == 0)
			o->events = (uint64_t)((o->seconds > 0 ? o->seconds : 10) * 1000) /
				    o->interval_ms;
		if (o->events == 0)
			load_die("--seconds is shorter than --interval-ms");
		o->requests = o->connections;
		o->warmup = 0;
	} else if (o->requests == 0 && !(o->seconds > 0)) {
		o->requests = o->mode == MODE_DOWNLOAD ? 200 : 10000;
	}
}

void load_options_parse(struct options *o, int argc, char **argv)
{
	uint64_t body_bytes = 0;
	int opt, index;
	size_t i;

	o->timeout_ns = 10 * NS_PER_S;
	o->ramp_ms = 1000;
	o->sni = "localhost";
	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		option_set(o, 'h', "", &body_bytes);
	for (i = 0; argc > 1 && i < 4; i++)
		if (strcmp(argv[1], load_mode_names[i]) == 0)
			break;
	if (argc < 2 || i == 4) {
		fputs(usage_text, stderr);
		exit(2);
	}
	o->mode = (enum mode)i;
	optind = 2;
	while ((opt = getopt_long(argc, argv, "", long_options, &index)) != -1)
		option_set(o, opt, opt == '?' ? "" : long_options[index].name, &body_bytes);
	if (optind != argc || o->connect == NULL) {
		fputs(usage_text, stderr);
		exit(2);
	}
	options_defaults(o, body_bytes);
}

void load_options_address(struct load *l)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	struct sockaddr_un *un = (struct sockaddr_un *)&l->addr;
	const char *text = l->opt.connect;
	char *host = strdup(text), *colon = strrchr(host, ':'), *name = host;
	int rc;

	if (strncmp(text, "unix:", 5) == 0) {
		un->sun_family = AF_UNIX;
		if (strlen(text + 5) >= sizeof(un->sun_path))
			load_die("--connect: the path is too long");
		strcpy(un->sun_path, text + 5);
		l->addr_len = sizeof(*un);
		free(host);
		return;
	}
	if (colon == NULL)
		load_die("--connect wants ADDR:PORT, [ADDR]:PORT or unix:PATH");
	*colon = '\0';
	if (name[0] == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		name++;
	}
	rc = getaddrinfo(name, colon + 1, &hints, &found);
	if (rc != 0)
		load_die("--connect %s: %s", text, gai_strerror(rc));
	memcpy(&l->addr, found->ai_addr, found->ai_addrlen);
	l->addr_len = found->ai_addrlen;
	freeaddrinfo(found);
	free(host);
}

/* The port is chosen at connect, where it need only be free for this destination. */
void load_options_bind(const struct options *o, int fd, uint64_t nth)
{
	uint32_t index = (uint32_t)(nth % o->n_sources);
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(ntohl(o->source.s_addr) + index),
	};
	int one = 1;

	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0)
		load_die("bind to source %u: %s", index, strerror(errno));
}

void load_options_request(struct load *l)
{
	const struct options *o = &l->opt;
	struct text *r = &l->request;

	load_text_addf(r, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sl-load\r\nAccept: */*\r\n",
		       o->method, o->path, o->sni);
	if (o->mode == MODE_STREAMS)
		load_text_addf(
			r, "X-Mock-Tokens: %" PRIu64 "\r\nX-Mock-Chunk-Delay-Ms: %" PRIu64 "\r\n",
			o->events, o->interval_ms);
	if (o->headers.len > 0)
		load_text_add(r, o->headers.p, o->headers.len);
	if (o->body.len > 0)
		load_text_addf(r, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			       o->body.len);
	load_text_add(r, "\r\n", 2);
	if (o->body.len > 0)
		load_text_add(r, o->body.p, o->body.len);
}
