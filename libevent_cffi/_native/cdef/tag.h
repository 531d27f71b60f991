/* event2/tag.h */

void evtag_init(void);
int evtag_unmarshal_header(struct evbuffer *, ev_uint32_t *);

void evtag_marshal(struct evbuffer *, ev_uint32_t, const void *, ev_uint32_t);
void evtag_marshal_buffer(struct evbuffer *, ev_uint32_t, struct evbuffer *);

void evtag_encode_int(struct evbuffer *, ev_uint32_t);
void evtag_encode_int64(struct evbuffer *, ev_uint64_t);
void evtag_marshal_int(struct evbuffer *, ev_uint32_t, ev_uint32_t);
void evtag_marshal_int64(struct evbuffer *, ev_uint32_t, ev_uint64_t);
void evtag_marshal_string(struct evbuffer *, ev_uint32_t, const char *);
void evtag_marshal_timeval(struct evbuffer *, ev_uint32_t, struct timeval *);

int evtag_unmarshal(struct evbuffer *, ev_uint32_t *, struct evbuffer *);

int evtag_peek(struct evbuffer *, ev_uint32_t *);
int evtag_peek_length(struct evbuffer *, ev_uint32_t *);
int evtag_payload_length(struct evbuffer *, ev_uint32_t *);
int evtag_consume(struct evbuffer *);
int evtag_unmarshal_int(struct evbuffer *, ev_uint32_t, ev_uint32_t *);
int evtag_unmarshal_int64(struct evbuffer *, ev_uint32_t, ev_uint64_t *);
int evtag_unmarshal_fixed(struct evbuffer *, ev_uint32_t, void *, size_t);
int evtag_unmarshal_string(struct evbuffer *, ev_uint32_t, char **);
int evtag_unmarshal_timeval(struct evbuffer *, ev_uint32_t, struct timeval *);
