/* what the TLS module calls in this one: csrc/bridge.c */

struct lev_bridge;
struct lev_tls_ops;

const struct lev_bridge *lev_bridge(void);
extern "Python" int lev_py_server_name(int64_t context, const char *name, void *ssl, int slot);
