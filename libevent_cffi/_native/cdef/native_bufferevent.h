/* bufferevents: csrc/bufferevent.h, bufferevent.c, bevcalls.c */

#define LEV_BEV_ON_READ ...
#define LEV_BEV_ON_WRITE ...
#define LEV_BEV_ON_EVENT ...
#define LEV_BEV_TAKEN ...
#define LEV_BEV_ENDED ...
#define LEV_BEV_NO_SOCKET ...
#define LEV_BEV_LISTENS ...
#define LEV_BEV_NO_STREAM ...
#define LEV_BEV_BUSY ...
#define LEV_BEV_HOLD ...
#define LEV_BEV_HOLD_PARTNER ...

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
int lev_bev_write_eof(struct lev_bev *s);
int64_t lev_bev_read(struct lev_bev *s, char *target, size_t room, int64_t size);
struct lev_buffer *lev_bev_buffer(struct lev_bev *s, int is_output);

int lev_bev_set_wants(struct lev_bev *s, int wants);
int lev_bev_enable(struct lev_bev *s, int events);
int lev_bev_disable(struct lev_bev *s, int events);
int lev_bev_enabled(struct lev_bev *s);

int lev_bev_fd(struct lev_bev *s);
int lev_bev_detach(struct lev_bev *s);
int lev_bev_replace(struct lev_bev *s, int fd);
void lev_target_set(struct lev_target *target, const struct sockaddr *address, int length);
int lev_bev_connect(struct lev_bev *s, struct lev_target *targets, int count);
int lev_bev_fail(struct lev_bev *s, int what, int error);

extern "Python" int lev_py_bev_data(int64_t token, int which, int slot);
extern "Python" int lev_py_bev_event(int64_t token, int what, int error, int slot);
