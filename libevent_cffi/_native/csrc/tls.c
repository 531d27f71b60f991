/* TLS over OpenSSL: a module of its own, so that programs without TLS load no libssl. */
#include "headers.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
/* Ours, known to the other module only. */
struct lev_base { char unknown; };
struct lev_child { char unknown; };
struct lev_listener { char unknown; };
struct lev_buffer { char unknown; };
