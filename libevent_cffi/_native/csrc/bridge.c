/* What the TLS module calls here. */

static int lev_py_server_name(int64_t context, const char *name, void *ssl, int slot);

static int lev_is_forked(struct lev_base *l)
{
    return l->forked || l->fork_count != LEV_RELAXED(&lev_forks);
}

/*
 * Called inside of a handshake, which needs the answer now: so where no Python may run it fails, and nothing is
 * delivered later.
 */
static int lev_ask_server_name(struct lev_base *l, int64_t context, const char *name, void *ssl)
{
    int attempt, answer = LEV_UNDELIVERED;
    int64_t outer;

    if (!l->looping || l->silent || l->closed || lev_is_forked(l) || LEV_NO_PYTHON())
        return -1;
    if (l->check_due)
        lev_run_check(l);
    if (l->broken || l->forked)
        return -1;
    outer = l->current;
    l->current = 0;
    for (attempt = 0; attempt < LEV_ATTEMPTS && answer == LEV_UNDELIVERED; attempt++) {
        answer = lev_py_server_name(context, name, ssl, l->slot);
        if (lev_delivered(l, answer))
            break;
    }
    l->current = outer;
    lev_after_callback(l);
    return answer == LEV_DONE && !l->forked ? 0 : -1;
}

static int lev_bridge_enter(struct lev_child *c)
{
    return lev_child_enter(c);
}

static void lev_bridge_leave(struct lev_child *c, int entered)
{
    lev_leave(c->base, entered);
}

static const struct lev_bridge lev_bridge_of_this = {
    lev_ask_server_name, lev_is_forked, lev_bridge_enter, lev_bridge_leave, &lev_forks};

static const struct lev_bridge *lev_bridge(void)
{
    return &lev_bridge_of_this;
}
