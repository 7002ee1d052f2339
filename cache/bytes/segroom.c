/* segroom.c - would an append fit?  See seg.h. */
#include <sys/statvfs.h>

#include "base/clock.h"
#include "cache/bytes/segstore.h"

/* The disk is asked this often; the reserve covers what happens between. */
#define ROOM_ASK_NS (200 * DF_NS_PER_MS)
#define ROOM_SLACK (UINT64_C(4) << 20)

bool df_seg_room(struct df_segs *s, uint64_t bytes)
{
	int64_t now = df_clock_mono_ns();
	struct statvfs st;

	if (df_segs_bytes(s) + bytes > s->limit && !df_segs_evict(s, bytes))
		return false;
	if (now - s->room_asked_ns >= ROOM_ASK_NS || !s->room_asked_ns) {
		s->room_asked_ns = now;
		if (!fstatvfs(s->dir_fd, &st))
			s->room_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	}
	return s->room_bytes >= bytes + ROOM_SLACK;
}
