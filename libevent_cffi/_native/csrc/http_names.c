/* Tokens by which Python knows the connections and requests of a server.  See http_server.h. */

static int64_t lev_name_new(struct lev_names *names, void *what)
{
    int i, size = names->size ? names->size * 2 : 16;
    struct lev_name *more;

    if (names->size == 0)
        names->free = -1;
    if (names->free < 0) {
        more = lev_realloc(names->all, (size_t)size * sizeof(*more));
        if (more == NULL)
            return 0;
        for (i = names->size; i < size; i++) {
            more[i].token = 0;
            more[i].next = i + 1 < size ? i + 1 : -1;
        }
        names->free = names->size;
        names->all = more;
        names->size = size;
    }
    i = names->free;
    names->free = names->all[i].next;
    names->all[i].what = what;
    names->all[i].token = (++names->uses << LEV_INDEX_BITS) | i;
    return names->all[i].token;
}

static void *lev_name_find(struct lev_names *names, int64_t token)
{
    int i = (int)(token & ((1 << LEV_INDEX_BITS) - 1));

    return token > 0 && i < names->size && names->all[i].token == token ? names->all[i].what : NULL;
}

static void lev_name_free(struct lev_names *names, int64_t token)
{
    int i = (int)(token & ((1 << LEV_INDEX_BITS) - 1));

    if (lev_name_find(names, token) == NULL)
        return;
    names->all[i].token = 0;
    names->all[i].next = names->free;
    names->free = i;
}
