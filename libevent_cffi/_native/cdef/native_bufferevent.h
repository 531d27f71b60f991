/* bufferevents: csrc/bufferevent.h, bufferevent.c, bevcalls.c, bevcontrol.c, bevsocket.c,
   bevtls.c, filter.c, ratelimit.c */

#define LEV_BEV_ON_READ ...
#define LEV_BEV_ON_WRITE ...
#define LEV_BEV_ON_EVENT ...
#define LEV_BEV_TAKEN ...
#define LEV_BEV_ENDED ...
#define LEV_BEV_NO_SOCKET ...
#define LEV_BEV_LISTENS ...
#define LEV_BEV_NO_STREAM ...
#define LEV_BEV_BUSY ...
#define LEV_BEV_NOT_OPEN ...
#define LEV_BEV_NO_LIMIT ...
#define LEV_BEV_SMALL_BURST ...
#define LEV_BEV_OWNED ...
#define LEV_BEV_HOLD ...
#define LEV_BEV_HOLD_PARTNER ...
#define LEV_BEV_LET_GO ...

struct lev_bev { ...; };

struct lev_target { ...; };

int lev_bev_open(struct lev_bev *s, struct lev_base *l, int fd, int enabled, int wants);
int lev_bev_open_tls(struct lev_bev *s, struct lev_base *l, int fd, int enabled, int wants,
    const struct lev_tls_ops *tls, void *ssl);
int lev_bev_start_tls(struct lev_bev *top, struct lev_bev *s, const struct lev_tls_ops *tls, void *ssl);
int lev_bev_set_mark(struct lev_bev *s, int mark);
struct bufferevent *lev_bev_pointer(struct lev_bev *s);
int lev_bev_open_pair(struct lev_bev *one, struct lev_bev *other, struct lev_base *l);
int lev_bev_adopt(struct lev_bev *s, struct lev_base *l, struct bufferevent *bev, int wants, int is_borrowed);
int lev_bev_close(struct lev_bev *s, int flush);

int lev_bev_write(struct lev_bev *s, const char *data, size_t size);
int lev_bev_wrote(struct lev_bev *s);
int lev_bev_check(struct lev_bev *s);
int lev_bev_check_write(struct lev_bev *s);
int lev_bev_check_start_tls(struct lev_bev *s);
int lev_bev_write_eof(struct lev_bev *s);
int64_t lev_bev_read(struct lev_bev *s, char *target, size_t room, int64_t size);
struct lev_buffer *lev_bev_buffer(struct lev_bev *s, int is_output);

struct bufferevent *lev_bev_surrender(struct lev_bev *s);
void lev_bev_forget(struct lev_bev *s);

int lev_bev_set_wants(struct lev_bev *s, int wants);
int lev_bev_enable(struct lev_bev *s, int events);
int lev_bev_disable(struct lev_bev *s, int events);
int lev_bev_enabled(struct lev_bev *s);
int lev_bev_set_timeouts(struct lev_bev *s, double read, double write);
int lev_bev_timeouts(struct lev_bev *s, double found[2]);
int lev_bev_set_watermark(struct lev_bev *s, int events, size_t low, size_t high);
int lev_bev_watermark(struct lev_bev *s, int event, size_t found[2]);
int lev_bev_trigger(struct lev_bev *s, int events, int ignore_watermarks);
int lev_bev_trigger_event(struct lev_bev *s, int what, int error);
int lev_bev_set_priority(struct lev_bev *s, int priority, int is_new);
int lev_bev_priority(struct lev_bev *s);
int lev_bev_set_max_single(struct lev_bev *s, int is_write, size_t size);
int64_t lev_bev_max_single(struct lev_bev *s, int is_write);
int lev_bev_flush(struct lev_bev *s, int events, int mode);

int lev_bev_fd(struct lev_bev *s);
int lev_bev_detach(struct lev_bev *s);
int lev_bev_replace(struct lev_bev *s, int fd);
void lev_target_set(struct lev_target *target, const struct sockaddr *address, int length);
int lev_bev_connect(struct lev_bev *s, struct lev_target *targets, int count);
int lev_bev_resolve(struct lev_bev *s, int begins);

#define LEV_FILTER_ANSWER ...

struct lev_filter { ...; };

struct lev_buffer *lev_filter_part(struct lev_filter *f, int number);
int lev_filter_open(
    struct lev_filter *f, struct lev_bev *below, int has_in, int has_out, int enabled, int wants);
int lev_road_begin(struct lev_base *l);
void lev_road_use(struct lev_base *l, int slot);
void lev_road_end(struct lev_base *l);

struct lev_group { ...; };

struct lev_rate { ...; };

void lev_rate_set(struct lev_rate *rate, size_t read, size_t read_burst, size_t write, size_t write_burst,
    double tick);
int lev_bev_set_limit(struct lev_bev *s, const struct lev_rate *rate);
int lev_bev_has_limit(struct lev_bev *s);
int lev_bev_room(struct lev_bev *s, int is_write, int64_t *room);
int lev_bev_take_room(struct lev_bev *s, int is_write, int64_t size);
int lev_group_open(struct lev_group *g, struct lev_base *l, const struct lev_rate *rate, size_t min_share);
int lev_group_set_limit(struct lev_group *g, const struct lev_rate *rate);
int lev_group_set_min_share(struct lev_group *g, size_t share);
int lev_group_add(struct lev_group *g, struct lev_bev *s);
int lev_group_remove(struct lev_group *g, struct lev_bev *s);
int lev_group_room(struct lev_group *g, int is_write, int64_t *room);
int lev_group_take_room(struct lev_group *g, int is_write, int64_t size);
int lev_group_totals(struct lev_group *g, uint64_t totals[2], int reset);


extern "Python" int lev_py_bev_data(int64_t token, int which, int slot);
extern "Python" int lev_py_bev_event(int64_t token, int what, int error, int slot);
extern "Python" int lev_py_filter(int64_t token, int which, int64_t limit, int mode, int slot);
