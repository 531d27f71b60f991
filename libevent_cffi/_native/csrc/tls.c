/* TLS over OpenSSL: a module of its own, so that programs without TLS load no libssl. */
#include "headers.h"
#include "bridge.h"
#ifdef __linux__
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#endif
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include "tls_errors.c"
#include "tls_context.c"
#include "tls_layer.c"
#include "tls_look.c"
