/*
 * Ask the key-value service of rpc_kv_server.py from C, over libevent's own evrpc.
 *
 *   cc -o rpc_kv_client rpc_kv_client.c -levent_extra -levent_core
 *   ./rpc_kv_client PORT put KEY VALUE
 *   ./rpc_kv_client PORT get KEY
 *
 * The two messages are written out by hand here, so that a compiler is all it takes.  A larger program would have
 * libevent's event_rpcgen.py make them of rpc_kv.rpc, and would include "rpc_kv.gen.h".
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/rpc.h>
#include <event2/rpc_struct.h>
#include <event2/tag.h>

enum { TAG_KEY = 1, TAG_VALUE = 2 };

/* Both kv_key and kv_entry of rpc_kv.rpc: without a value, their bytes are the same. */
struct kv_entry {
	char *key;
	struct evbuffer *value; /* NULL: there is none */
};

static void
kv_entry_marshal(struct evbuffer *out, const struct kv_entry *entry)
{
	evtag_marshal_string(out, TAG_KEY, entry->key);
	if (entry->value)
		evtag_marshal(out, TAG_VALUE, evbuffer_pullup(entry->value, -1),
		    (ev_uint32_t)evbuffer_get_length(entry->value));
}

static void
kv_entry_clear(struct kv_entry *entry)
{
	free(entry->key);
	if (entry->value)
		evbuffer_free(entry->value);
	memset(entry, 0, sizeof(*entry));
}

static int
kv_entry_unmarshal(struct kv_entry *entry, struct evbuffer *in)
{
	ev_uint32_t tag;

	while (evbuffer_get_length(in) > 0) {
		if (evtag_peek(in, &tag) == -1)
			return -1;
		if (tag == TAG_KEY && !entry->key) {
			if (evtag_unmarshal_string(in, TAG_KEY, &entry->key) == -1)
				return -1;
		} else if (tag == TAG_VALUE && !entry->value) {
			entry->value = evbuffer_new();
			if (!entry->value || evtag_unmarshal(in, &tag, entry->value) == -1)
				return -1;
		} else {
			return -1;
		}
	}
	return entry->key ? 0 : -1;
}

struct outcome {
	int error;        /* -1 while the call runs */
	const char *verb; /* what the reply tells: what is there, or was */
};

static void
told(struct evrpc_status *status, struct kv_entry *request, struct kv_entry *reply, struct outcome *outcome)
{
	(void)request;
	outcome->error = status->error;
	if (status->error != EVRPC_STATUS_ERR_NONE)
		return;
	printf("%s %s ", reply->key, outcome->verb);
	if (reply->value)
		fwrite(evbuffer_pullup(reply->value, -1), 1, evbuffer_get_length(reply->value), stdout);
	printf("%s\n", reply->value ? "" : "not there");
}

static struct evrpc_pool *
connect_to(struct event_base *base, int port)
{
	struct evrpc_pool *pool = evrpc_pool_new(base);
	/* The pool sets the connection's base, which it must not have yet; only one with a bufferevent can be so. */
	struct bufferevent *bev = bufferevent_socket_new(base, -1, 0);
	evrpc_pool_add_connection(pool,
	    evhttp_connection_base_bufferevent_new(NULL, NULL, bev, "127.0.0.1", (ev_uint16_t)port));
	evrpc_pool_set_timeout(pool, 10);
	return pool;
}

int
main(int argc, char **argv)
{
	int puts = argc == 5 && strcmp(argv[2], "put") == 0;
	struct outcome outcome = { -1, puts ? "was" : "is" };

	if (!puts && !(argc == 4 && strcmp(argv[2], "get") == 0)) {
		fprintf(stderr, "usage: rpc_kv_client PORT put KEY VALUE | get KEY\n");
		return 2;
	}
	struct event_base *base = event_base_new();
	struct evrpc_pool *pool = connect_to(base, atoi(argv[1]));
	struct kv_entry request = { strdup(argv[3]), NULL }, reply = { NULL, NULL };
	struct evrpc_request_wrapper *call;

	if (puts) {
		request.value = evbuffer_new();
		evbuffer_add(request.value, argv[4], strlen(argv[4]));
		call = EVRPC_MAKE_CTX(Put, kv_entry, kv_entry, pool, &request, &reply, told, &outcome);
	} else {
		call = EVRPC_MAKE_CTX(Get, kv_entry, kv_entry, pool, &request, &reply, told, &outcome);
	}
	evrpc_make_request(call);
	while (outcome.error == -1 && event_base_loop(base, EVLOOP_ONCE) == 0)
		;
	if (outcome.error != EVRPC_STATUS_ERR_NONE)
		fprintf(stderr, "the call failed: status %d of event2/rpc_struct.h\n", outcome.error);

	kv_entry_clear(&request);
	kv_entry_clear(&reply);
	evrpc_pool_free(pool);
	event_base_free(base);
	return outcome.error != EVRPC_STATUS_ERR_NONE;
}
