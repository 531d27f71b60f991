/* memory, log, start-up: csrc/memory.c, csrc/log.c */

extern long lev_started;
extern long lev_threads_on;
extern long lev_debug_mode_on;
extern long lev_lock_debugging_on;
extern long lev_used;                  /* set it when a base or a buffer is made */
extern long lev_live_objects;          /* open objects, counted in C */
extern long lev_shut_down;             /* constructors raise ClosedError */

void *lev_malloc(size_t size);
void *lev_calloc(size_t count, size_t size);
void *lev_realloc(void *block, size_t size);
void lev_free(void *block);
int lev_memory_install(void);
long lev_memory_blocks(void);
long lev_memory_bytes(void);
long lev_memory_peak(void);
void lev_memory_fail_after(long n);
extern long lev_failing_in;            /* how many allocations from then; 0: it has failed */

#define LEV_LOG_TEXT ...
#define LEV_LOG_SLOTS ...
#define LEV_LOG_LIBEVENT ...
#define LEV_LOG_DNS ...
extern long lev_log_pending;
void lev_log_install(void);
void lev_log_put(int level, int source, const char *text);
int lev_log_take(char *text, size_t size, int *level, int *source);
long lev_log_take_dropped(void);
void lev_log_reset(void);
void lev_log_set_debug(int on);
int lev_fatal_pick(void);
int lev_fatal_capture(int number);
void lev_fatal_forget(void);
void lev_fatal(int code);

/* socket options with int values: csrc/sockopt.c */
int lev_getsockopt(evutil_socket_t fd, int level, int option, int *value);
int lev_setsockopt(evutil_socket_t fd, int level, int option, int value);
int lev_socket_address(evutil_socket_t fd, int is_peer, struct sockaddr *address, int size);
