/* HTTP methods that libevent does not know, which its 2.2 takes from us. */

#define LEV_EXT_METHODS 16
#define LEV_EXT_FIRST 16        /* its bit; those below are libevent's */

/* libevent asks by the name or the bit alone, whoever's connection it is: so there is one table for all. */
static struct {
    char name[32];
    int has_body;
} lev_ext_methods[LEV_EXT_METHODS];
static int lev_ext_count = 0;           /* never less; under lev_children_mutex */

/* The number of a method's bit, made if need be; -1: there is no more room, -2: it was said differently before. */
static int lev_http_method(const char *name, int has_body)
{
    int i, result = -1;

    lev_children_lock();
    for (i = 0; i < lev_ext_count && strcmp(lev_ext_methods[i].name, name) != 0; i++)
        continue;
    if (i < lev_ext_count)
        result = lev_ext_methods[i].has_body == has_body ? LEV_EXT_FIRST + i : -2;
    else if (i < LEV_EXT_METHODS && strlen(name) < sizeof(lev_ext_methods[i].name)) {
        strcpy(lev_ext_methods[i].name, name);
        lev_ext_methods[i].has_body = has_body;
        lev_ext_count++;
        result = LEV_EXT_FIRST + i;
    }
    lev_children_unlock();
    return result;
}

static int lev_ext_index(int type)
{
    int i;

    for (i = 0; i < lev_ext_count; i++)
        if ((unsigned)type == 1u << (LEV_EXT_FIRST + i))
            return i;
    return -1;
}

#ifdef LEV_HAVE_evhttp_set_ext_method_cmp
static int lev_on_ext_method(struct evhttp_ext_method *method)
{
    int i;

    if (method->method == NULL) {
        i = lev_ext_index((int)method->type);
        if (i < 0)
            return -1;
        method->method = lev_ext_methods[i].name;
        method->flags = lev_ext_methods[i].has_body ? EVHTTP_METHOD_HAS_BODY : 0;
        return 0;
    }
    for (i = 0; i < lev_ext_count; i++)
        if (strcmp(method->method, lev_ext_methods[i].name) == 0) {
            method->type = 1u << (LEV_EXT_FIRST + i);
            return 0;
        }
    return -1;
}
#endif
