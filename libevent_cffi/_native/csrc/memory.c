/*
 * Memory: the allocator of libevent and of our own C, which counts what is alive.
 *
 * Blocks carry no header of ours: a block that malloc() made may be given to lev_free(), and one of
 * lev_malloc() to free().  Both happen: event_set_mem_functions() may come after another user of libevent in
 * this process has allocated, and 2.1 ends a block of mm_strdup() with free()
 * (evutil.c:evutil_inet_pton_scope).
 *
 * The file comes first of ours, so it also holds what the others share: atomics, and the global marks.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__APPLE__)
#include <malloc/malloc.h>
#define LEV_BLOCK_SIZE(p) malloc_size(p)
#elif defined(_WIN32)
#include <malloc.h>
#define LEV_BLOCK_SIZE(p) _msize(p)
#elif defined(__FreeBSD__)
#include <malloc_np.h>
#define LEV_BLOCK_SIZE(p) malloc_usable_size(p)
#elif defined(__linux__) || defined(__DragonFly__)
#include <malloc.h>
#define LEV_BLOCK_SIZE(p) malloc_usable_size(p)
#else
#define LEV_BLOCK_SIZE(p) ((size_t)0)   /* only blocks are counted there */
#endif

/* Atomics on long and on pointers, so that one spelling serves gcc, clang and MSVC. ADD gives the new value. */
#if defined(_MSC_VER)
#include <intrin.h>
#define LEV_LOAD(p) _InterlockedOr((p), 0)
#define LEV_STORE(p, v) ((void)_InterlockedExchange((p), (v)))
#define LEV_SWAP(p, v) _InterlockedExchange((p), (v))
#define LEV_OR(p, v) ((void)_InterlockedOr((p), (v)))
#define LEV_ADD(p, v) (_InterlockedExchangeAdd((p), (v)) + (v))
#define LEV_RELAXED(p) (*(volatile long *)(p))
#define LEV_COUNT(p, v) LEV_ADD(p, v)
static int lev_cas(long *p, long *old, long new_value)
{
    long seen = _InterlockedCompareExchange(p, new_value, *old);
    int swapped = seen == *old;
    *old = seen;
    return swapped;
}
#define LEV_CAS(p, old, v) lev_cas((p), (old), (v))
static int lev_cas_pointer(void *volatile *p, void **old, void *new_value)
{
    void *seen = _InterlockedCompareExchangePointer(p, new_value, *old);
    int swapped = seen == *old;
    *old = seen;
    return swapped;
}
#define LEV_LOAD_POINTER(p) (*(p))
#define LEV_SWAP_POINTER(p, v) _InterlockedExchangePointer((void *volatile *)(p), (v))
#define LEV_CAS_POINTER(p, old, v) lev_cas_pointer((void *volatile *)(p), (void **)(old), (v))
#else
#define LEV_LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define LEV_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define LEV_SWAP(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define LEV_OR(p, v) ((void)__atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL))
#define LEV_ADD(p, v) __atomic_add_fetch((p), (v), __ATOMIC_ACQ_REL)
#define LEV_RELAXED(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define LEV_COUNT(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
#define LEV_CAS(p, old, v) \
    __atomic_compare_exchange_n((p), (old), (v), 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)
#define LEV_LOAD_POINTER(p) LEV_LOAD(p)
#define LEV_SWAP_POINTER(p, v) LEV_SWAP(p, v)
#define LEV_CAS_POINTER(p, old, v) LEV_CAS(p, old, v)
#endif

/* What start-up has done; they live here because C stays when Python's modules are imported anew. */
static long lev_started = 0;
static long lev_threads_on = 0;
static long lev_debug_mode_on = 0;
static long lev_lock_debugging_on = 0;
/* Set once a base or a buffer was made: libevent's debug modes come too late then. */
static long lev_used = 0;
/* Open objects; libevent_global_shutdown() has to wait for 0. */
static long lev_live_objects = 0;
/* Set by global_shutdown(): nothing may be made any more. */
static long lev_shut_down = 0;

static long lev_blocks = 0;
static long lev_bytes = 0;
static long lev_peak_bytes = 0;
/* How many allocations from now the one that fails is; 0 and less: none. */
static long lev_failing_in = -1;

static void lev_count_bytes(long change)
{
    long now = LEV_COUNT(&lev_bytes, change);
    long peak = LEV_RELAXED(&lev_peak_bytes);

    while (now > peak && !LEV_CAS(&lev_peak_bytes, &peak, now))
        ;
}

static int lev_allocation_fails(void)
{
    if (LEV_RELAXED(&lev_failing_in) <= 0 || LEV_COUNT(&lev_failing_in, -1) != 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

static void *lev_counted(void *block)
{
    if (block != NULL) {
        LEV_COUNT(&lev_blocks, 1);
        lev_count_bytes((long)LEV_BLOCK_SIZE(block));
    }
    return block;
}

static void *lev_malloc(size_t size)
{
    return lev_allocation_fails() ? NULL : lev_counted(malloc(size ? size : 1));
}

static void *lev_calloc(size_t count, size_t size)
{
    return lev_allocation_fails() ? NULL : lev_counted(calloc(count ? count : 1, size ? size : 1));
}

static void lev_free(void *block)
{
    int saved = errno;

    if (block == NULL)
        return;
    LEV_COUNT(&lev_blocks, -1);
    lev_count_bytes(-(long)LEV_BLOCK_SIZE(block));
    free(block);
    errno = saved;
}

static void *lev_realloc(void *block, size_t size)
{
    long before;
    void *moved;

    if (block == NULL)
        return lev_malloc(size);
    if (size == 0) {            /* event.h asks that it acts as free() */
        lev_free(block);
        return NULL;
    }
    if (lev_allocation_fails())
        return NULL;
    before = (long)LEV_BLOCK_SIZE(block);
    moved = realloc(block, size);
    if (moved != NULL)
        lev_count_bytes((long)LEV_BLOCK_SIZE(moved) - before);
    return moved;
}

/* Have libevent allocate through us; 0 where it was built without the hook. */
static int lev_memory_install(void)
{
#ifdef EVENT_SET_MEM_FUNCTIONS_IMPLEMENTED
    event_set_mem_functions(lev_malloc, lev_realloc, lev_free);
    return 1;
#else
    return 0;
#endif
}

static long lev_memory_blocks(void)
{
    return LEV_RELAXED(&lev_blocks);
}

static long lev_memory_bytes(void)
{
    return LEV_RELAXED(&lev_bytes);
}

static long lev_memory_peak(void)
{
    return LEV_RELAXED(&lev_peak_bytes);
}

/* For tests: the n-th allocation from now fails, once; -1 calls it off. */
static void lev_memory_fail_after(long n)
{
    LEV_STORE(&lev_failing_in, n);
}
