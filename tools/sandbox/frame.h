/*
 * frame.h - what travels on the sockets of the local provider.
 *
 * A frame is one type byte, a little-endian 32-bit length (at most 1 MiB) and
 * that many bytes.  A connection carries one request:
 *
 *	client: R {"op": ...}            the request, JSON
 *	        i bytes   c              standard input, and its end
 *	        w {"cols", "rows"}       the terminal's new size
 *	        d bytes   z              a file's bytes (put), and their end
 *	guest:  p {"pid"}                the process runs
 *	        o bytes   e bytes        its standard output and error
 *	        x {"code", "signal"}     it ended
 *	        d bytes   z              a file's bytes (get), and their end
 *	        r {...}                  the answer of everything else
 *	        f {"errno", "message"}   failed
 *
 * After "r" of the request "connect" the connection is raw bytes to a port.
 * The other end is the sandbox: what it sends is checked, never believed.
 */
#ifndef DF_SANDBOX_FRAME_H
#define DF_SANDBOX_FRAME_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"

#define DF_FRAME_MAX (1u << 20)

/* Blocking; 0 or -errno (-EPIPE: the other end left). */
int df_frame_send(int fd, char type, const void *data, size_t len);
/* Frees o. */
int df_frame_send_json(int fd, char type, json_t *o);
int df_frame_send_fail(int fd, int err, const char *message);
/* One whole frame into buf (emptied first): 0, -EPIPE at the end, -EPROTO. */
int df_frame_recv(int fd, struct df_buf *buf, char *type);
/* The frame as a JSON object, or NULL. */
json_t *df_frame_json(const struct df_buf *buf);

/* Unix sockets.  Connecting never follows a symlink, for the directory is
 * the sandbox's to write in.  A descriptor, or -errno. */
int df_unix_listen(const char *path);
int df_unix_connect(const char *path);

#endif
