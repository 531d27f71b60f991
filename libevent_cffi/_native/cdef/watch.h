/* event2/watch.h */

/* if LEV_HAS_WATCH */
struct evwatch;
struct evwatch_prepare_cb_info;
struct evwatch_check_cb_info;

typedef void (*evwatch_prepare_cb)(struct evwatch *, const struct evwatch_prepare_cb_info *,
    void *);
typedef void (*evwatch_check_cb)(struct evwatch *, const struct evwatch_check_cb_info *, void *);

struct evwatch *evwatch_prepare_new(struct event_base *, evwatch_prepare_cb, void *);
struct evwatch *evwatch_check_new(struct event_base *, evwatch_check_cb, void *);
struct event_base *evwatch_base(struct evwatch *);
void evwatch_free(struct evwatch *);
int evwatch_prepare_get_timeout(const struct evwatch_prepare_cb_info *, struct timeval *);
/* end */
