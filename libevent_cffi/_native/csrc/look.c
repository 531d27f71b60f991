/* Looking into a base, and the small calls that one function of libevent answers. */

/* Wall-clock seconds; negative: why not. */
static double lev_base_now(struct lev_base *l)
{
    struct timeval tv = {0, 0};
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    event_base_gettimeofday_cached(l->eb, &tv);
    lev_leave(l, entered);
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static int lev_base_update_time(struct lev_base *l)
{
    int result, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    result = event_base_update_cache_time(l->eb);
    lev_leave(l, entered);
    return result;
}

static int lev_base_activate_fd(struct lev_base *l, int fd, int events)
{
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    event_base_active_by_fd(l->eb, fd, (short)events);
    lev_leave(l, entered);
    return 0;
}

#define LEV_MOST_METHODS 16

/*
 * The name of a method, best first; NULL after the last one, and with errno when there is no memory.  libevent
 * makes its list anew at each call and frees the one before, which another thread may be reading.
 */
static const char *lev_supported_method(int index)
{
    static const char *names[LEV_MOST_METHODS + 1];
    const char **list;
    int i;

    errno = 0;
    lev_bases_lock();
    list = names[0] == NULL ? event_get_supported_methods() : NULL;
    for (i = 0; list != NULL && list[i] != NULL && i < LEV_MOST_METHODS; i++)
        names[i] = list[i];
    lev_bases_unlock();
    return names[index];
}

static char *lev_read_back(FILE *file)
{
    long size = ftell(file);
    char *text = size >= 0 ? lev_malloc((size_t)size + 1) : NULL;

    rewind(file);
    if (text != NULL)
        text[fread(text, 1, (size_t)size, file)] = '\0';
    return text;
}

/*
 * The pending events as libevent prints them; lev_free() the text.  It walks libevent's lists under its lock; a
 * base without one can be walked by its own thread only.
 */
static int lev_base_dump(struct lev_base *l, char **text)
{
    int entered = l->unlocked ? lev_enter(l) : 0, result = entered < 0 ? entered : lev_lock_to_look(l);
    FILE *file = result == 0 ? tmpfile() : NULL;

    if (file != NULL) {
        event_base_dump_events(l->eb, file);
        *text = lev_read_back(file);
        fclose(file);
    }
    if (result == 0) {
        lev_mutex_unlock(&l->gate);
        result = file == NULL || *text == NULL ? LEV_ERRNO : 0;
    }
    if (entered >= 0)
        lev_leave(l, entered);
    return result;
}

/* -- looking in: any thread ------------------------------------------------------------------------------ */

static struct event_base *lev_base_pointer(struct lev_base *l)
{
    return l->eb;
}

static int64_t lev_base_current(struct lev_base *l)
{
    return LEV_RELAXED(&l->owner) == LEV_ME ? l->current : 0;
}

static int lev_base_count(struct lev_base *l, unsigned flags)
{
    int result = lev_lock_to_look(l);

    if (result != 0)
        return result;
    result = event_base_get_num_events(l->eb, flags);
    lev_mutex_unlock(&l->gate);
    return result;
}

static int lev_base_max_count(struct lev_base *l, unsigned flags, int clear)
{
    int result = lev_lock_to_look(l);

    if (result != 0)
        return result;
    result = event_base_get_max_events(l->eb, flags, clear);
    lev_mutex_unlock(&l->gate);
    return result;
}

/* Is anything pending or active that keeps the loop alive? */
static int lev_base_is_pending(struct lev_base *l)
{
    int result;

    if (lev_lock_to_look(l) != 0)
        return 0;
    result = (l->todo_count > 0 || event_base_get_num_events(l->eb,
        EVENT_BASE_COUNT_ACTIVE | EVENT_BASE_COUNT_VIRTUAL | EVENT_BASE_COUNT_ADDED) > 0);
    lev_mutex_unlock(&l->gate);
    return result;
}

static int lev_base_used(struct lev_base *l)
{
    return l->used;
}

static int lev_base_got(struct lev_base *l)
{
    return l->got;
}

static long lev_base_stale(struct lev_base *l)
{
    return l->stale;
}

static long lev_base_redelivered(struct lev_base *l)
{
    return l->redelivered;
}
