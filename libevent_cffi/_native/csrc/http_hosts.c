/* HTTP servers: virtual hosts and aliases.  See http_server.h. */

static struct lev_http *lev_http_root(struct lev_http *h)
{
    while (h->parent != NULL)
        h = h->parent;
    return h;
}

static void lev_http_leave_parent(struct lev_http *h)
{
    struct lev_http **at;

    if (h->parent == NULL)
        return;
    for (at = &h->parent->hosts; *at != NULL; at = &(*at)->next_host)
        if (*at == h) {
            *at = h->next_host;
            break;
        }
    evhttp_remove_virtual_host(h->parent->http, h->http);
    h->parent = NULL;
    h->next_host = NULL;
    lev_free(h->pattern);
    h->pattern = NULL;
}

static void lev_http_drop_aliases(struct lev_http *h)
{
    struct lev_alias *alias;

    while ((alias = h->aliases) != NULL) {
        h->aliases = alias->next;
        lev_free(alias->name);
        lev_free(alias);
    }
}

#ifdef LEV_HAVE_evhttp_set_newreqcb

/* -- who answers ----------------------------------------------------------------------------------------- */

/* As libevent sees it, for whom a star at the end fits nothing (http.c:prefix_suffix_match). */
static int lev_host_fits(const char *pattern, const char *name)
{
    const char *after = NULL, *from = NULL;

    for (;;) {
        if (*pattern == '*') {
            if (*name == '\0')
                return 0;
            after = ++pattern;
            from = name;
        } else if (lev_lower(*pattern) == lev_lower(*name)) {
            if (*pattern == '\0')
                return 1;
            pattern++;
            name++;
        } else {
            if (after == NULL || *++from == '\0')
                return 0;
            pattern = after;
            name = from;
        }
    }
}

static struct lev_http *lev_http_of_alias(struct lev_http *h, const char *name)
{
    struct lev_alias *alias;
    struct lev_http *host, *found = NULL;

    for (alias = h->aliases; alias != NULL; alias = alias->next)
        if (evutil_ascii_strcasecmp(alias->name, name) == 0)
            return h;
    for (host = h->hosts; host != NULL && found == NULL; host = host->next_host)
        found = lev_http_of_alias(host, name);
    return found;
}

/*
 * The one that answers for a host.  libevent looks for it when a request is whole (http.c:evhttp_find_vhost), but
 * a body that goes to Python piece by piece has to have it before: so it is found here by the same rules.
 */
static struct lev_http *lev_http_for(struct lev_http *h, const char *name)
{
    struct lev_http *host = lev_http_of_alias(h, name);

    if (host != NULL)
        return host;
    for (host = h->hosts; host != NULL;)
        if (lev_host_fits(host->pattern, name)) {
            h = host;
            host = h->hosts;
        } else
            host = host->next_host;
    return h;
}

#endif

/* -- Python's calls -------------------------------------------------------------------------------------- */

static int lev_http_add_host(struct lev_http *h, const char *pattern, struct lev_http *host)
{
    struct lev_http **end;
    int result = LEV_BAD_VHOST, entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    if (host->child.base == h->child.base && !host->child.closed && host->parent == NULL && host->bound_count == 0
        && lev_http_root(h) != host) {
        if (lev_keep_text(pattern, &host->pattern) != 0)
            result = LEV_ERRNO;
        else if (evhttp_add_virtual_host(h->http, pattern, host->http) != 0) {
            lev_free(host->pattern);
            host->pattern = NULL;
        } else {
            for (end = &h->hosts; *end != NULL; end = &(*end)->next_host)
                continue;
            *end = host;
            host->parent = h;
            host->was_host = 1;
            result = 0;
        }
    }
    lev_leave(h->child.base, entered);
    return result;
}

static int lev_http_remove_host(struct lev_http *h, struct lev_http *host)
{
    int result = LEV_BAD_VHOST, entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    if (host->parent == h) {
        lev_http_leave_parent(host);
        result = 0;
    }
    lev_leave(h->child.base, entered);
    return result;
}

static int lev_http_add_alias(struct lev_http *h, const char *name)
{
    struct lev_alias *alias = lev_calloc(1, sizeof(*alias));

    if (alias == NULL || lev_keep_text(name, &alias->name) != 0 || evhttp_add_server_alias(h->http, name) != 0) {
        if (alias != NULL)
            lev_free(alias->name);
        lev_free(alias);
        return LEV_ERRNO;
    }
    alias->next = h->aliases;
    h->aliases = alias;
    return 0;
}

static int lev_http_remove_alias(struct lev_http *h, const char *name)
{
    struct lev_alias **at, *alias;

    if (evhttp_remove_server_alias(h->http, name) != 0)
        return LEV_BAD_VHOST;
    for (at = &h->aliases; (alias = *at) != NULL; at = &alias->next)
        if (evutil_ascii_strcasecmp(alias->name, name) == 0) {
            *at = alias->next;
            lev_free(alias->name);
            lev_free(alias);
            break;
        }
    return 0;
}

static int lev_http_alias(struct lev_http *h, const char *name, int add)
{
    int result, entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    result = add ? lev_http_add_alias(h, name) : lev_http_remove_alias(h, name);
    lev_leave(h->child.base, entered);
    return result;
}
