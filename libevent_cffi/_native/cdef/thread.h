/* event2/thread.h */

#define EVTHREAD_WRITE ...
#define EVTHREAD_READ ...
#define EVTHREAD_TRY ...

#define EVTHREAD_LOCK_API_VERSION ...
#define EVTHREAD_CONDITION_API_VERSION ...

#define EVTHREAD_LOCKTYPE_RECURSIVE ...
#define EVTHREAD_LOCKTYPE_READWRITE ...

#define EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED ...

struct evthread_lock_callbacks {
    int lock_api_version;
    unsigned int supported_locktypes;
    void *(*alloc)(unsigned int);
    void (*free)(void *, unsigned int);
    int (*lock)(unsigned int, void *);
    int (*unlock)(unsigned int, void *);
};

struct evthread_condition_callbacks {
    int condition_api_version;
    void *(*alloc_condition)(unsigned int);
    void (*free_condition)(void *);
    int (*signal_condition)(void *, int);
    int (*wait_condition)(void *, void *, const struct timeval *);
};

int evthread_set_lock_callbacks(const struct evthread_lock_callbacks *);
int evthread_set_condition_callbacks(const struct evthread_condition_callbacks *);
void evthread_set_id_callback(unsigned long (*)(void));

void evthread_enable_lock_debugging(void);
void evthread_enable_lock_debuging(void);
int evthread_make_base_notifiable(struct event_base *);

int evthread_use_windows_threads(void);

/* if LEV_HAS_PTHREADS */
#define EVTHREAD_USE_PTHREADS_IMPLEMENTED ...
int evthread_use_pthreads(void);
/* if LEV_WANT_22 */
#define EVTHREAD_PTHREAD_PRIO_INHERIT ...
int evthread_use_pthreads_with_flags(int);
/* end */
/* end */
