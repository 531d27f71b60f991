/* event2/bufferevent.h */

#define BEV_EVENT_READING ...
#define BEV_EVENT_WRITING ...
#define BEV_EVENT_EOF ...
#define BEV_EVENT_ERROR ...
#define BEV_EVENT_TIMEOUT ...
#define BEV_EVENT_CONNECTED ...

#define EV_RATE_LIMIT_MAX ...

struct bufferevent;
struct ev_token_bucket_cfg;
struct bufferevent_rate_limit_group;
struct evdns_base;

enum bufferevent_options {
    BEV_OPT_CLOSE_ON_FREE,
    BEV_OPT_THREADSAFE,
    BEV_OPT_DEFER_CALLBACKS,
    BEV_OPT_UNLOCK_CALLBACKS,
    ...
};

enum bufferevent_flush_mode {
    BEV_NORMAL,
    BEV_FLUSH,
    BEV_FINISHED,
    ...
};

enum bufferevent_trigger_options {
    BEV_TRIG_IGNORE_WATERMARKS,
    BEV_TRIG_DEFER_CALLBACKS,
    ...
};

enum bufferevent_filter_result {
    BEV_OK,
    BEV_NEED_MORE,
    BEV_ERROR,
    ...
};

typedef void (*bufferevent_data_cb)(struct bufferevent *, void *);
typedef void (*bufferevent_event_cb)(struct bufferevent *, short, void *);
typedef enum bufferevent_filter_result (*bufferevent_filter_cb)(struct evbuffer *,
    struct evbuffer *, ev_ssize_t, enum bufferevent_flush_mode, void *);

struct bufferevent *bufferevent_socket_new(struct event_base *, evutil_socket_t, int);

int bufferevent_socket_connect(struct bufferevent *, const struct sockaddr *, int);
int bufferevent_socket_connect_hostname(struct bufferevent *, struct evdns_base *, int,
    const char *, int);
int bufferevent_socket_get_dns_error(struct bufferevent *);

int bufferevent_base_set(struct event_base *, struct bufferevent *);
struct event_base *bufferevent_get_base(struct bufferevent *);
int bufferevent_priority_set(struct bufferevent *, int);
int bufferevent_get_priority(const struct bufferevent *);
void bufferevent_free(struct bufferevent *);

void bufferevent_setcb(struct bufferevent *, bufferevent_data_cb, bufferevent_data_cb,
    bufferevent_event_cb, void *);
void bufferevent_getcb(struct bufferevent *, bufferevent_data_cb *, bufferevent_data_cb *,
    bufferevent_event_cb *, void **);

int bufferevent_setfd(struct bufferevent *, evutil_socket_t);
evutil_socket_t bufferevent_getfd(struct bufferevent *);
struct bufferevent *bufferevent_get_underlying(struct bufferevent *);

int bufferevent_write(struct bufferevent *, const void *, size_t);
int bufferevent_write_buffer(struct bufferevent *, struct evbuffer *);
size_t bufferevent_read(struct bufferevent *, void *, size_t);
int bufferevent_read_buffer(struct bufferevent *, struct evbuffer *);
struct evbuffer *bufferevent_get_input(struct bufferevent *);
struct evbuffer *bufferevent_get_output(struct bufferevent *);

int bufferevent_enable(struct bufferevent *, short);
int bufferevent_disable(struct bufferevent *, short);
short bufferevent_get_enabled(struct bufferevent *);
int bufferevent_set_timeouts(struct bufferevent *, const struct timeval *, const struct timeval *);
void bufferevent_setwatermark(struct bufferevent *, short, size_t, size_t);
int bufferevent_getwatermark(struct bufferevent *, short, size_t *, size_t *);

void bufferevent_lock(struct bufferevent *);
void bufferevent_unlock(struct bufferevent *);
void bufferevent_incref(struct bufferevent *);
int bufferevent_decref(struct bufferevent *);

int bufferevent_flush(struct bufferevent *, short, enum bufferevent_flush_mode);

void bufferevent_trigger(struct bufferevent *, short, int);
void bufferevent_trigger_event(struct bufferevent *, short, int);

struct bufferevent *bufferevent_filter_new(struct bufferevent *, bufferevent_filter_cb,
    bufferevent_filter_cb, int, void (*)(void *), void *);

int bufferevent_pair_new(struct event_base *, int, struct bufferevent *[2]);
struct bufferevent *bufferevent_pair_get_partner(struct bufferevent *);

struct ev_token_bucket_cfg *ev_token_bucket_cfg_new(size_t, size_t, size_t, size_t,
    const struct timeval *);
void ev_token_bucket_cfg_free(struct ev_token_bucket_cfg *);
int bufferevent_set_rate_limit(struct bufferevent *, struct ev_token_bucket_cfg *);

struct bufferevent_rate_limit_group *bufferevent_rate_limit_group_new(struct event_base *,
    const struct ev_token_bucket_cfg *);
int bufferevent_rate_limit_group_set_cfg(struct bufferevent_rate_limit_group *,
    const struct ev_token_bucket_cfg *);
int bufferevent_rate_limit_group_set_min_share(struct bufferevent_rate_limit_group *, size_t);
void bufferevent_rate_limit_group_free(struct bufferevent_rate_limit_group *);
int bufferevent_add_to_rate_limit_group(struct bufferevent *,
    struct bufferevent_rate_limit_group *);
int bufferevent_remove_from_rate_limit_group(struct bufferevent *);

int bufferevent_set_max_single_read(struct bufferevent *, size_t);
int bufferevent_set_max_single_write(struct bufferevent *, size_t);
ev_ssize_t bufferevent_get_max_single_read(struct bufferevent *);
ev_ssize_t bufferevent_get_max_single_write(struct bufferevent *);

ev_ssize_t bufferevent_get_read_limit(struct bufferevent *);
ev_ssize_t bufferevent_get_write_limit(struct bufferevent *);
ev_ssize_t bufferevent_get_max_to_read(struct bufferevent *);
ev_ssize_t bufferevent_get_max_to_write(struct bufferevent *);
const struct ev_token_bucket_cfg *bufferevent_get_token_bucket_cfg(const struct bufferevent *);
ev_ssize_t bufferevent_rate_limit_group_get_read_limit(struct bufferevent_rate_limit_group *);
ev_ssize_t bufferevent_rate_limit_group_get_write_limit(struct bufferevent_rate_limit_group *);

int bufferevent_decrement_read_limit(struct bufferevent *, ev_ssize_t);
int bufferevent_decrement_write_limit(struct bufferevent *, ev_ssize_t);
int bufferevent_rate_limit_group_decrement_read(struct bufferevent_rate_limit_group *, ev_ssize_t);
int bufferevent_rate_limit_group_decrement_write(struct bufferevent_rate_limit_group *, ev_ssize_t);
void bufferevent_rate_limit_group_get_totals(struct bufferevent_rate_limit_group *, ev_uint64_t *,
    ev_uint64_t *);
void bufferevent_rate_limit_group_reset_totals(struct bufferevent_rate_limit_group *);

/* if LEV_WANT_22 */
int bufferevent_socket_connect_hostname_hints(struct bufferevent *, struct evdns_base *,
    const struct evutil_addrinfo *, const char *, int);
int bufferevent_replacefd(struct bufferevent *, evutil_socket_t);
/* end */
