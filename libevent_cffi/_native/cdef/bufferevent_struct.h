/* event2/bufferevent_struct.h; struct bufferevent stays opaque: it has accessors, and its layout changes */

struct event_watermark {
    size_t low;
    size_t high;
};
