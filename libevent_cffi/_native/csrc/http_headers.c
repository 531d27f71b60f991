/*
 * Headers of HTTP, between libevent's list and one piece of memory: "name\0value\0name\0value\0".
 *
 * One call takes all of them either way; a call for each header would cost more than libevent's parser.
 */

/* How much memory lev_headers_pack() needs. */
static size_t lev_headers_size(const struct evkeyvalq *headers)
{
    const struct evkeyval *header;
    size_t size = 0;

    for (header = headers->tqh_first; header != NULL; header = header->next.tqe_next)
        size += strlen(header->key) + strlen(header->value) + 2;
    return size;
}

static void lev_headers_pack(const struct evkeyvalq *headers, char *to)
{
    const struct evkeyval *header;

    for (header = headers->tqh_first; header != NULL; header = header->next.tqe_next) {
        to = stpcpy(to, header->key) + 1;
        to = stpcpy(to, header->value) + 1;
    }
}

/* Add what was packed; 0, or -1 where libevent takes one of them for malformed or has no memory. */
static int lev_headers_add(struct evkeyvalq *headers, const char *packed, size_t size)
{
    const char *end = packed + size, *value;

    while (packed < end) {
        value = packed + strlen(packed) + 1;
        if (evhttp_add_header(headers, packed, value) != 0)
            return -1;
        packed = value + strlen(value) + 1;
    }
    return 0;
}
