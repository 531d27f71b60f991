/* buffers: csrc/buffer.h, lend.c, buffer.c, content.c, files.c */

#define LEV_BUSY ...
#define LEV_FROZEN ...
#define LEV_NO_MEMORY ...
#define LEV_HOLDS_FILE ...
#define LEV_SAME ...
#define LEV_CUT_SHORT ...
#define LEV_NOT_FOUND ...
#define LEV_TOO_SMALL ...
#define LEV_COPY ...
#define LEV_REFUSED ...
#define LEV_FRONT ...
#define LEV_END ...
#define LEV_OWN ...
#define LEV_SENDS_FILES ...

struct lev_buffer { ...; };
struct lev_file { ...; };
struct lev_view { ...; };

extern long lev_released_count;
int lev_released_gather(int all);
int64_t lev_released_next(void);
void lev_released_give_back(void);
void *lev_block_new(size_t size);
void lev_block_unref(void *data);
void *lev_view_alloc(size_t size);
void lev_view_drop(void *memory);
int lev_view_chunk(struct lev_view *view, int index, char **data, size_t *size);

int lev_buffer_open(struct lev_buffer *b, struct evbuffer *eb, struct lev_base *base, int kind, int64_t token);
void lev_buffer_name(struct lev_buffer *b, int64_t token);
void lev_buffer_detach(struct lev_buffer *b);
int lev_buffer_close(struct lev_buffer *b);
void lev_buffer_drop(struct lev_buffer *b);
int lev_buffer_surrender(struct lev_buffer *b, struct evbuffer **eb);
struct evbuffer *lev_buffer_pointer(struct lev_buffer *b);
int lev_buffer_lock(struct lev_buffer *b);
int lev_buffer_is_locked(struct lev_buffer *b);
void lev_buffer_unlock(struct lev_buffer *b);
int lev_buffer_freeze(struct lev_buffer *b, int ends, int frozen);
int lev_buffer_send_files(struct lev_buffer *b, int on);
int lev_buffer_sends_files(struct lev_buffer *b);
int lev_buffer_watch(struct lev_buffer *b, int on);
int lev_buffer_changes(struct lev_buffer *b, struct evbuffer_cb_info *change);

int lev_buffer_add(struct lev_buffer *b, const char *data, size_t size);
int lev_buffer_prepend(struct lev_buffer *b, const char *data, size_t size);
int lev_buffer_give_back(struct lev_buffer *b, const char *data, size_t size);
int lev_buffer_add_many(struct lev_buffer *b, struct evbuffer_iovec *parts, int count, size_t size);
int lev_buffer_add_ref(struct lev_buffer *b, const char *data, size_t size, int64_t token, int *taken);
int lev_buffer_add_block(struct lev_buffer *b, void *block, size_t size, int copy);
int lev_buffer_add_copy(struct lev_buffer *to, struct lev_buffer *from);
int lev_buffer_expand(struct lev_buffer *b, size_t size);
int lev_buffer_move_all(struct lev_buffer *to, struct lev_buffer *from, int front, int give_back);
int64_t lev_buffer_move(struct lev_buffer *to, struct lev_buffer *from, int64_t size);
int lev_buffer_drain(struct lev_buffer *b, size_t size);
int64_t lev_buffer_remove(struct lev_buffer *b, char *target, size_t room, int64_t size);
int64_t lev_buffer_copy(struct lev_buffer *b, int64_t start, char *target, size_t room, int64_t size);
int64_t lev_buffer_readline(struct lev_buffer *b, char *target, size_t room, int style, size_t *end);
int64_t lev_buffer_read(struct lev_buffer *b, int fd, int size);
int64_t lev_buffer_write(struct lev_buffer *b, int fd, int64_t size);

int64_t lev_buffer_length(struct lev_buffer *b);
int64_t lev_buffer_contiguous(struct lev_buffer *b);
int64_t lev_buffer_max_read(struct lev_buffer *b, int64_t size);
int64_t lev_buffer_search(struct lev_buffer *b, const char *what, size_t size, int64_t start, int64_t end);
int64_t lev_buffer_search_eol(struct lev_buffer *b, int style, int64_t start, size_t *size);
int lev_buffer_equals(struct lev_buffer *b, const char *data, size_t size);
int lev_buffer_same(struct lev_buffer *one, struct lev_buffer *other);
int64_t lev_buffer_pullup(struct lev_buffer *b, int64_t size);
int64_t lev_buffer_view(struct lev_buffer *b, int64_t start, int64_t size, struct lev_view *view);

void *lev_file_alloc(size_t size);
int lev_file_open(struct lev_file *file, int fd, int64_t offset, int64_t length, int64_t token);
int lev_file_load_open(struct lev_file *file);
void lev_file_close(struct lev_file *file);
void lev_file_drop(void *memory);
int lev_buffer_add_file(struct lev_buffer *b, struct lev_file *file, int64_t offset, int64_t length,
    int sendfile);
