/*
 * guestd.h - process 1 of a local sandbox: starts programs, moves files.
 *
 * bubblewrap starts it with a config in the environment.  It opens the relay
 * to the table server, then enters a second user and mount namespace: there
 * the mounts that bubblewrap made are locked, so that the sandbox's
 * user, who needs mount(2) for FUSE, cannot make the system writable again.
 * Every connection on DF_GUEST_SOCK is served by a process of its own.
 */
#ifndef DF_SANDBOX_GUESTD_H
#define DF_SANDBOX_GUESTD_H

#include <jansson.h>

/* Hidden first argument of deeplake-sandbox. */
#define DF_GUESTD_ROLE "guest-init"
#define DF_GUEST_DIR "/run/deeplake"
#define DF_LOCAL_ID "1000" /* user and group of all that is inside */
#define DF_GUEST_SOCK DF_GUEST_DIR "/guest.sock"
#define DF_GUEST_TABLE_SOCK DF_GUEST_DIR "/table.sock"
#define DF_GUEST_CONFIG "DEEPLAKE_GUEST_CONFIG"

int df_guestd_main(int argc, char **argv);

/* One request each, answered on fd; guest_exec.c and guest_files.c. */
void df_guest_exec(int fd, json_t *req);
void df_guest_get(int fd, json_t *req);
void df_guest_put(int fd, json_t *req);
void df_guest_fs(int fd, json_t *req, const char *op);
/* "~", relative to home, or absolute; caller frees; NULL without memory. */
char *df_guest_path(const char *path);

#endif
