/* TLS over OpenSSL: a module of its own, so that programs without TLS load no libssl. */
#include "headers.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
struct lev_base { char known_to_the_other_module_only; };
