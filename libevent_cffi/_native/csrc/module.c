/* Our C in one translation unit, in the order in which the parts need each other. */
#include "headers.h"
#include "memory.c"
#include "log.c"
#include "sockopt.c"
