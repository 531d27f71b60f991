/*
 * Where the requests of a connection begin and end, seen before evhttp reads them.
 *
 * evhttp cuts a line at a NUL, takes sizes of chunks such as "0x5", "+5" and "5 junk" (2.1), and reads on when more
 * comes than a size said (http.c:evhttp_handle_chunked_read): whoever stands before it, such as a proxy, may see
 * other requests in the same bytes.  So what comes is followed here, as it comes into the input buffer; where it is
 * malformed, evhttp finds an end of the line there that it refuses, and nothing of what came after it.
 *
 * Only what is well-formed is followed right: evhttp and lev_is_framed() refuse the rest, and close the connection.
 */

enum {
    LEV_AT_LINE,                /* the request line */
    LEV_AT_NAME,                /* of a header that may tell where the body ends, */
    LEV_AT_VALUE,               /* its value, */
    LEV_AT_OTHER,               /* or the rest of another one */
    LEV_AT_BODY,
    LEV_AT_SIZE,                /* of a chunk */
    LEV_AT_SIZE_END,            /* its LF is missing */
    LEV_AT_CHUNK,
    LEV_AT_CHUNK_CR,
    LEV_AT_CHUNK_LF,
    LEV_AT_STOP                 /* nothing is followed: something else may be spoken from here on, or it was cut */
};

#define LEV_SMALL_CHUNK 1024
#define LEV_MUCH ((uint64_t)1 << 59)    /* a body that never ends */

static const char *const lev_framing_names[] = {"content-length", "transfer-encoding", "upgrade"};
enum { LEV_NAME_LENGTH, LEV_NAME_ENCODING, LEV_NAME_UPGRADE };

static char lev_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static const char *lev_find(const char *from, const char *end, int byte)
{
    return from < end ? memchr(from, byte, (size_t)(end - from)) : NULL;
}

static void lev_framing_next_line(struct lev_framing *f)
{
    f->column = 0;
    f->state = LEV_AT_NAME;
}

static void lev_framing_is_whole(struct lev_framing *f)
{
    f->wholes++;
    f->state = f->upgrades ? LEV_AT_STOP : LEV_AT_LINE;
    f->column = f->is_chunked = f->is_trailer = f->upgrades = 0;
    f->left = 0;
}

/* After the empty line. */
static void lev_framing_after_head(struct lev_framing *f)
{
    if (f->is_trailer || (!f->is_chunked && f->left == 0))
        lev_framing_is_whole(f);
    else if (f->is_chunked) {
        f->state = LEV_AT_SIZE;
        f->left = 0;                    /* evhttp reads such a request, too, before it is refused */
    } else
        f->state = LEV_AT_BODY;
    f->column = 0;
}

static void lev_framing_after_size(struct lev_framing *f)
{
    f->column = 0;
    f->state = LEV_AT_CHUNK;
    if (f->left == 0) {
        f->is_trailer = 1;
        lev_framing_next_line(f);
    }
}

/* What is left of a line whose words do not matter. */
static const char *lev_framing_skip_line(struct lev_framing *f, const char *at, const char *end)
{
    const char *lf = lev_find(at, end, '\n'), *stop = lf != NULL ? lf : end;
    const char *nul = lev_find(at, stop, '\0');

    if (nul != NULL)
        return NULL;
    f->column += at < stop;
    if (lf == NULL)
        return end;
    if (f->state != LEV_AT_LINE || f->column > 0)
        lev_framing_next_line(f);
    return lf + 1;
}

/* A byte of the beginning of a header's line; as evhttp has it, a line may end without CR. */
static int lev_framing_name(struct lev_framing *f, char byte)
{
    const char *name;

    if (f->column == 0) {
        f->is_bare_cr = byte == '\r';
        f->which = byte == 'c' || byte == 'C' ? LEV_NAME_LENGTH : byte == 't' || byte == 'T' ? LEV_NAME_ENCODING
            : byte == 'u' || byte == 'U' ? LEV_NAME_UPGRADE : -1;
    }
    if (byte == '\n') {
        if (f->column == 0 || (f->column == 1 && f->is_bare_cr))
            lev_framing_after_head(f);
        else
            lev_framing_next_line(f);
        return 0;
    }
    if (byte == '\0')
        return -1;
    if (f->which < 0) {
        if (!(f->column == 0 && f->is_bare_cr))
            f->state = LEV_AT_OTHER;
        f->column++;
        return 0;
    }
    name = lev_framing_names[f->which] + f->column++;
    if (*name == '\0' && byte == ':')
        f->state = LEV_AT_VALUE;
    else if (lev_lower(byte) != *name)
        f->state = LEV_AT_OTHER;
    return 0;
}

static void lev_framing_value(struct lev_framing *f, char byte)
{
    if (f->is_trailer)
        f->state = LEV_AT_OTHER;
    else if (f->which == LEV_NAME_ENCODING)
        f->is_chunked = 1;
    else if (f->which == LEV_NAME_UPGRADE)
        f->upgrades = 1;
    else if (byte >= '0' && byte <= '9' && f->left < LEV_MUCH)
        f->left = f->left * 10 + (uint64_t)(byte - '0');
    if (f->which != LEV_NAME_LENGTH)
        f->state = LEV_AT_OTHER;
}

static int lev_framing_size(struct lev_framing *f, char byte)
{
    char digit = lev_lower(byte);

    if (f->state == LEV_AT_SIZE_END) {
        if (byte != '\n')
            return -1;
        lev_framing_after_size(f);
        return 0;
    }
    if (byte == '\r' && f->column > 0) {
        f->state = LEV_AT_SIZE_END;
        return 0;
    }
    if (!((digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f')))
        return -1;
    if (f->left < LEV_MUCH)
        f->left = f->left * 16 + (uint64_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    f->column = 1;
    return 0;
}

/* How many of these bytes belong to the body, or to its chunk; whatever they are. */
static size_t lev_framing_skip(struct lev_framing *f, size_t size)
{
    if (f->state != LEV_AT_BODY && f->state != LEV_AT_CHUNK)
        return 0;
    if (size > f->left)
        size = (size_t)f->left;
    f->left -= size;
    if (f->left == 0 && f->state == LEV_AT_BODY)
        lev_framing_is_whole(f);
    else if (f->left == 0)
        f->state = LEV_AT_CHUNK_CR;
    return size;
}

static int lev_framing_chunk_end(struct lev_framing *f, char byte)
{
    if (byte != (f->state == LEV_AT_CHUNK_CR ? '\r' : '\n'))
        return -1;
    f->state = f->state == LEV_AT_CHUNK_CR ? LEV_AT_CHUNK_LF : LEV_AT_SIZE;
    f->column = 0;
    return 0;
}

/* Go on with what has come; NULL: all is well, else where it is malformed. */
static const char *lev_framing_follow(struct lev_framing *f, const char *at, const char *end)
{
    const char *next;
    int result;

    for (; at < end; at = next) {
        result = 0;
        next = at + 1;
        switch (f->state) {
        case LEV_AT_STOP:
            return NULL;
        case LEV_AT_VALUE:
            if (*at != '\0' && *at != '\n') {
                lev_framing_value(f, *at);
                break;
            }
            /* fall through */
        case LEV_AT_LINE:
        case LEV_AT_OTHER:
            next = lev_framing_skip_line(f, at, end);
            if (next == NULL)
                return lev_find(at, end, '\0');
            break;
        case LEV_AT_NAME:
            result = lev_framing_name(f, *at);
            break;
        case LEV_AT_BODY:
        case LEV_AT_CHUNK:
            next = at + lev_framing_skip(f, (size_t)(end - at));
            break;
        case LEV_AT_SIZE:
        case LEV_AT_SIZE_END:
            result = lev_framing_size(f, *at);
            break;
        default:
            result = lev_framing_chunk_end(f, *at);
        }
        if (result < 0)
            return at;
    }
    return NULL;
}

/* Have what comes from there on be an end of the line that evhttp refuses in any place, and nothing else. */
static void lev_framing_cut(struct evbuffer *input, size_t at)
{
    static const char end[] = "\rz\r\nz\r\n";       /* the second for a folded line, which may end so */
    struct evbuffer *good = evbuffer_new();

    if (good != NULL)
        evbuffer_remove_buffer(input, good, at);
    evbuffer_drain(input, evbuffer_get_length(input));
    if (good != NULL) {
        evbuffer_add_buffer(input, good);
        evbuffer_free(good);
    }
    if (evbuffer_add(input, end, sizeof(end) - 1) == 0)
        return;
    evbuffer_unfreeze(input, 0);        /* a socket's is, but while that is read (bufferevent_sock.c) */
    evbuffer_add(input, end, sizeof(end) - 1);
    evbuffer_freeze(input, 0);
}

/*
 * Follow the input from there on.  What belongs to a body is not looked for: evhttp may keep all of it there, and each
 * search would go through all its pieces.
 */
static void lev_framing_read(struct lev_framing *f, struct evbuffer *input, size_t from)
{
    struct evbuffer_iovec parts[4];
    struct evbuffer_ptr place;
    const char *first, *bad;
    size_t at = from;
    int i, count;

    at += lev_framing_skip(f, evbuffer_get_length(input) - at);
    while (f->state != LEV_AT_STOP && at < evbuffer_get_length(input)) {
        if (evbuffer_ptr_set(input, &place, at, EVBUFFER_PTR_SET) != 0)
            return;
        count = evbuffer_peek(input, -1, &place, parts, 4);
        for (i = 0; i < count && i < 4; i++) {
            first = parts[i].iov_base;
            bad = lev_framing_follow(f, first, first + parts[i].iov_len);
            if (bad != NULL) {
                f->state = LEV_AT_STOP;         /* the next calls of this do nothing */
                f->was_cut = 1;
                lev_framing_cut(input, at + (size_t)(bad - first));
                return;
            }
            at += parts[i].iov_len;
        }
    }
}

/*
 * What ends with a chunk's last byte is moved to the body with the memory that it was read to, 1 KiB at least
 * (buffer.c:evbuffer_remove_buffer): a thousand times a body that comes byte by byte.  So evhttp is not called for the
 * last bytes of a chunk before the end of the line is there too.
 */
static void lev_sconn_hold_back(struct lev_sconn *c, struct evbuffer *input)
{
    struct lev_framing *f = &c->framing;
    uint64_t missing = f->state == LEV_AT_CHUNK ? f->left + 2 : f->state == LEV_AT_CHUNK_CR ? 2
        : f->state == LEV_AT_CHUNK_LF ? 1 : 0;

    c->bev->wm_read.low = missing > 0 && missing <= LEV_SMALL_CHUNK ? evbuffer_get_length(input) + missing : 0;
}

static void lev_on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct lev_sconn *c = arg;

    if (info->n_added == 0)
        return;
    c->received += info->n_added;
    lev_refused_read_line(c);
    lev_framing_read(&c->framing, input, evbuffer_get_length(input) - info->n_added);
    lev_sconn_hold_back(c, input);
}

static void lev_sconn_follow(struct lev_sconn *c)
{
    c->follower = evbuffer_add_cb(bufferevent_get_input(c->bev), lev_on_input, c);
}

static void lev_sconn_unfollow(struct lev_sconn *c)
{
    if (c->follower != NULL) {
        evbuffer_remove_cb_entry(bufferevent_get_input(c->bev), c->follower);
        c->bev->wm_read.low = 0;
    }
    c->follower = NULL;
    c->framing.wholes = 0;
}

/* The answer to a request that offered to speak something else is complete, and that was not accepted. */
static void lev_sconn_follow_again(struct lev_sconn *c)
{
    if (c->framing.state == LEV_AT_STOP && !c->framing.was_cut) {
        c->framing.state = LEV_AT_LINE;
        lev_framing_read(&c->framing, bufferevent_get_input(c->bev), 0);
    }
}
