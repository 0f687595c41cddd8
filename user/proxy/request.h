/* SPDX-License-Identifier: BSD-2-Clause */
/* A request on its way through the pipeline, whatever protocol it came by. The front (h1.c) owns its
 * connection and calls request_…; the pipeline answers through the front's table. */
#ifndef SL_PROXY_REQUEST_H
#define SL_PROXY_REQUEST_H

#include "core/buf.h"
#include "http/head.h"
#include "http/uri.h"
#include "net/addr.h"
#include "net/proxy_intro.h"
#include "net/tcp_view.h"
#include "policy/ban_conf.h"
#include "proxy/env.h"
#include "proxy/http_conf.h"

struct files_send;
struct ranges_parts;
struct request;
struct upstream;
struct vars_user;
struct flow;

/* What a front does for a request's answer. None of these may free the request before they return;
 * errors on the connection come back through request_client_gone(). */
struct front_ops {
	/* Starts to pull the body in: request_body_put() for each piece, then request_body_end(). While
	 * request_body_is_full() no more is read from the client; then it is called once more, to go
	 * on (and puts nothing before it returns). */
	void (*read_body)(struct request *r);
	/* Serialises r->resp. Once a request (1xx aside). */
	void (*send_head)(struct request *r);
	/* Takes B; data begins at or behind BUF_HEADROOM. */
	void (*send_body)(struct request *r, struct buf *b);
	/* Sends up to N bytes of FD from *AT on, which advances, without a copy; body that is not chunked, behind
	 * all that was queued. 1: call again at once for more, 0: request_drained() will come, -SL_EINVAL: not
	 * on this connection, -SL_ETRUNCATED: the file is shorter, -SL_ERESET: the connection is lost. NULL:
	 * this protocol has no such thing. */
	int (*send_file)(struct request *r, int fd, uint64_t *at, uint64_t n);
	/* The answer is whole. The front calls request_done() when it is written out. */
	void (*finish)(struct request *r);
	/* The answer cannot be completed: what is queued goes out, then the connection ends in a way
	 * that nobody takes for a whole answer. */
	void (*abort)(struct request *r);
	/* Sends a 1xx with these fields, before send_head. NULL: this front has no use for it. */
	void (*inform)(struct request *r, unsigned status, const struct hdrs *fields);
	/* The head of a 101 was sent: what the client sends from now on comes by request_body_put() as it
	 * is, its end by request_body_end(); send_body() goes out as it is. NULL: this protocol has no
	 * such thing. */
	void (*upgrade)(struct request *r);
	/* Of a tunnel: the other side sends no more, though it still takes. */
	void (*end_sending)(struct request *r);
	/* Closes at once without an answer (return 444, a ban). */
	void (*drop)(struct request *r);
	/* Writes as much as the socket takes. */
	void (*flush)(struct request *r);
	/* Bytes of the answer that wait for the client. */
	uint64_t (*queued)(const struct request *r);
};

/* An address that a request came from. */
struct remote {
	struct addr addr;
	char ip[48]; /* text of addr without port */
	uint32_t ip_len;
};

/* Who is at the other end, as far as a request needs to know. */
struct client {
	struct remote remote; /* of the connection; a request's own is r->remote */
	struct addr *local;   /* on the heap; NULL until request_local_addr() had to ask for it */
	uint64_t serial;      /* $connection */
	uint64_t made_ms;     /* monotonic */
	uint32_t n_requests;  /* on this connection, this one counted */
	bool pipelined;	      /* this request had come in before the last one's end */
	struct conn *conn;
	bool tls;
	const struct listener *listener;
	struct proxy_intro *proxied; /* what a PROXY header said of it; NULL: nothing */
};

/* A body that goes on while it comes in. In the request's arena. */
struct body_stream {
	struct bufq q; /* not taken by an upstream yet */
	uint64_t room_bytes;
	uint64_t n_taken; /* bytes that left for an upstream: they cannot be sent again */
	bool whole;	  /* nothing follows what is in Q */
	bool paused;	  /* the front reads no more until read_body is called again */
	bool tunnel;	  /* no body but what comes behind an upgrade */
};

struct request_body {
	char *mem; /* r->sending; NULL when there is none or it is in a file */
	size_t len, room;
	int fd;			    /* temporary file, or -1 */
	struct slice file;	    /* its name, $request_body_file; empty: it has none */
	struct body_stream *stream; /* NULL: the body is collected */
	bool whole, waiting;	    /* waiting: the pipeline stands at it */
	bool removes_file;	    /* client_body_in_file_only clean */
	bool forgotten;		    /* what comes is dropped */
	int status;		    /* not 0: it failed, and this is the answer */
	uint64_t max_bytes;	    /* client_max_body_size, 0: none */
};

/* The answer's head, before serialisation. */
struct response {
	uint16_t status;
	struct slice reason;	/* empty: the standard one */
	int64_t content_length; /* -1: not known */
	struct slice content_type, location, last_modified, server, date; /* empty: none / own */
	struct hdrs fields;						  /* all others, in order */
	struct hdrs *trailers; /* behind the body, where the framing can carry them; NULL: none */
	bool no_body;	       /* HEAD, 204, 304: a length may be told, nothing is sent */
	bool streaming;	       /* text/event-stream */
	bool from_upstream;    /* conditions and ranges were the upstream's to look at */
	bool gzip_vary;	       /* Vary: Accept-Encoding is in FIELDS for gzip's sake */
	bool allow_ranges;     /* its maker can send parts of it */
	struct ranges_parts *parts; /* ... and is to send these; NULL: all */
};

/* One try at a peer, for the $upstream_… lists. Times in ms, -1: not reached. */
struct
try {
	struct try *next;
	bool redirected; /* what follows was asked after an internal redirect */
	struct slice addr;
	uint16_t status; /* 0: no answer */
	int64_t connect_ms, header_ms, response_ms;
	uint64_t bytes_received, bytes_sent;
	uint32_t head_bytes; /* of the answer that was passed on; 0: it was not */
	struct tcp_view
		*tcp; /* of its connection at its end; NULL: not asked for, or not connected */
};

struct request {
	struct arena arena;
	struct arena sending; /* what only a (further) try needs: body and head for the
						 * upstream; given back once an answer has begun */
	struct env *env;
	const struct front_ops *ops;
	void *front;
	struct client *client;
	struct request *parent; /* it is asked for this one, see subrequest.h; NULL: a client's */
	const struct remote
		*remote; /* who asks: the client, or whom set_real_ip_from lets it speak for */
	struct req_head head;
	struct slice bad_line; /* of a head that was refused, for $request */
	struct uri uri;
	struct server *server;
	const struct conf_block *block; /* the location in force */
	const struct http_scope *scope; /* its MOD_HTTP struct */
	uint64_t start_ms;		/* wall clock, of the first byte */
	uint64_t start_mono_ms;
	uint64_t head_bytes, body_bytes; /* received */
	uint64_t sent_head_bytes, sent_body_bytes;
	uint32_t step;
	uint32_t nth;	     /* of its connection's requests */
	uint8_t n_redirects; /* internal ones so far */
	bool internal;	     /* this path is the configuration's, not the client's */
	bool whole_uri;	  /* after a rewrite that stays here: proxy_pass's URI is not put into it */
	bool uri_changed; /* uri is no longer what head.path says */
	bool no_upstream; /* its head was refused: a named location may answer, nobody behind it */
	struct timer timer; /* of the step that waits */
	struct request_body body;
	struct response resp;
	struct upstream *up;	 /* NULL until the pipeline needs one */
	struct vars_user *user;	 /* values of the configuration's own variables; NULL: none yet */
	struct flow *flow;	 /* NULL until there is something in it, see flow.h */
	struct filter *filters;	 /* what the answer goes through, see out.h */
	struct files_send *file; /* that the body comes from; NULL: none */
	uint64_t limit_rate;	 /* bytes a second, 0: no limit */
	bool limit_rate_set; /* ... by $limit_rate or an upstream, so the configuration's is not asked */
	struct try *tries, **tries_tail;
	char id[33];		  /* $request_id, made when asked for */
	const char *limit_status; /* $limit_req_status; NULL: no limit was checked */
	const char *limit_conn_status;
	struct limit_holds *holds; /* what limit_conn counts; NULL: nothing */
	bool keep_alive;	   /* the connection may serve another request */
	bool body_started, head_sent, finished, aborted, client_gone;
};

/* A request whose head is parsed (RAW: its bytes, HEAD: slices into RAW) or, with STATUS, refused.
 * Copies what it keeps. The front then calls request_start(). */
struct request *request_new(struct env *env, struct client *client, const struct front_ops *ops,
			    void *front);
/* A GET without a body that PARENT asks for, served by the same server; its memory goes with PARENT's. */
struct request *request_new_inner(struct request *parent, const struct front_ops *ops, void *front);
/* Ends it, as request_done(); what its variables point to is in the arena. */
struct arena request_end_inner(struct request *r);
void request_set_head(struct request *r, const struct req_head *head, struct slice raw);
/* The first line of RAW, which is no head: the access log shows who sends what cannot be read. */
void request_set_bad_line(struct request *r, struct slice raw, enum head_error why);
void request_start(struct request *r);
/* A request that the parser refused: answered with STATUS (400, 414, 431, 505 ...), then closed. */
void request_refuse(struct request *r, unsigned status, const char *why);

/* Fields whose names its server calls invalid are taken out, for whoever looks at them later. */
void request_drop_names(struct request *r);

/* From the front. */
/* No try will follow: frees r->sending, unless the configuration uses $request_body. */
void request_sent(struct request *r);
/* ANNOUNCED: so much more is sure to come. 0, or the status to answer. */
int request_body_put(struct request *r, const char *p, size_t n, uint64_t announced);
bool request_body_is_full(struct request *r);	      /* true: wait for read_body */
void request_body_end(struct request *r, int status); /* 0: whole; else a 4xx/5xx, body is lost */
void request_drained(struct request *r);	      /* the queue got shorter */
void request_client_gone(struct request *r);	      /* connection lost: cancels everything */
void request_done(struct request *r);		      /* all is written: logs, frees */

/* For the pipeline and upstreams. */
/* Starts to collect, or (STREAM) to pass on, the body. */
void request_body_start(struct request *r, bool stream);
/* How long it is: what was collected, or what was announced or is there already of a stream. */
static inline uint64_t request_body_bytes(const struct request *r)
{
	if (!r->body.stream)
		return r->body.len;
	return r->head.body == BODY_LENGTH ? r->head.content_length : r->body.stream->q.bytes;
}
/* From now on a stream, whatever body there was: of a tunnel. */
void request_body_tunnel(struct request *r);
/* The next piece of a stream, its ownership with it; NULL: none is there now. */
struct buf *request_body_take(struct request *r);
/* What came of it is gone, and what still comes is nobody's: it is as if there were none. */
void request_body_forget(struct request *r);
/* R is served anew: a stream of which somebody took a part is forgotten. */
void request_body_rewind(struct request *r);
/* Nobody takes the rest. */
void request_body_drop(struct request *r);
/* A piece of the body that is kept in a file: as pread(), N bytes at AT. */
int request_body_read(const struct request *r, void *to, size_t n, uint64_t at);
void request_body_fini(struct request *r);

/* What is tried from here on is for another path. */
void request_end_tries(struct request *r);
/* Error log with nginx's suffix (client, server, request, upstream, host). */
void request_log(const struct request *r, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
const struct log *request_log_of(const struct request *r);
/* The address that the client connected to; asked of the kernel once a connection, where one listener serves
 * several. */
const struct addr *request_local_addr(const struct request *r);
/* 32 lower-case hexadecimal digits. */
struct slice request_id(struct request *r);
/* One offence of this request's client against the `ban` rules in force. STATUS for BAN_ON_STATUS. */
void request_offence(struct request *r, enum ban_on on, unsigned status);
/* The same of whoever it is (INDIRECT: behind a trusted proxy, whose own address is never banned), by the
 * rules of BLOCK: the last rule by which a ban was asked for, to be logged, or
 * NULL. */
const struct ban_rule *request_offence_of(struct env *env, const struct conf_block *block,
					  const struct addr *who, bool indirect, enum ban_on on,
					  unsigned status);
/* Is there a rule of that kind in BLOCK? */
bool request_has_rule(const struct conf_block *block, enum ban_on on);
/* Did the client send a password or a key? */
bool request_has_credentials(const struct request *r);

#endif
