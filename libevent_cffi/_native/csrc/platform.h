/* What systems spell differently: a mutex, a thread's identity, a pair of descriptors to wake a loop with. */

#ifdef _WIN32
typedef CRITICAL_SECTION lev_mutex;
#define lev_mutex_init(m) InitializeCriticalSection(m)
#define lev_mutex_lock(m) EnterCriticalSection(m)
#define lev_mutex_unlock(m) LeaveCriticalSection(m)
#define LEV_THREAD_LOCAL __declspec(thread)
#define lev_yield() SwitchToThread()
#define lev_nap() Sleep(1)
#define lev_read_fd(fd, data, size) ((long)recv((fd), (data), (int)(size), 0))
#define lev_put_byte(fd, byte) ((long)send((fd), (byte), 1, 0))
#else
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#ifdef __APPLE__
#include <dispatch/dispatch.h>
#else
#include <semaphore.h>
#endif
#ifdef __linux__
#include <linux/filter.h>
#include <sys/epoll.h>
#endif
#include <sys/select.h>
#include <sys/stat.h>
#include <unistd.h>
typedef pthread_mutex_t lev_mutex;
#define lev_mutex_init(m) pthread_mutex_init((m), NULL)
#define lev_mutex_lock(m) pthread_mutex_lock(m)
#define lev_mutex_unlock(m) pthread_mutex_unlock(m)
#define LEV_THREAD_LOCAL __thread
#define lev_yield() sched_yield()
#define lev_nap() usleep(500)
#define lev_read_fd(fd, data, size) ((long)read((fd), (data), (size)))
#define lev_put_byte(fd, byte) ((long)write((fd), (byte), 1))
#endif

/* What a signal handler may wake a thread with. */
#ifdef __APPLE__
typedef dispatch_semaphore_t lev_semaphore;
#define lev_semaphore_init(s) ((*(s) = dispatch_semaphore_create(0)) != NULL ? 0 : -1)
#define lev_semaphore_post(s) ((void)dispatch_semaphore_signal(*(s)))
#define lev_semaphore_wait(s) ((void)dispatch_semaphore_wait(*(s), DISPATCH_TIME_FOREVER))
#elif !defined(_WIN32)
typedef sem_t lev_semaphore;
#define lev_semaphore_init(s) sem_init((s), 0, 0)
#define lev_semaphore_post(s) ((void)sem_post(s))
#define lev_semaphore_wait(s) ((void)sem_wait(s))
#endif

/* A number that no two living threads share: the address of a variable that each has of its own. */
#ifdef _WIN32
#define LEV_ME ((long)GetCurrentThreadId())
#else
static LEV_THREAD_LOCAL char lev_thread_mark;
#define LEV_ME ((long)(intptr_t)&lev_thread_mark)
#endif

/* Two descriptors, not blocking and not inherited; what is written to the second comes out of the first. */
static int lev_open_pair(evutil_socket_t pair[2])
{
    int i;

#ifdef _WIN32
    if (evutil_socketpair(AF_INET, SOCK_STREAM, 0, pair) != 0)
        return -1;
#else
    int fds[2];
#if defined(__linux__) || defined(__FreeBSD__)  /* at once, or a process that is started meanwhile has them too */
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0)
        return -1;
#else
    if (pipe(fds) != 0)
        return -1;
#endif
    pair[0] = fds[0];
    pair[1] = fds[1];
#endif
    for (i = 0; i < 2; i++) {
        evutil_make_socket_nonblocking(pair[i]);
        evutil_make_socket_closeonexec(pair[i]);
    }
    return 0;
}

static void lev_close_pair(evutil_socket_t pair[2])
{
    int i;

    for (i = 0; i < 2; i++) {
        if (pair[i] < 0)
            continue;
#ifdef _WIN32
        evutil_closesocket(pair[i]);
#else
        close(pair[i]);
#endif
        pair[i] = -1;
    }
}

static double lev_clock(void)
{
#ifdef _WIN32
    return (double)GetTickCount64() / 1e3;
#else
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
#endif
}

static void lev_to_timeval(double seconds, struct timeval *tv)
{
    int64_t microseconds = (int64_t)(seconds * 1e6 + 0.5);

    if (microseconds == 0 && seconds > 0)
        microseconds = 1;       /* 0 would mean "now" */
    tv->tv_sec = (lev_seconds_t)(microseconds / 1000000);
    tv->tv_usec = (lev_microseconds_t)(microseconds % 1000000);
}

#ifdef _WIN32
#define LEV_SHUT_WR SD_SEND
#else
#define LEV_SHUT_WR SHUT_WR
#endif
