/*
 * identity.h - node ids: new at every start, and when a resume or a fork is
 * noticed (merge-rules E8).  Locks: the volume's.
 */
#ifndef DF_CACHE_IDENTITY_H
#define DF_CACHE_IDENTITY_H

#include "cache/tree.h"

/* A fresh node id; what is dirty gets fresh stamps of it. */
void df_identity_renew(struct df_vol *v);
/* Remember what the clocks and the sandbox say now. */
void df_identity_note(struct df_vol *v);
/* Asked before every cut and every fold: renew if this is not the process, or
 * not the machine, that it was.  true: it was renewed (connections are dead,
 * look before you speak). */
bool df_identity_check(struct df_vol *v);

#endif
