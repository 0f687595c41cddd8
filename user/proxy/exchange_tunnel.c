/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what is special of an exchange that a 101 turned into a tunnel: how it begins and how each of its two
 * directions ends. The bytes go as bodies that stream do. */
#include "proxy/answer.h"
#include "proxy/exchange_impl.h"
#include "proxy/out.h"

void exchange_tunnel_begin(struct exchange *x, struct resp_head *head, uint32_t n)
{
	struct request *r = x->r;

	upstream_alive(r);
	answer_build(r, head, slice_make(x->in.p + x->in.start, n));
	inbuf_consume(&x->in, n);
	request_sent(r);
	x->tunnel = true;
	x->keep_alive = false;
	x->body = BODY_UNTIL_CLOSE;
	x->state = X_BODY;
	x->sent_all = x->framed_all = false;
	r->keep_alive = false;
	request_body_tunnel(r);
	/* No filter takes part in what is no body. */
	r->resp.no_body = true;
	r->resp.content_length = -1;
	if (!out_head(r)) {
		upstream_cancel(r);
		return;
	}
	r->resp.no_body = false;
	r->ops->upgrade(r);
	exchange_read_rest(x);
}

bool exchange_tunnel_sent(struct exchange *x)
{
	conn_shutdown(&x->uc->conn);
	if (!x->half_ended)
		return true;
	exchange_read_finish(x, false);
	return false;
}

void exchange_tunnel_received(struct exchange *x)
{
	x->half_ended = true;
	if (x->sent_all) {
		exchange_read_finish(x, false);
		return;
	}
	x->r->ops->end_sending(x->r);
	exchange_wait(x, x->u->conf->read_timeout_ms);
}
