/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the directives of the admin block and the reading of the token file, which happens while the
 * configuration loads (the master may read what the admin process may not). Opens no socket, and
 * never writes the token anywhere. */
#include "admin/admin_conf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "core/num.h"

static int parse_mode(struct slice s, mode_t *mode)
{
	unsigned v = 0;

	if (s.n < 3 || s.n > 4)
		return -SL_EINVAL;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '7')
			return -SL_EINVAL;
		v = v * 8 + (unsigned)(s.p[i] - '0');
	}
	if (v > 0777)
		return -SL_EINVAL;
	*mode = (mode_t)v;
	return 0;
}

/* ADDRESS:PORT, [ADDRESS]:PORT or *:PORT. */
static int parse_tcp(struct slice s, struct addr *out)
{
	struct slice host, port_text;
	uint64_t port;
	size_t colon;

	for (colon = s.n; colon > 0 && s.p[colon - 1] != ':'; colon--)
		;
	if (colon < 2)
		return -SL_EINVAL;
	host = slice_make(s.p, colon - 1);
	port_text = slice_skip(s, colon);
	if (port_text.n > 5 || num_u63(port_text, &port) || port == 0 || port > 65535)
		return -SL_EINVAL;
	if (slice_eq(host, SLICE("*")))
		host = SLICE("0.0.0.0");
	if (slice_find(host, ':') >= 0 && host.p[0] != '[')
		return -SL_EINVAL;
	return addr_from_ip(host, (uint16_t)port, out);
}

static int parse_address(struct conf *c, const struct conf_node *n, struct admin_listen *l)
{
	struct slice path;

	l->is_unix = slice_starts(l->text, SLICE("unix:"));
	if (!l->is_unix) {
		if (parse_tcp(l->text, &l->addr))
			return conf_error(c, n,
					  "invalid address \"%.*s\" in \"listen\", expected "
					  "unix:/PATH, IPV4:PORT or [IPV6]:PORT",
					  SLICE_FMT(l->text));
		return 0;
	}
	path = slice_skip(l->text, 5);
	if (path.n == 0 || path.p[0] != '/')
		return conf_error(c, n, "the socket of \"listen %.*s\" needs an absolute path",
				  SLICE_FMT(l->text));
	if (addr_from_unix(path, &l->addr))
		return conf_error(c, n, "the path of \"listen %.*s\" is too long",
				  SLICE_FMT(l->text));
	return 0;
}

static int set_listen(struct conf *c, struct conf_block *block, void *mod,
		      const struct conf_node *n, const struct conf_row *row)
{
	struct admin_conf *ac = mod;
	struct admin_listen **at = &ac->listens;
	struct admin_listen *l = arena_zalloc(&c->arena, sizeof *l);
	struct slice value;
	int r;

	l->text = n->args[0];
	l->node = n;
	l->mode = ADMIN_UNIX_MODE;
	r = parse_address(c, n, l);
	if (r)
		return r;
	for (int i = 1; i < n->n_args; i++) {
		if (!l->is_unix || !conf_param(n->args[i], "mode", &value))
			return conf_error(c, n, "invalid parameter \"%.*s\" in \"listen\"%s",
					  SLICE_FMT(n->args[i]),
					  l->is_unix ? ", expected mode=0600" : "");
		if (parse_mode(value, &l->mode))
			return conf_error(c, n,
					  "invalid mode \"%.*s\", expected octal digits as 0600",
					  SLICE_FMT(value));
	}
	for (; *at; at = &(*at)->next)
		if (addr_eq(&(*at)->addr, &l->addr))
			return conf_error(c, n, "a duplicate listen %.*s", SLICE_FMT(l->text));
	if (ac->n_listens == ADMIN_LISTENS_MAX)
		return conf_error(c, n, "more than %d listen lines in \"admin\"",
				  ADMIN_LISTENS_MAX);
	*at = l;
	ac->n_listens++;
	return 0;
}

static int set_token_file(struct conf *c, struct conf_block *block, void *mod,
			  const struct conf_node *n, const struct conf_row *row)
{
	struct admin_conf *ac = mod;

	if (n->args[0].n == 0)
		return conf_error(c, n, "\"token_file\" needs the name of a file");
	ac->token_file = n->args[0];
	ac->token_node = n;
	return 0;
}

static const struct conf_row rows[] = {
	{.name = "admin",
	 .contexts = CTX_MAIN,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_ADMIN,
	 .help = "metrics, API and dashboard, in a process of their own"},
	{.name = "listen",
	 .contexts = CTX_ADMIN,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .set = set_listen,
	 .flags = CONF_MULTI,
	 .help = "unix:/PATH [mode=0600] | ADDRESS:PORT -- where it listens; TCP needs token_file"},
	{.name = "token_file",
	 .contexts = CTX_ADMIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .set = set_token_file,
	 .help = "FILE -- holds the token that clients over TCP send as \"Authorization: Bearer TOKEN\""},
	{.name = "watchers",
	 .contexts = CTX_ADMIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = offsetof(struct admin_conf, watchers),
	 .min = 1,
	 .max = 48,
	 .deflt = "16",
	 .help = "how many may watch the events at the same time"},
};

/* What may stand in a Bearer token (RFC 6750 2.1). */
static bool is_token_char(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
	       (ch && strchr("-._~+/=", ch));
}

/* The content of the file into BUF, never more than SIZE bytes; its length, or a negative code
 * after conf_error(). */
static ssize_t read_token(struct conf *c, const struct admin_conf *ac, char *buf, size_t size)
{
	const char *path = conf_path(c, ac->token_file);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t n = 0;
	ssize_t r = 0;

	if (fd < 0 || fstat(fd, &st)) {
		r = conf_error(c, ac->token_node, "cannot read token_file \"%s\": %s", path,
			       strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		r = conf_error(c, ac->token_node, "token_file \"%s\" is not a regular file", path);
		goto out;
	}
	while (n < size && (r = read(fd, buf + n, size - n)) > 0)
		n += (size_t)r;
	if (r < 0) {
		r = conf_error(c, ac->token_node, "cannot read token_file \"%s\": %s", path,
			       strerror(errno));
		goto out;
	}
	r = (ssize_t)n;
	if (st.st_mode & (S_IROTH | S_IWOTH | S_IWGRP))
		conf_warn(
			c, ac->token_node,
			"token_file \"%s\" has mode %04o: others than its owner can read or change "
			"the token, 0600 is meant",
			path, (unsigned)(st.st_mode & 07777));
out:
	if (fd >= 0)
		close(fd);
	return r;
}

static int load_token(struct conf *c, struct admin_conf *ac)
{
	char buf[ADMIN_TOKEN_MAX + 8];
	ssize_t n = read_token(c, ac, buf, sizeof buf);
	int r = 0;

	if (n < 0)
		return (int)n;
	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r' || buf[n - 1] == ' ' ||
			 buf[n - 1] == '\t'))
		n--;
	if (n == 0)
		r = conf_error(c, ac->token_node, "token_file \"%.*s\" is empty",
			       SLICE_FMT(ac->token_file));
	else if (n > ADMIN_TOKEN_MAX)
		r = conf_error(c, ac->token_node, "the token in \"%.*s\" is longer than %d bytes",
			       SLICE_FMT(ac->token_file), ADMIN_TOKEN_MAX);
	for (ssize_t i = 0; !r && i < n; i++)
		if (!is_token_char(buf[i]))
			r = conf_error(
				c, ac->token_node,
				"token_file \"%.*s\" must hold one token of letters, digits and "
				"-._~+/=, but byte %zd is something else",
				SLICE_FMT(ac->token_file), i + 1);
	if (!r) {
		if (n < 16)
			conf_warn(c, ac->token_node,
				  "the token in \"%.*s\" is short: 16 bytes or more "
				  "are meant",
				  SLICE_FMT(ac->token_file));
		ac->token = arena_zalloc(&c->arena, ADMIN_TOKEN_MAX);
		memcpy(ac->token, buf, (size_t)n);
		ac->token_len = (size_t)n;
	}
	explicit_bzero(buf, sizeof buf);
	return r;
}

static bool is_loopback(const struct addr *a)
{
	const uint8_t *bytes;

	if (addr_bytes(a, &bytes) == 4)
		return bytes[0] == 127;
	return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct admin_conf *ac = mod;

	if (!ac->listens)
		return conf_error(c, b->node, "\"admin\" needs at least one \"listen\"");
	for (const struct admin_listen *l = ac->listens; l; l = l->next) {
		if (l->is_unix)
			continue;
		if (!ac->token_file.p)
			return conf_error(c, l->node, "listen %.*s needs token_file",
					  SLICE_FMT(l->text));
		if (!is_loopback(&l->addr))
			conf_warn(c, l->node,
				  "listen %.*s is reachable from other machines, and the token "
				  "crosses "
				  "the network unencrypted",
				  SLICE_FMT(l->text));
	}
	return ac->token_file.p ? load_token(c, ac) : 0;
}

const struct conf_module admin_module = {
	.name = "admin",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_ADMIN,
	.bytes = sizeof(struct admin_conf),
	.finish = finish,
};

struct admin_conf *admin_conf_get(const struct conf *c)
{
	if (!c->main)
		return NULL;
	for (struct conf_block *b = c->main->first_child; b; b = b->next)
		if (b->ctx == CTX_ADMIN)
			return b->mod[MOD_ADMIN];
	return NULL;
}

void admin_conf_wipe(struct conf *c)
{
	struct admin_conf *ac = admin_conf_get(c);

	if (!ac || !ac->token)
		return;
	explicit_bzero(ac->token, ADMIN_TOKEN_MAX);
	ac->token_len = 0;
	ac->token = NULL;
}
