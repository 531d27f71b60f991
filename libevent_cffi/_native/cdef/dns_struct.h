/* event2/dns_struct.h */

struct evdns_server_question {
    int type;
    int dns_question_class;
    char name[];
    ...;
};

struct evdns_server_request {
    int flags;
    int nquestions;
    struct evdns_server_question **questions;
};
