/*
 * Messages and the end: what libevent says, and what happens when it gives up.
 *
 * libevent calls its log callback on any thread, under the base's lock, and from inside a signal handler.
 * Nothing may be allocated, locked or waited for there, and Python may not run.  So a message goes into a
 * ring of fixed slots (the bounded queue of D. Vyukov: any number of writers and readers, one sequence number
 * per slot), and Python reads the ring out later, from logs.py.
 *
 * The fatal callback must not return either: libevent would call exit() and so skip Python's end
 * (log.c:event_exit).  It writes what is known to descriptor 2 and aborts.
 */

#include <signal.h>
#include <stdio.h>
#ifdef _WIN32
#include <io.h>
#define lev_write_fd(text, size) _write(2, (text), (unsigned)(size))
#else
#include <unistd.h>
#define lev_write_fd(text, size) write(2, (text), (size))
#endif

#define LEV_LOG_SLOTS 512               /* a power of two */
#define LEV_LOG_TEXT 1024               /* libevent's own limit (log.c:event_logv_) */
#define LEV_LOG_SHOWN 16                /* how many messages a fatal error repeats */

enum { LEV_LOG_LIBEVENT = 0, LEV_LOG_DNS = 1 };

struct lev_log_slot {
    long turn;              /* == position: free for it; == position + 1: holds its message */
    int level;
    int source;
    char text[LEV_LOG_TEXT];
};

static struct lev_log_slot lev_log_ring[LEV_LOG_SLOTS];
static long lev_log_tail = 0;           /* the next position to write */
static long lev_log_head = 0;           /* the next position to read */
static long lev_log_dropped = 0;
static long lev_log_debugging = 0;
/* How many messages wait; an event shim tests it to know whether logs.drain() has work. */
static long lev_log_pending = 0;
/* How often a name server was found not to answer: all of them, and those whose addresses share a place. */
static long lev_dns_failures = 0;
#define LEV_DNS_PLACES 64               /* a power of two */
static long lev_dns_failures_at[LEV_DNS_PLACES];

/* The message that came with EVENT_LOG_ERR: kept apart because the ring may be full just then. */
static char lev_fatal_reason[LEV_LOG_TEXT];
#ifndef _WIN32
static int lev_fatal_signal = 0;        /* 0: there is no way to Python's stack */
static struct sigaction lev_fatal_action;
#endif

/* -- the ring -------------------------------------------------------------------------------------------- */

/* Positions count without end and wrap around; a difference is right as long as it is taken unsigned. */
static long lev_distance(long a, long b)
{
    return (long)((unsigned long)a - (unsigned long)b);
}

static long lev_plus(long a, long b)
{
    return (long)((unsigned long)a + (unsigned long)b);
}

static void lev_copy_text(char *to, const char *from, size_t size)
{
    size_t i;

    for (i = 0; i + 1 < size && from[i] != '\0'; i++)
        to[i] = from[i];
    to[i] = '\0';
}

static struct lev_log_slot *lev_log_slot_at(long position)
{
    return &lev_log_ring[(unsigned long)position & (LEV_LOG_SLOTS - 1)];
}

static void lev_log_put(int level, int source, const char *text)
{
    struct lev_log_slot *slot;
    long position = LEV_RELAXED(&lev_log_tail);

    for (;;) {
        long ahead;
        slot = lev_log_slot_at(position);
        ahead = lev_distance(LEV_LOAD(&slot->turn), position);
        if (ahead < 0) {
            LEV_ADD(&lev_log_dropped, 1);
            return;
        }
        if (ahead > 0)
            position = LEV_RELAXED(&lev_log_tail);
        else if (LEV_CAS(&lev_log_tail, &position, lev_plus(position, 1)))
            break;
    }
    slot->level = level;
    slot->source = source;
    lev_copy_text(slot->text, text, sizeof(slot->text));
    LEV_STORE(&slot->turn, lev_plus(position, 1));
    LEV_ADD(&lev_log_pending, 1);
}

/* Copy out the oldest message and give its length; -1 when there is none. */
static int lev_log_take(char *text, size_t size, int *level, int *source)
{
    struct lev_log_slot *slot;
    long position = LEV_RELAXED(&lev_log_head);

    for (;;) {
        long ahead;
        slot = lev_log_slot_at(position);
        ahead = lev_distance(LEV_LOAD(&slot->turn), lev_plus(position, 1));
        if (ahead < 0)
            return -1;
        if (ahead > 0)
            position = LEV_RELAXED(&lev_log_head);
        else if (LEV_CAS(&lev_log_head, &position, lev_plus(position, 1)))
            break;
    }
    lev_copy_text(text, slot->text, size);
    *level = slot->level;
    *source = slot->source;
    LEV_STORE(&slot->turn, lev_plus(position, LEV_LOG_SLOTS));
    LEV_ADD(&lev_log_pending, -1);
    return (int)strlen(text);
}

/* How many messages found the ring full since the last call. */
static long lev_log_take_dropped(void)
{
    return LEV_RELAXED(&lev_log_dropped) == 0 ? 0 : LEV_SWAP(&lev_log_dropped, 0);
}

/* Empty the ring: at the start, and in a forked child, where no writer finishes a slot it had begun. */
static void lev_log_reset(void)
{
    long i;

    for (i = 0; i < LEV_LOG_SLOTS; i++)
        lev_log_ring[i].turn = i;
    lev_log_tail = lev_log_head = lev_log_dropped = lev_log_pending = 0;
}

/* -- what libevent calls --------------------------------------------------------------------------------- */

static void lev_log_callback(int level, const char *text)
{
    if (level == EVENT_LOG_ERR)
        lev_copy_text(lev_fatal_reason, text, sizeof(lev_fatal_reason));
    lev_log_put(level, LEV_LOG_LIBEVENT, text);
}

/* The place of a name server whose address begins *text*, up to a blank or its end. */
static unsigned lev_dns_place(const char *text)
{
    unsigned sum = 0;

    for (; *text != '\0' && *text != ' '; text++)
        sum = sum * 31 + (unsigned char)*text;
    return (sum ^ sum >> 8) & (LEV_DNS_PLACES - 1);
}

/*
 * evdns tells only whether a message is a warning, and gives its debug messages even when debug logging is
 * off (evdns.c:evdns_log_).  The other informative ones are known by how they begin (nameserver_failed,
 * nameserver_up).
 */
static void lev_log_dns_callback(int is_warning, const char *text)
{
    int level = EVENT_LOG_DEBUG;

    if (is_warning)
        level = EVENT_LOG_WARN;
    else if (strncmp(text, "Nameserver ", 11) == 0 || strncmp(text, "All nameservers", 15) == 0) {
        level = EVENT_LOG_MSG;
        if (strstr(text, " has failed:") != NULL) {
            LEV_ADD(&lev_dns_failures_at[lev_dns_place(text + 11)], 1);
            LEV_ADD(&lev_dns_failures, 1);
        }
    }
    else if (!LEV_RELAXED(&lev_log_debugging))
        return;
    lev_log_put(level, LEV_LOG_DNS, text);
}

static void lev_log_set_debug(int on)
{
    LEV_STORE(&lev_log_debugging, on != 0);
    event_enable_debug_logging(on ? EVENT_DBG_ALL : EVENT_DBG_NONE);
}

/* -- the end --------------------------------------------------------------------------------------------- */

static void lev_write(const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        long written = (long)lev_write_fd(text, left);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        text += written;
        left -= (size_t)written;
    }
}

/* The newest messages, read or not, without the last one when it is the reason itself. */
static void lev_write_messages(void)
{
    long end = LEV_RELAXED(&lev_log_tail);
    long count = lev_distance(end, 0) < LEV_LOG_SHOWN ? lev_distance(end, 0) : LEV_LOG_SHOWN;
    long i;

    for (i = count; i > 0; i--) {
        long position = lev_plus(end, -i);
        struct lev_log_slot *slot = lev_log_slot_at(position);
        long age = lev_distance(LEV_LOAD(&slot->turn), position);
        if ((age != 1 && age != LEV_LOG_SLOTS) || strcmp(slot->text, lev_fatal_reason) == 0)
            continue;
        lev_write("  before: ");
        lev_write(slot->text);
        lev_write("\n");
    }
}

/* By raising the signal, not by calling the handler: PyPy's needs the context that the kernel hands it. */
static void lev_write_stack(void)
{
#ifndef _WIN32
    sigset_t only;

    if (lev_fatal_signal == 0 || sigaction(lev_fatal_signal, &lev_fatal_action, NULL) != 0)
        return;
    sigemptyset(&only);
    sigaddset(&only, lev_fatal_signal);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    raise(lev_fatal_signal);
#endif
}

static void lev_fatal(int code)
{
    (void)code;
    lev_write("Fatal error in libevent: ");
    lev_write(lev_fatal_reason[0] != '\0' ? lev_fatal_reason : "no reason was given");
    lev_write("\n");
    lev_write_messages();
    lev_write_stack();
    abort();
}

/*
 * Python's stack can be written without Python's C API: faulthandler.register() installs a C handler that
 * does it.  lev_fatal_pick() names a signal that nobody uses, Python registers that, and lev_fatal_capture()
 * keeps the handler for later and puts the signal back to what it was; faulthandler's own record of it stays.
 */
#ifndef _WIN32
static int lev_signal_is_free(int number)
{
    struct sigaction now;

    return sigaction(number, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL;
}
#endif

static int lev_fatal_pick(void)
{
#ifdef _WIN32
    return 0;
#else
#if defined(SIGRTMIN) && defined(SIGRTMAX)
    int number;
    for (number = SIGRTMAX; number > SIGRTMIN; number--)
        if (lev_signal_is_free(number))
            return number;
#endif
    return lev_signal_is_free(SIGSYS) ? SIGSYS : 0;
#endif
}

static int lev_fatal_capture(int number)
{
#ifdef _WIN32
    (void)number;
    return 0;
#else
    struct sigaction standard, installed;

    memset(&standard, 0, sizeof(standard));
    standard.sa_handler = SIG_DFL;
    sigemptyset(&standard.sa_mask);
    if (sigaction(number, &standard, &installed) != 0)
        return 0;
    if (!(installed.sa_flags & SA_SIGINFO) && installed.sa_handler == SIG_DFL)
        return 0;
    lev_fatal_action = installed;
    lev_fatal_signal = number;
    return 1;
#endif
}

/* Before Python takes faulthandler down. */
static void lev_fatal_forget(void)
{
#ifndef _WIN32
    lev_fatal_signal = 0;
#endif
}

static void lev_log_install(void)
{
    lev_log_reset();
    event_set_log_callback(lev_log_callback);
    event_set_fatal_callback(lev_fatal);
    evdns_set_log_fn(lev_log_dns_callback);
}
