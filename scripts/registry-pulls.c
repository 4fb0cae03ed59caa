/* How many pulls a second a registry serves.
 *
 *   cc -O2 -o pulls scripts/registry-pulls.c
 *   ./pulls 127.0.0.1 5000 SECONDS CONNECTIONS PATH...
 *
 * Each connection asks for the paths one after the other, over and over, keep-alive, one request in flight; all of them once is a
 * pull. Bodies are thrown away by the kernel (MSG_TRUNC), so that the client costs little. One JSON object on standard output. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16 << 10, PATHS = 64 };

typedef struct {
    int fd, path;
    size_t have;    /* bytes of the head */
    long long left; /* bytes of the body that are to come; -1 while the head comes */
    char head[HEAD + 1];
} connection;

static char requests[PATHS][1024];
static int lengths[PATHS], paths;
static long pulls, bad;
static double bytes;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fire(connection *c) {
    c->have = 0;
    c->left = -1;
    if (send(c->fd, requests[c->path], lengths[c->path], MSG_NOSIGNAL) != lengths[c->path]) { perror("send"); exit(1); }
}

static void ended(connection *c) {
    c->path = (c->path + 1) % paths;
    if (c->path == 0) pulls++;
    fire(c);
}

static void readable(connection *c) {
    if (c->left >= 0) {
        ssize_t n = recv(c->fd, NULL, c->left, MSG_TRUNC | MSG_DONTWAIT);
        if (n == 0) { fprintf(stderr, "closed\n"); exit(1); }
        if (n < 0) return;
        bytes += n;
        if ((c->left -= n) == 0) ended(c);
        return;
    }
    ssize_t n = recv(c->fd, c->head + c->have, HEAD - c->have, MSG_DONTWAIT);
    if (n == 0) { fprintf(stderr, "closed\n"); exit(1); }
    if (n < 0) return;
    c->have += n;
    char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
    if (!end) return;
    size_t head = end - c->head + 4;
    *end = 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (c->head[9] != '2' || !length) bad++;
    c->left = (length ? atoll(length + 17) : 0) - (long long)(c->have - head);
    bytes += c->have;
    if (c->left <= 0) ended(c);
}

int main(int count, char **args) {
    if (count < 6) return 2;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(args[2]))};
    inet_pton(AF_INET, args[1], &at.sin_addr);
    double seconds = atof(args[3]);
    int connections = atoi(args[4]), poll = epoll_create1(0), one = 1;
    for (int i = 5; i < count && paths < PATHS; i++, paths++)
        lengths[paths] = snprintf(requests[paths], sizeof requests[0],
                                  "GET %s HTTP/1.1\r\nHost: registry\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\n\r\n", args[i]);
    connection *all = calloc(connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(all[i].fd, (void *)&at, sizeof at)) { perror("connect"); return 1; }
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {EPOLLIN, {.ptr = &all[i]}};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event);
    }
    double start = now();
    for (int i = 0; i < connections; i++) fire(&all[i]);
    struct epoll_event events[64];
    while (now() < start + seconds) {
        int n = epoll_wait(poll, events, 64, 100);
        for (int i = 0; i < n; i++) readable(events[i].data.ptr);
    }
    double took = now() - start;
    printf("{\"pulls_per_second\": %.1f, \"MB_per_second\": %.1f, \"bad\": %ld}\n", pulls / took, bytes / took / 1e6, bad);
    return 0;
}
