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
    int answer;
    int64_t outer;

    if (!l->looping || l->silent || l->closed || lev_is_forked(l) || LEV_NO_PYTHON())
        return -1;
    if (l->check_due)
        lev_run_check(l);
    if (l->broken || l->forked)
        return -1;
    outer = l->current;
    l->current = 0;
    LEV_INSIST(l, answer, lev_py_server_name(context, name, ssl, l->slot));
    l->current = outer;
    return answer == LEV_DONE && !l->forked ? 0 : -1;
}

static const struct lev_bridge lev_bridge_of_this = {lev_ask_server_name, lev_is_forked};

static const struct lev_bridge *lev_bridge(void)
{
    return &lev_bridge_of_this;
}
