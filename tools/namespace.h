/* namespace.h - mount(8)'s and umount(8)'s -N. */
#ifndef DF_TOOLS_NAMESPACE_H
#define DF_TOOLS_NAMESPACE_H

/* Enter the mount namespace that a path (/run/netns-like) or a process id
 * names: 0 or -errno (logged).  Only while there is one thread. */
int df_namespace_enter(const char *name);

#endif
