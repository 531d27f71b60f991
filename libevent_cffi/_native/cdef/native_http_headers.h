/* headers in one piece of memory: csrc/http_headers.c */

size_t lev_headers_size(const struct evkeyvalq *headers);
void lev_headers_pack(const struct evkeyvalq *headers, char *to);
int lev_headers_add(struct evkeyvalq *headers, const char *packed, size_t size);
