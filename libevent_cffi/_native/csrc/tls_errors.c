/*
 * What OpenSSL complains of, in its own words.
 *
 * It keeps a queue of errors per thread, which every user of it in the process shares: so the queue is emptied
 * before each thing that is tried, and read within the same call into C, before anybody else can add to it.
 */

#define LEV_TLS_REASONS 6
#define LEV_TLS_TEXT 200

struct lev_tls_failure {
    int count;
    int needs_password;
    int dirty;                  /* the peer ended the connection without saying so */
    long verify_code;           /* X509_V_ERR_ of a certificate that was refused, or 0 */
    char verify_text[LEV_TLS_TEXT];
    char reasons[LEV_TLS_REASONS][LEV_TLS_TEXT];        /* the outermost first */
};

static void lev_tls_begin(struct lev_tls_failure *f)
{
    memset(f, 0, sizeof(*f));
    ERR_clear_error();
}

static void lev_tls_add_reason(struct lev_tls_failure *f, const char *text)
{
    int i;

    for (i = 0; i < f->count; i++)
        if (strcmp(f->reasons[i], text) == 0)
            return;
    if (f->count < LEV_TLS_REASONS)
        snprintf(f->reasons[f->count++], LEV_TLS_TEXT, "%s", text);
}

static void lev_tls_add_code(struct lev_tls_failure *f, unsigned long code)
{
    const char *text = ERR_reason_error_string(code);
    char whole[LEV_TLS_TEXT];

    if (code == 0)
        return;
    if (ERR_GET_LIB(code) == ERR_LIB_SYS)
        text = strerror(ERR_GET_REASON(code));
    if (text == NULL) {
        ERR_error_string_n(code, whole, sizeof(whole));
        text = whole;
    }
    lev_tls_add_reason(f, text);
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        f->dirty = 1;
#endif
}

/* Move the queue to f; -1, for the caller to return. */
static int lev_tls_failed(struct lev_tls_failure *f)
{
    unsigned long codes[LEV_TLS_REASONS], code;
    int count = 0;

    while ((code = ERR_get_error()) != 0)       /* the innermost comes first */
        if (count < LEV_TLS_REASONS)
            codes[count++] = code;
    while (count > 0)
        lev_tls_add_code(f, codes[--count]);
    return -1;
}

/* Did reading PEM stop because there is no more of it?  Then that is no error. */
static int lev_tls_is_at_end(void)
{
    unsigned long code = ERR_peek_last_error();

    if (code == 0 || (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE)) {
        ERR_clear_error();
        return 1;
    }
    return 0;
}
