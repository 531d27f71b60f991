/*
 * Parts of files in buffers.
 *
 * Where a buffer is written to a socket by libevent, a file stays a file, and sendfile() sends it.  Elsewhere its
 * bytes are read when it is added, into a block that all buffers share: never mapped, since a file that is cut
 * short under a mapping ends the process, and not by libevent, which moves the position of the descriptor
 * (buffer.c:evbuffer_file_segment_materialize).
 */

#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

struct lev_file {
    long refs;                  /* to this struct: Python's, and one for all users */
    long users;                 /* chains, and one while it is open */
    long closed;
    int fd;
    int64_t offset, length;
    char *data;                 /* a block, once it was read */
    struct lev_ref *ref;        /* Python wants to hear when the last user is gone; or NULL */
};

/* For ffi.new_allocator(), so that no interrupt can lose one. */
static void *lev_file_alloc(size_t size)
{
    struct lev_file *file = lev_calloc(1, size);

    if (file != NULL)
        file->refs = file->closed = 1;
    return file;
}

static int lev_copy_fd(int fd)
{
#ifdef _WIN32
    return _dup(fd);
#else
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
#endif
}

/* Open it, on a copy of the descriptor.  A token of 0 is none. */
static int lev_file_open(struct lev_file *file, int fd, int64_t offset, int64_t length, int64_t token)
{
    struct lev_ref *ref = token != 0 ? lev_ref_new(token) : NULL;

    if (token != 0 && ref == NULL)
        return LEV_NO_MEMORY;
    file->fd = lev_copy_fd(fd);
    if (file->fd < 0) {
        lev_free(ref);
        return LEV_ERRNO;
    }
    file->ref = ref;
    file->offset = offset;
    file->length = length;
    file->users = 1;
    file->refs = 2;
    file->closed = 0;
    return 0;
}

static void lev_file_unref(struct lev_file *file)
{
    if (LEV_ADD(&file->refs, -1) == 0)
        lev_free(file);
}

static void lev_file_leave(struct lev_file *file)
{
    if (LEV_ADD(&file->users, -1) != 0)
        return;
    close(file->fd);
    if (file->data != NULL)
        lev_block_unref(file->data);
    if (file->ref != NULL)
        lev_ref_release(file->ref);
    lev_file_unref(file);
}

/* Become one more user, unless it was closed. */
static int lev_file_use(struct lev_file *file)
{
    long users = LEV_LOAD(&file->users);

    while (users > 0 && !LEV_LOAD(&file->closed))
        if (LEV_CAS(&file->users, &users, users + 1))
            return 0;
    return LEV_CLOSED;
}

static void lev_file_close(struct lev_file *file)
{
    lev_will_ask = 1;
    if (LEV_SWAP(&file->closed, 1) == 0)
        lev_file_leave(file);
    lev_will_ask = 0;
}

/* Python's object is gone. */
static void lev_file_drop(void *memory)
{
    struct lev_file *file = memory;

    if (LEV_SWAP(&file->closed, 1) == 0)
        lev_file_leave(file);
    lev_file_unref(file);
}

static void lev_on_file_gone(const void *data, size_t size, void *arg)
{
    (void)data;
    (void)size;
    lev_file_leave(arg);
}

static void lev_on_segment_gone(const struct evbuffer_file_segment *segment, int flags, void *arg)
{
    (void)segment;
    (void)flags;
    lev_file_leave(arg);
}

static long lev_read_at(int fd, char *target, size_t size, int64_t offset)
{
    if (size > 1 << 30)
        size = 1 << 30;
#ifdef _WIN32
    if (_lseeki64(fd, offset, SEEK_SET) < 0)
        return -1;
    return _read(fd, target, (unsigned)size);
#else
    return (long)pread(fd, target, size, (off_t)offset);
#endif
}

static int lev_file_fill(struct lev_file *file, char *data)
{
    int64_t done = 0;
    long count;

    while (done < file->length) {
        count = lev_read_at(file->fd, data + done, (size_t)(file->length - done), file->offset + done);
        if (count == 0)
            return LEV_CUT_SHORT;
        if (count < 0 && errno != EINTR)
            return LEV_ERRNO;
        done += count > 0 ? count : 0;
    }
    return 0;
}

/* Read it, once; two threads may do it at the same time, and the first one wins. */
static int lev_file_load(struct lev_file *file)
{
    char *data, *none = NULL;
    int result;

    if (LEV_LOAD_POINTER(&file->data) != NULL)
        return 0;
    data = lev_block_new((size_t)file->length);
    if (data == NULL)
        return LEV_NO_MEMORY;
    result = lev_file_fill(file, data);
    if (result != 0 || !LEV_CAS_POINTER(&file->data, &none, data)) {
        int saved = errno;
        lev_block_unref(data);
        errno = saved;
    }
    return result;
}

/*
 * Add a chain that stands for the file.  The segment belongs to this one chain: libevent's own way of having
 * several drops one reference too many when it fails (buffer.c:evbuffer_add_file_segment).
 */
static int lev_add_segment(struct lev_buffer *b, struct lev_file *file, int64_t offset, int64_t length)
{
    struct evbuffer_file_segment *segment = evbuffer_file_segment_new(
        file->fd, (ev_off_t)(file->offset + offset), (ev_off_t)length, EVBUF_FS_DISABLE_MMAP);

    if (segment == NULL) {
        lev_file_leave(file);
        return LEV_NO_MEMORY;
    }
    evbuffer_file_segment_add_cleanup_cb(segment, lev_on_segment_gone, file);
    if (evbuffer_add_file_segment(b->eb, segment, 0, (ev_off_t)length) != 0)
        return LEV_NO_MEMORY;           /* libevent has dropped the segment */
    evbuffer_file_segment_free(segment);
    b->holds_file = b->lent_end = 1;
    b->behind_file = 0;
    return 0;
}

static int lev_add_file(struct lev_buffer *b, struct lev_file *file, int64_t offset, int64_t length, int sendfile)
{
    int result = lev_file_use(file);

    if (result != 0)
        return result;
    if (sendfile && b->sends_files)
        return lev_add_segment(b, file, offset, length);
    if (file->data != NULL
        && evbuffer_add_reference(b->eb, file->data + offset, (size_t)length, lev_on_file_gone, file) == 0) {
        b->lent_end = 1;
        return lev_added(b, (size_t)length);
    }
    result = file->data != NULL ? lev_buffer_refusal() : LEV_COPY;
    lev_file_leave(file);
    return result;
}

/* LEV_COPY: lev_file_load() has to come first, which may take its time and so is not done in here. */
static int lev_buffer_add_file(struct lev_buffer *b, struct lev_file *file, int64_t offset, int64_t length,
    int sendfile)
{
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    if (lev_end_is_frozen(b))
        result = LEV_FROZEN;
    else                                /* an empty chain is not written, and so never gone */
        result = length > 0 ? lev_add_file(b, file, offset, length, sendfile) : 0;
    lev_buffer_leave(b, entered);
    return result;
}

static int lev_file_load_open(struct lev_file *file)
{
    int result = lev_file_use(file);

    if (result != 0)
        return result;
    result = lev_file_load(file);
    lev_file_leave(file);
    return result;
}
