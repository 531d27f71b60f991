/* event2/ws.h */

/* if LEV_HAS_WS */
#define WS_TEXT_FRAME ...
#define WS_BINARY_FRAME ...

#define WS_CR_NONE ...
#define WS_CR_NORMAL ...
#define WS_CR_PROTO_ERR ...
#define WS_CR_DATA_TOO_BIG ...

struct evws_connection;

typedef void (*ws_on_msg_cb)(struct evws_connection *, int, const unsigned char *, size_t, void *);
typedef void (*ws_on_close_cb)(struct evws_connection *, void *);

struct evws_connection *evws_new_session(struct evhttp_request *, ws_on_msg_cb, void *, int);
void evws_send_text(struct evws_connection *, const char *);
void evws_send_binary(struct evws_connection *, const char *, size_t);
void evws_close(struct evws_connection *, uint16_t);
void evws_connection_set_closecb(struct evws_connection *, ws_on_close_cb, void *);
void evws_connection_free(struct evws_connection *);
struct bufferevent *evws_connection_get_bufferevent(struct evws_connection *);

/* 2.2.1-alpha, in place of _text and _binary */
void evws_send(struct evws_connection *, const char *, size_t);
/* end */
