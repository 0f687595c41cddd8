/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line, nginx's flags; then the master. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "core/num.h"
#include "core/title.h"
#include "http/headers.h"
#include "master/master.h"
#include "master/rehearse.h"
#include "modules.h"
#include "tls/tls_bank.h"
#include "version.h"

#ifndef SLUICE_PREFIX
#define SLUICE_PREFIX "/etc/sluice/"
#endif
#define SLUICE_CONF "sluice.conf"

struct options {
	bool test, dump, quiet, version, build, help, docs;
	const char *prefix, *conf, *error_log, *globals, *signal;
	struct rehearse_options rehearse; /* without pcap: none */
};

/* As nginx: no time and no level before what the command line is told. */
__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;

	fputs("sluice: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void usage(FILE *to)
{
	fputs("sluice version: sluice/" SLUICE_VERSION "\n"
	      "Usage: sluice [-?hvVtTq] [-s signal] [-p prefix]\n"
	      "              [-e filename] [-c filename] [-g directives]\n\n"
	      "Options:\n"
	      "  -?,-h         : this help\n"
	      "  -v            : show version and exit\n"
	      "  -V            : show version and what it was built with, then exit\n"
	      "  -t            : test configuration and exit\n"
	      "  -T            : test configuration, dump it and exit\n"
	      "  -q            : suppress non-error messages during configuration testing\n"
	      "  -s signal     : send signal to a master process: stop, quit, reopen, reload\n"
	      "  -p prefix     : set prefix path (default: " SLUICE_PREFIX ")\n"
	      "  -e filename   : set error log file: for what is wrong with the configuration, and for all\n"
	      "                  where no error_log is set; or stderr\n"
	      "  -c filename   : set configuration file (default: " SLUICE_CONF ")\n"
	      "  -g directives : set global directives out of configuration file\n\n"
	      "With -t, what the guard in the kernel would drop of a capture:\n"
	      "  --pcap FILE   : pcap or pcapng, - for standard input; nothing is attached\n"
	      "  --filter EXPR : of its packets those that match, as of tcpdump\n"
	      "  --bans FILE   : with these bans in force, as in PIDFILE.bans\n"
	      "  --top N       : sources shown of each rule (10)\n"
	      "  --json        : as JSON\n\n",
	      to);
}

/* One letter of a cluster; *ARG is what follows it, or the next argument. False: usage error. */
static bool take_letter(struct options *o, char letter, const char *arg, bool *used)
{
	const char **to = NULL, *what = "parameter";

	switch (letter) {
	case '?':
	case 'h':
		o->help = true;
		return true;
	case 'v':
		o->version = true;
		return true;
	case 'V':
		o->version = o->build = true;
		return true;
	case 't':
		o->test = true;
		return true;
	case 'T':
		o->test = o->dump = true;
		return true;
	case 'q':
		o->quiet = true;
		return true;
	case 'p':
		to = &o->prefix;
		what = "directory name";
		break;
	case 'e':
		to = &o->error_log;
		what = "file name";
		break;
	case 'c':
		to = &o->conf;
		what = "file name";
		break;
	case 'g':
		to = &o->globals;
		break;
	case 's':
		to = &o->signal;
		break;
	default:
		say("invalid option: \"%c\"", letter);
		return false;
	}
	if (!arg || !*arg) {
		say("option \"-%c\" requires %s", letter, what);
		return false;
	}
	*to = arg;
	*used = true;
	return true;
}

/* How many arguments an option of the rehearsal took; 0: it is another one; -1: usage error. */
static int take_rehearsal(struct options *o, const char *name, const char *arg)
{
	struct rehearse_options *r = &o->rehearse;
	const char **to = strcmp(name, "--pcap") == 0	  ? &r->pcap
			  : strcmp(name, "--filter") == 0 ? &r->filter
			  : strcmp(name, "--bans") == 0	  ? &r->bans
							  : NULL;
	uint64_t top;

	if (strcmp(name, "--json") == 0) {
		r->is_json = true;
		return 1;
	}
	if (!to && strcmp(name, "--top"))
		return 0;
	if (!arg) {
		say("option \"%s\" requires an argument", name);
		return -1;
	}
	if (to) {
		*to = arg;
		return 2;
	}
	if (num_u63(slice_cstr(arg), &top) || !top || top > 1000000) {
		say("option \"--top\" requires a number from 1 to 1000000");
		return -1;
	}
	r->top = (unsigned)top;
	return 2;
}

/* What the options of a rehearsal need. */
static bool check_rehearsal(const struct options *o)
{
	const struct rehearse_options *r = &o->rehearse;

	if (r->pcap && !o->test) {
		say("option \"--pcap\" needs \"-t\"");
		return false;
	}
	if (!r->pcap && (r->filter || r->bans || r->top || r->is_json)) {
		say("--filter, --bans, --top and --json need \"--pcap\"");
		return false;
	}
	return true;
}

static bool parse_args(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *p = argv[i];
		int n = take_rehearsal(o, p, i + 1 < argc ? argv[i + 1] : NULL);

		if (n < 0)
			return false;
		if (n > 0) {
			i += n - 1;
			continue;
		}
		if (strcmp(p, "--directives") == 0) {
			o->docs = true;
			continue;
		}
		if (strcmp(p, "--help") == 0 || strcmp(p, "--version") == 0) {
			o->help |= p[2] == 'h';
			o->version |= p[2] == 'v';
			continue;
		}
		if (*p++ != '-' || !*p) {
			say("invalid option: \"%s\"", argv[i]);
			return false;
		}
		for (; *p; p++) {
			bool used = false;
			const char *arg = p[1] ? p + 1 : i + 1 < argc ? argv[i + 1] : NULL;

			if (!take_letter(o, *p, arg, &used))
				return false;
			if (used) {
				i += !p[1];
				break;
			}
		}
	}
	return check_rehearsal(o);
}

static int signal_of(const char *name)
{
	static const struct {
		const char *name;
		int sig;
	} known[] = {{"stop", SIGTERM}, {"quit", SIGQUIT}, {"reload", SIGHUP}, {"reopen", SIGUSR1}};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(name, known[i].name) == 0)
			return known[i].sig;
	return -1;
}

static int send_signal(const struct cycle *c, int sig)
{
	char text[32];
	FILE *f = fopen(c->core->pid.p, "re");
	uint64_t pid = 0;
	size_t n;

	if (!f) {
		log_stderr(LOG_LVL_ERROR, "open() \"%s\" failed (%d: %s): is sluice running?",
			   c->core->pid.p, errno, strerror(errno));
		return 1;
	}
	n = fread(text, 1, sizeof text, f);
	fclose(f);
	while (n && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
		n--;
	if (num_u63(slice_make(text, n), &pid) || pid < 2 || pid > INT32_MAX) {
		log_stderr(LOG_LVL_ERROR, "invalid PID number \"%.*s\" in \"%s\"", (int)n, text,
			   c->core->pid.p);
		return 1;
	}
	if (kill((pid_t)pid, sig) == 0)
		return 0;
	log_stderr(LOG_LVL_ALERT, "kill(%d, %d) failed (%d: %s)", (int)pid, sig, errno,
		   strerror(errno));
	return 1;
}

static void show_version(bool build)
{
	struct utsname u;

	fprintf(stderr, "sluice version: sluice/" SLUICE_VERSION "\n");
	if (!build)
		return;
	fprintf(stderr, "built with %s, running with %s\n", OPENSSL_VERSION_TEXT,
		OpenSSL_version(OPENSSL_VERSION));
	if (uname(&u) == 0)
		fprintf(stderr, "running on %s %s %s\n", u.sysname, u.release, u.machine);
	fprintf(stderr, "TLS SNI support enabled\nprefix: %s, configuration file: %s\n",
		SLUICE_PREFIX, SLUICE_CONF);
}

static int rehearse(const struct options *o, const struct cycle *c)
{
	struct rehearse_options r = o->rehearse;

	r.top = r.top ? r.top : REHEARSE_TOP;
	return rehearse_run(&c->conf, &r);
}

static int test_ended(const struct options *o, const struct cycle *c, const struct cycle_source *s)
{
	if (!c) {
		say("configuration file %s%s%s test failed", s->path[0] == '/' ? "" : s->prefix,
		    s->path[0] == '/' || s->prefix[strlen(s->prefix) - 1] == '/' ? "" : "/",
		    s->path);
		return 1;
	}
	if (!o->quiet) {
		say("the configuration file %s syntax is ok", c->conf.path);
		say("configuration file %s test is successful", c->conf.path);
	}
	if (o->dump)
		conf_print_sources(&c->conf);
	return o->rehearse.pcap ? rehearse(o, c) : 0;
}

/* -p and -c may be relative to where we are now; a daemon and a reload must find them again. */
static const char *absolute(const char *path)
{
	char cwd[4096], *out;

	if (path[0] == '/' || !getcwd(cwd, sizeof cwd))
		return path;
	if (asprintf(&out, "%s/%s", cwd, path) < 0)
		return path;
	return out;
}

/* The arguments' own memory will show the process's title; a new binary gets them as they were. */
static char *const *copy_args(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof *copy);

	for (int i = 0; copy && i < argc; i++)
		copy[i] = strdup(argv[i]);
	return copy;
}

/* What USR2 starts: the file that was started, or what has taken its place. */
static const char *binary_path(const char *argv0)
{
	static char path[4096];
	ssize_t n;

	if (strchr(argv0, '/'))
		return absolute(argv0);
	n = readlink("/proc/self/exe", path, sizeof path - 1);
	return n > 0 ? path : argv0;
}

static int run(const struct options *o, int argc, char **argv)
{
	static struct master m;
	int sig = o->signal ? signal_of(o->signal) : 0;
	struct cycle *c;
	int code;

	if (sig < 0) {
		say("invalid option: \"-s %s\"", o->signal);
		return 1;
	}
	/* Copies: the arguments' own memory will show the process's title. */
	m.source.prefix = strdup(o->prefix ? absolute(o->prefix) : SLUICE_PREFIX);
	m.source.path = strdup(o->conf ? o->conf : SLUICE_CONF);
	m.source.error_log = o->error_log ? strdup(o->error_log) : NULL;
	m.source.globals = slice_cstr(strdup(o->globals ? o->globals : ""));
	m.argv = copy_args(argc, argv);
	m.binary = strdup(binary_path(argv[0]));
	m.is_root = geteuid() == 0;
	title_init(argc, argv);
	hdr_setup();
	c = cycle_load(&m.shm, &m.source, o->test || sig, NULL, NULL, 0);
	if (o->test) {
		code = test_ended(o, c, &m.source);
		cycle_free(c);
		return code;
	}
	if (!c)
		return 1;
	m.cycle = c;
	code = sig ? send_signal(c, sig) : master_run(&m);
	cycle_free(m.cycle);
	return code;
}

int main(int argc, char **argv)
{
	struct options o = {0};

	tls_bank_setup();
	if (!parse_args(&o, argc, argv)) {
		usage(stderr);
		return 1;
	}
	if (o.help) {
		usage(stdout);
		return 0;
	}
	if (o.version) {
		show_version(o.build);
		return 0;
	}
	if (o.docs) {
		conf_print_docs(modules_all);
		return 0;
	}
	return run(&o, argc, argv);
}
