/* HTTP servers: requests that evhttp takes, and nobody should.  See http_framing.c for what comes before. */

/* Does evhttp read a body with this method (http.c:evhttp_method_may_have_body)? */
static int lev_method_has_body(int type)
{
    switch (type) {
    case EVHTTP_REQ_GET:
    case EVHTTP_REQ_POST:
    case EVHTTP_REQ_PUT:
    case EVHTTP_REQ_DELETE:
    case EVHTTP_REQ_OPTIONS:
    case EVHTTP_REQ_CONNECT:
    case EVHTTP_REQ_PATCH:
        return 1;
    default:
        if (lev_ext_index(type) >= 0)
            return lev_ext_methods[lev_ext_index(type)].has_body;
#if LIBEVENT_VERSION_NUMBER >= 0x02020000
        return type >= EVHTTP_REQ_PROPFIND && type <= EVHTTP_REQ_MOVE;
#else
        return 0;
#endif
    }
}

static int lev_is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    const char *p;

    for (p = text; *p != '\0'; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')
                || strchr(others, *p) != NULL))
            return 0;
    return p != text;
}

/* evhttp has them in targets, and in values that go on in a second line. */
static int lev_has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
            return 1;
    return 0;
}

static int lev_is_length(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits > 0 && digits < 19 && text[digits] == '\0';
}

/*
 * Is it certain where the request ends?  evhttp takes the first of several lengths, a length beside chunks, and no
 * body at all with some methods: what is left of the body would be the next request, for whoever put it there.
 */
static int lev_is_framed(struct evhttp_request *req)
{
    const struct evkeyval *header;
    int lengths = 0, encodings = 0, hosts = 0, has_body = 0;

    if (req->uri != NULL && lev_has_control(req->uri))
        return 0;
    for (header = req->input_headers->tqh_first; header != NULL; header = header->next.tqe_next) {
        if (!lev_is_token(header->key) || lev_has_control(header->value))
            return 0;
        if (evutil_ascii_strcasecmp(header->key, "Content-Length") == 0) {
            lengths++;
            has_body |= strspn(header->value, "0") != strlen(header->value);
            if (!lev_is_length(header->value))
                return 0;
        } else if (evutil_ascii_strcasecmp(header->key, "Transfer-Encoding") == 0) {
            encodings++;
            has_body = 1;
            if (evutil_ascii_strcasecmp(header->value, "chunked") != 0)
                return 0;
        } else if (evutil_ascii_strcasecmp(header->key, "Host") == 0)
            hosts++;
    }
    if (lengths + encodings > 1 || hosts > 1 || (encodings && req->minor < 1))
        return 0;
    return !has_body || lev_method_has_body(req->type);
}
