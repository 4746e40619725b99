/* A PKCS#11 module that misbehaves on demand, around a real one.
 *
 * SHIM_REAL names the real module. SHIM_ORDER names a file; while it exists, its one line says what goes wrong:
 *
 *     C_Sign segv           crash
 *     C_Login hang          never return
 *     C_Sign rv 80001234    fail with this code (hex) without doing anything
 *     C_Sign late 30        do it, then fail with this code
 *     C_Sign gone           the token is pulled out: this call and all later ones fail, no slot has a token
 *     C_GetTokenInfo flags 20000     these flags are set besides
 *     C_GenerateKeyPair leaky        the private key is made extractable, whatever was asked for
 *
 * With "once" at the end the file is removed when it strikes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long W; /* every argument and result of the interface is as wide as this */
typedef W (*call)(W, W, W, W, W, W, W, W);
typedef struct { unsigned char version[2]; call function[68]; } list;
typedef struct { W type; void *value; W length; } attribute;

static list real, mine;
static char gone[4096]; /* by whose order: the next test of this process has its own, and a token that is there */

static int order(const char *name, char *what, W *value)
{
    char said[64], once[8] = "";
    const char *path = getenv("SHIM_ORDER");
    FILE *file = path ? fopen(path, "r") : NULL;
    *value = 0;
    if (!file)
        return 0;
    int words = fscanf(file, "%63s %15s", said, what);
    if (fscanf(file, "%lx", value) == 0)
        *value = 0;
    if (fscanf(file, "%7s", once) != 1)
        once[0] = 0;
    fclose(file);
    if (words != 2 || strcmp(said, name))
        return 0;
    if (!strcmp(once, "once"))
        unlink(path);
    return 1;
}

static void leak(attribute *attributes, W count)
{
    for (W i = 0; i < count; i++) {
        if (attributes[i].type == 0x162) /* CKA_EXTRACTABLE */
            *(char *)attributes[i].value = 1;
        if (attributes[i].type == 0x103) /* CKA_SENSITIVE */
            *(char *)attributes[i].value = 0;
    }
}

static int is_gone(void)
{
    const char *order = getenv("SHIM_ORDER");
    return order && !strcmp(gone, order);
}

static W shim(const char *name, int number, W a, W b, W c, W d, W e, W f, W g, W h)
{
    char what[16];
    W value, result;
    if (is_gone() && number != 0)
        return 0x32; /* CKR_DEVICE_REMOVED */
    if (!order(name, what, &value))
        return real.function[number](a, b, c, d, e, f, g, h);
    if (!strcmp(what, "segv"))
        *(volatile int *)0 = 0;
    while (!strcmp(what, "hang"))
        sleep(1000);
    if (!strcmp(what, "rv"))
        return value;
    if (!strcmp(what, "gone")) {
        snprintf(gone, sizeof gone, "%s", getenv("SHIM_ORDER"));
        return 0x32;
    }
    if (!strcmp(what, "leaky"))
        leak((attribute *)e, f);
    result = real.function[number](a, b, c, d, e, f, g, h);
    if (!strcmp(what, "flags"))
        *(W *)((char *)b + 96) |= value;
    return !strcmp(what, "late") ? value : result;
}

#define SHIM(name, number) \
    static W name(W a, W b, W c, W d, W e, W f, W g, W h) { return shim(#name, number, a, b, c, d, e, f, g, h); }

SHIM(C_Initialize, 0)
SHIM(C_GetTokenInfo, 6)
SHIM(C_OpenSession, 12)
SHIM(C_Login, 18)
SHIM(C_CreateObject, 20)
SHIM(C_DestroyObject, 22)
SHIM(C_GetAttributeValue, 24)
SHIM(C_FindObjectsInit, 26)
SHIM(C_Decrypt, 34)
SHIM(C_Sign, 43)
SHIM(C_GenerateKeyPair, 59)

static W C_GetSlotList(W present, W slots, W count, W d, W e, W f, W g, W h)
{
    if (!is_gone())
        return real.function[4](present, slots, count, d, e, f, g, h);
    *(W *)count = 0;
    return 0;
}

W C_GetFunctionList(list **out)
{
    W (*get)(list **);
    list *found;
    if (!real.function[0]) {
        void *module = dlopen(getenv("SHIM_REAL"), RTLD_NOW | RTLD_LOCAL);
        if (!module)
            return 5;
        get = (W (*)(list **))dlsym(module, "C_GetFunctionList");
        if (get(&found))
            return 5;
        real = mine = *found;
        mine.function[0] = C_Initialize;
        mine.function[3] = (call)C_GetFunctionList;
        mine.function[4] = C_GetSlotList;
        mine.function[6] = C_GetTokenInfo;
        mine.function[12] = C_OpenSession;
        mine.function[18] = C_Login;
        mine.function[20] = C_CreateObject;
        mine.function[22] = C_DestroyObject;
        mine.function[24] = C_GetAttributeValue;
        mine.function[26] = C_FindObjectsInit;
        mine.function[34] = C_Decrypt;
        mine.function[43] = C_Sign;
        mine.function[59] = C_GenerateKeyPair;
    }
    *out = &mine;
    return 0;
}
