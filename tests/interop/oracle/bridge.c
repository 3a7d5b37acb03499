/*
 * A test-only libthemis.so.0: glue, no cryptography.
 *
 * It has the four functions that pythemis' Secure Cell Seal calls and forwards each call, arguments and status
 * code unchanged, to the real Themis core in its WebAssembly build (core.js), over the unix socket that the
 * environment variable THEMIS_BRIDGE_SOCKET names. Themis cannot be installed from a package registry; this lets
 * the real pythemis meet the real core all the same.
 *
 * A failure of the glue must never look like a refusal of Themis, so it ends the process.
 */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ENCRYPT_KEY, DECRYPT_KEY, ENCRYPT_PASSPHRASE, DECRYPT_PASSPHRASE };

#define NULL_POINTER UINT32_MAX

static pthread_mutex_t one_call_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void give_up(const char *what)
{
    perror(what);
    abort();
}

static int connect_to_core(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("THEMIS_BRIDGE_SOCKET");
    if (!path || strlen(path) >= sizeof address.sun_path)
        give_up("THEMIS_BRIDGE_SOCKET");
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        give_up("connecting to the Themis core");
    return fd;
}

static void send_all(int fd, const void *data, size_t size)
{
    for (const char *at = data; size;) {
        ssize_t done = send(fd, at, size, MSG_NOSIGNAL);
        if (done <= 0)
            give_up("sending to the Themis core");
        at += done;
        size -= (size_t)done;
    }
}

static void receive_all(int fd, void *data, size_t size)
{
    for (char *at = data; size;) {
        ssize_t done = recv(fd, at, size, 0);
        if (done <= 0)
            give_up("receiving from the Themis core");
        at += done;
        size -= (size_t)done;
    }
}

struct bytes {
    const uint8_t *data;
    size_t size;
};

static int32_t forward(uint32_t function, struct bytes key, struct bytes context, struct bytes message,
                       uint8_t *result, size_t *result_size)
{
    static int fd = -1;
    uint32_t room = result ? (uint32_t)*result_size : NULL_POINTER;
    uint32_t call[5] = {function, (uint32_t)key.size, (uint32_t)context.size, (uint32_t)message.size, room};
    uint32_t answer[2];
    pthread_mutex_lock(&one_call_at_a_time);
    if (fd < 0)
        fd = connect_to_core();
    send_all(fd, call, sizeof call);
    send_all(fd, key.data, key.size);
    send_all(fd, context.data, context.size);
    send_all(fd, message.data, message.size);
    receive_all(fd, answer, sizeof answer);
    *result_size = answer[1];
    if (!answer[0] && result)
        receive_all(fd, result, answer[1]);
    pthread_mutex_unlock(&one_call_at_a_time);
    return (int32_t)answer[0];
}

#define FORWARD(name, function)                                                                              \
    int32_t name(const uint8_t *key, size_t key_size, const uint8_t *context, size_t context_size,           \
                 const uint8_t *message, size_t message_size, uint8_t *result, size_t *result_size)          \
    {                                                                                                        \
        return forward(function, (struct bytes){key, key_size}, (struct bytes){context, context_size},       \
                       (struct bytes){message, message_size}, result, result_size);                          \
    }

FORWARD(themis_secure_cell_encrypt_seal, ENCRYPT_KEY)
FORWARD(themis_secure_cell_decrypt_seal, DECRYPT_KEY)
FORWARD(themis_secure_cell_encrypt_seal_with_passphrase, ENCRYPT_PASSPHRASE)
FORWARD(themis_secure_cell_decrypt_seal_with_passphrase, DECRYPT_PASSPHRASE)
