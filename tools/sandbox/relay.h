/*
 * relay.h - bytes from one socket to another, both ways.
 *
 * A local sandbox has a network of its own with nothing in it.  What must
 * cross (the table server; a port that `url` shows) goes through a unix socket
 * that both sides see, with a relay at each end.
 */
#ifndef DF_SANDBOX_RELAY_H
#define DF_SANDBOX_RELAY_H

/* Opens the other end of a connection: a descriptor or -errno. */
typedef int df_dial_fn(void *arg);

/* Serve a listening socket for ever, a process for each connection. */
_Noreturn void df_relay_serve(int listen_fd, df_dial_fn *dial, void *arg);
/* Until both directions ended; closes nothing. */
void df_relay_pump(int a, int b);

/* A TCP listener on 127.0.0.1 (port 0 chooses; the port is put there). */
int df_tcp_listen(int *port);
/* Connect to host:port with a deadline in ms. */
int df_tcp_connect(const char *host, int port, int timeout_ms);

#endif
