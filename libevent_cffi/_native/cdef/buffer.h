/* event2/buffer.h */

#define EVBUFFER_FLAG_DRAINS_TO_FD ...

#define EVBUFFER_CB_ENABLED ...

#define EVBUF_FS_CLOSE_ON_FREE ...
#define EVBUF_FS_DISABLE_MMAP ...
#define EVBUF_FS_DISABLE_SENDFILE ...
#define EVBUF_FS_DISABLE_LOCKING ...

struct evbuffer;
struct evbuffer_file_segment;
struct evbuffer_cb_entry;

struct evbuffer_ptr {
    ev_ssize_t pos;
    ...;
};

struct evbuffer_iovec {
    void *iov_base;
    size_t iov_len;
    ...;
};

struct evbuffer_cb_info {
    size_t orig_size;
    size_t n_added;
    size_t n_deleted;
};

enum evbuffer_eol_style {
    EVBUFFER_EOL_ANY,
    EVBUFFER_EOL_CRLF,
    EVBUFFER_EOL_CRLF_STRICT,
    EVBUFFER_EOL_LF,
    EVBUFFER_EOL_NUL,
    ...
};

enum evbuffer_ptr_how {
    EVBUFFER_PTR_SET,
    EVBUFFER_PTR_ADD,
    ...
};

typedef void (*evbuffer_ref_cleanup_cb)(const void *, size_t, void *);
typedef void (*evbuffer_file_segment_cleanup_cb)(const struct evbuffer_file_segment *, int, void *);
typedef void (*evbuffer_cb_func)(struct evbuffer *, const struct evbuffer_cb_info *, void *);

struct evbuffer *evbuffer_new(void);
void evbuffer_free(struct evbuffer *);

int evbuffer_enable_locking(struct evbuffer *, void *);
void evbuffer_lock(struct evbuffer *);
void evbuffer_unlock(struct evbuffer *);
int evbuffer_set_flags(struct evbuffer *, ev_uint64_t);
int evbuffer_clear_flags(struct evbuffer *, ev_uint64_t);

size_t evbuffer_get_length(const struct evbuffer *);
size_t evbuffer_get_contiguous_space(const struct evbuffer *);
int evbuffer_expand(struct evbuffer *, size_t);
int evbuffer_reserve_space(struct evbuffer *, ev_ssize_t, struct evbuffer_iovec *, int);
int evbuffer_commit_space(struct evbuffer *, struct evbuffer_iovec *, int);

int evbuffer_add(struct evbuffer *, const void *, size_t);
int evbuffer_remove(struct evbuffer *, void *, size_t);
ev_ssize_t evbuffer_copyout(struct evbuffer *, void *, size_t);
ev_ssize_t evbuffer_copyout_from(struct evbuffer *, const struct evbuffer_ptr *, void *, size_t);
int evbuffer_remove_buffer(struct evbuffer *, struct evbuffer *, size_t);

char *evbuffer_readln(struct evbuffer *, size_t *, enum evbuffer_eol_style);
int evbuffer_add_buffer(struct evbuffer *, struct evbuffer *);
int evbuffer_add_buffer_reference(struct evbuffer *, struct evbuffer *);

int evbuffer_add_reference(struct evbuffer *, const void *, size_t, evbuffer_ref_cleanup_cb,
    void *);
int evbuffer_add_file(struct evbuffer *, int, ev_off_t, ev_off_t);

struct evbuffer_file_segment *evbuffer_file_segment_new(int, ev_off_t, ev_off_t, unsigned int);
void evbuffer_file_segment_free(struct evbuffer_file_segment *);
void evbuffer_file_segment_add_cleanup_cb(struct evbuffer_file_segment *,
    evbuffer_file_segment_cleanup_cb, void *);
int evbuffer_add_file_segment(struct evbuffer *, struct evbuffer_file_segment *, ev_off_t,
    ev_off_t);

int evbuffer_add_printf(struct evbuffer *, const char *, ...);
int evbuffer_drain(struct evbuffer *, size_t);

int evbuffer_write(struct evbuffer *, evutil_socket_t);
int evbuffer_write_atmost(struct evbuffer *, evutil_socket_t, ev_ssize_t);
int evbuffer_read(struct evbuffer *, evutil_socket_t, int);

struct evbuffer_ptr evbuffer_search(struct evbuffer *, const char *, size_t,
    const struct evbuffer_ptr *);
struct evbuffer_ptr evbuffer_search_range(struct evbuffer *, const char *, size_t,
    const struct evbuffer_ptr *, const struct evbuffer_ptr *);
int evbuffer_ptr_set(struct evbuffer *, struct evbuffer_ptr *, size_t, enum evbuffer_ptr_how);
struct evbuffer_ptr evbuffer_search_eol(struct evbuffer *, struct evbuffer_ptr *, size_t *,
    enum evbuffer_eol_style);

int evbuffer_peek(struct evbuffer *, ev_ssize_t, struct evbuffer_ptr *, struct evbuffer_iovec *,
    int);

struct evbuffer_cb_entry *evbuffer_add_cb(struct evbuffer *, evbuffer_cb_func, void *);
int evbuffer_remove_cb_entry(struct evbuffer *, struct evbuffer_cb_entry *);
int evbuffer_remove_cb(struct evbuffer *, evbuffer_cb_func, void *);
int evbuffer_cb_set_flags(struct evbuffer *, struct evbuffer_cb_entry *, ev_uint32_t);
int evbuffer_cb_clear_flags(struct evbuffer *, struct evbuffer_cb_entry *, ev_uint32_t);

unsigned char *evbuffer_pullup(struct evbuffer *, ev_ssize_t);
int evbuffer_prepend(struct evbuffer *, const void *, size_t);
int evbuffer_prepend_buffer(struct evbuffer *, struct evbuffer *);

int evbuffer_freeze(struct evbuffer *, int);
int evbuffer_unfreeze(struct evbuffer *, int);
int evbuffer_defer_callbacks(struct evbuffer *, struct event_base *);
size_t evbuffer_add_iovec(struct evbuffer *, struct evbuffer_iovec *, int);

/* if LEV_WANT_22 */
int evbuffer_set_max_read(struct evbuffer *, size_t);
size_t evbuffer_get_max_read(struct evbuffer *);
int evbuffer_add_reference_with_offset(struct evbuffer *, const void *, size_t, size_t,
    evbuffer_ref_cleanup_cb, void *);
/* end */
