/* children of a base: csrc/children.c, and what each kind has */

void *lev_child_alloc(size_t size);
void lev_child_drop(void *memory);
/* any handle will do, as each kind begins with a struct lev_child */
int lev_child_close(void *c);
int lev_child_is_open(void *c);
int64_t lev_child_token(void *c);
int lev_child_hold(void *c);
extern "Python" int lev_py_let_go(int64_t token, int slot);

/* listeners: csrc/listener.c */

struct lev_listener { ...; };

int lev_listener_open(struct lev_listener *s, struct lev_base *l, int fd, unsigned flags, const char *path,
    uint64_t device, uint64_t inode);
int lev_listener_enable(struct lev_listener *s, int enabled);
int lev_listener_is_enabled(struct lev_listener *s);
int lev_listener_fd(struct lev_listener *s);
int lev_listener_give_file(struct lev_listener *s, char *path, size_t size, uint64_t place[2]);
extern "Python" int lev_py_accept(int64_t token, int fd, struct sockaddr *address, int length, int slot);
extern "Python" int lev_py_listener_error(int64_t token, int error, int slot);
