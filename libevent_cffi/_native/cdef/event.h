/* event2/event.h */

#define EV_TIMEOUT ...
#define EV_READ ...
#define EV_WRITE ...
#define EV_SIGNAL ...
#define EV_PERSIST ...
#define EV_ET ...
#define EV_FINALIZE ...
#define EV_CLOSED ...

#define EVLOOP_ONCE ...
#define EVLOOP_NONBLOCK ...
#define EVLOOP_NO_EXIT_ON_EMPTY ...

#define EVENT_BASE_COUNT_ACTIVE ...
#define EVENT_BASE_COUNT_VIRTUAL ...
#define EVENT_BASE_COUNT_ADDED ...

#define EVENT_MAX_PRIORITIES ...

#define EVENT_LOG_DEBUG ...
#define EVENT_LOG_MSG ...
#define EVENT_LOG_WARN ...
#define EVENT_LOG_ERR ...
#define _EVENT_LOG_DEBUG ...
#define _EVENT_LOG_MSG ...
#define _EVENT_LOG_WARN ...
#define _EVENT_LOG_ERR ...

#define EVENT_DBG_NONE ...
#define EVENT_DBG_ALL ...

#define LIBEVENT_VERSION_NUMBER ...

static char *const LIBEVENT_VERSION;

struct event_base;
struct event_config;

enum event_method_feature {
    EV_FEATURE_ET,
    EV_FEATURE_O1,
    EV_FEATURE_FDS,
    EV_FEATURE_EARLY_CLOSE,
    ...
};

enum event_base_config_flag {
    EVENT_BASE_FLAG_NOLOCK,
    EVENT_BASE_FLAG_IGNORE_ENV,
    EVENT_BASE_FLAG_STARTUP_IOCP,
    EVENT_BASE_FLAG_NO_CACHE_TIME,
    EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST,
    EVENT_BASE_FLAG_PRECISE_TIMER,
/* if LEV_WANT_22 */
    EVENT_BASE_FLAG_DISALLOW_SIGNALFD,
    EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD,
    EVENT_BASE_FLAG_USE_SIGNALFD,
/* end */
    ...
};

typedef void (*event_log_cb)(int, const char *);
typedef void (*event_fatal_cb)(int);
typedef void (*event_callback_fn)(evutil_socket_t, short, void *);
typedef void (*event_finalize_callback_fn)(struct event *, void *);
typedef int (*event_base_foreach_event_cb)(const struct event_base *, const struct event *, void *);

void event_enable_debug_mode(void);
void event_debug_unassign(struct event *);

struct event_base *event_base_new(void);
int event_reinit(struct event_base *);
int event_base_dispatch(struct event_base *);
const char *event_base_get_method(const struct event_base *);
const char **event_get_supported_methods(void);
int event_gettime_monotonic(struct event_base *, struct timeval *);
int event_base_get_num_events(struct event_base *, unsigned int);
int event_base_get_max_events(struct event_base *, unsigned int, int);

struct event_config *event_config_new(void);
void event_config_free(struct event_config *);
int event_config_avoid_method(struct event_config *, const char *);

int event_base_get_features(const struct event_base *);
int event_config_require_features(struct event_config *, int);
int event_config_set_flag(struct event_config *, int);
int event_config_set_num_cpus_hint(struct event_config *, int);
int event_config_set_max_dispatch_interval(struct event_config *, const struct timeval *, int, int);

struct event_base *event_base_new_with_config(const struct event_config *);
void event_base_free(struct event_base *);
void event_base_free_nofinalize(struct event_base *);

void event_set_log_callback(event_log_cb);
void event_set_fatal_callback(event_fatal_cb);
void event_enable_debug_logging(ev_uint32_t);

int event_base_set(struct event_base *, struct event *);

int event_base_loop(struct event_base *, int);
int event_base_loopexit(struct event_base *, const struct timeval *);
int event_base_loopbreak(struct event_base *);
int event_base_loopcontinue(struct event_base *);
int event_base_got_exit(struct event_base *);
int event_base_got_break(struct event_base *);

void *event_self_cbarg(void);
struct event *event_new(struct event_base *, evutil_socket_t, short, event_callback_fn, void *);
int event_assign(struct event *, struct event_base *, evutil_socket_t, short, event_callback_fn,
    void *);
void event_free(struct event *);
int event_finalize(unsigned int, struct event *, event_finalize_callback_fn);
int event_free_finalize(unsigned int, struct event *, event_finalize_callback_fn);
int event_base_once(struct event_base *, evutil_socket_t, short, event_callback_fn, void *,
    const struct timeval *);

int event_add(struct event *, const struct timeval *);
int event_remove_timer(struct event *);
int event_del(struct event *);
int event_del_noblock(struct event *);
int event_del_block(struct event *);
void event_active(struct event *, int, short);
int event_pending(const struct event *, short, struct timeval *);
struct event *event_base_get_running_event(struct event_base *);

int event_initialized(const struct event *);
evutil_socket_t event_get_fd(const struct event *);
struct event_base *event_get_base(const struct event *);
short event_get_events(const struct event *);
event_callback_fn event_get_callback(const struct event *);
void *event_get_callback_arg(const struct event *);
int event_get_priority(const struct event *);
void event_get_assignment(const struct event *, struct event_base **, evutil_socket_t *, short *,
    event_callback_fn *, void **);

size_t event_get_struct_event_size(void);
const char *event_get_version(void);
ev_uint32_t event_get_version_number(void);

int event_base_priority_init(struct event_base *, int);
int event_base_get_npriorities(struct event_base *);
int event_priority_set(struct event *, int);
const struct timeval *event_base_init_common_timeout(struct event_base *, const struct timeval *);

void event_set_mem_functions(void *(*)(size_t), void *(*)(void *, size_t), void (*)(void *));
void event_base_dump_events(struct event_base *, FILE *);

void event_base_active_by_fd(struct event_base *, evutil_socket_t, short);
void event_base_active_by_signal(struct event_base *, int);
int event_base_foreach_event(struct event_base *, event_base_foreach_event_cb, void *);

int event_base_gettimeofday_cached(struct event_base *, struct timeval *);
int event_base_update_cache_time(struct event_base *);
void libevent_global_shutdown(void);

/* macros in C; the generated wrappers expand them */
int evtimer_assign(struct event *, struct event_base *, event_callback_fn, void *);
struct event *evtimer_new(struct event_base *, event_callback_fn, void *);
int evtimer_add(struct event *, const struct timeval *);
int evtimer_del(struct event *);
int evtimer_pending(const struct event *, struct timeval *);
int evtimer_initialized(const struct event *);
int evsignal_add(struct event *, const struct timeval *);
int evsignal_assign(struct event *, struct event_base *, int, event_callback_fn, void *);
struct event *evsignal_new(struct event_base *, int, event_callback_fn, void *);
int evsignal_del(struct event *);
int evsignal_pending(const struct event *, struct timeval *);
int evsignal_initialized(const struct event *);
struct event *evuser_new(struct event_base *, event_callback_fn, void *);
int evuser_del(struct event *);
int evuser_pending(const struct event *, struct timeval *);
int evuser_initialized(const struct event *);
void evuser_trigger(struct event *);
int event_get_signal(const struct event *);

/* if LEV_WANT_22 */
const char *event_base_get_signal_method(const struct event_base *);
/* end */
