/*
 * vol.h - the volume's private state, shared by the files of cache/ that work
 * under its lock.  What each file does is said at its head; who calls whom:
 *
 *   vol_*.c         local operations (volume.h)
 *     -> op.c       one operation: stamp, journal record, apply
 *     -> settle.c   make true what is shown, first (merge-rules 9)
 *     -> tree.c     what is shown; derived indexes kept up to date
 *   cut.c upload.c  what changed -> packs and a row -> the table
 *   poll.c merge.c  rows -> registers
 *   checkpoint.c    all registers -> blocks, and back
 *   identity.c      node ids, restamping
 *   journal.c       rows noted; the journal -> memory
 *   worker.c        the threads
 */
#ifndef DF_CACHE_VOL_H
#define DF_CACHE_VOL_H

#include <stdatomic.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/registers/codec.h"
#include "cache/bytes/fetch.h"
#include "cache/fold/fold.h"
#include "cache/fold/nidset.h"
#include "cache/registers/rules.h"
#include "cache/volume.h"

/* Journal record types (docs/formats.md, "Journal records"). */
enum df_jtype {
	DF_J_LIFE = 1, /* a process began: node id, time of its last stamp */
	DF_J_OP = 2,   /* items of one local operation */
	DF_J_CUT = 4,  /* a cut begins: its time */
	DF_J_ROW = 5,  /* the row's exact bytes */
	DF_J_SEEN = 8, /* the row was seen in a poll */
};

struct df_waiter {
	struct df_waiter *next;
	void (*done)(void *arg, int err); /* NULL when taken */
	void *arg;
	int64_t deadline_ns;
	df_nid nid;   /* fsync of one file: held files are cut */
	uint64_t cut; /* sync: done when this cut is acknowledged */
	int err;      /* for done(), when nothing else went wrong */
};

struct df_inval_node {
	struct df_inval_node *next;
	struct df_inval ev;
};

/* A row of ours that is noted in the journal and not yet seen in the table. */
struct df_outrow {
	struct df_outrow *next;
	struct df_row row;
	uint64_t note_seq;      /* journal seq of its DF_J_ROW */
	uint64_t cut;           /* number of the cut */
	uint64_t time;          /* hlc of the cut */
	uint64_t n_objs, bytes; /* in it, for status; 0 after a restart */
	bool acked;
	bool sending;     /* the uploader holds it, without the lock */
	bool seen;        /* meanwhile a poll brought it */
	int64_t acked_ns; /* monotonic */
};

struct df_cut; /* cut.h */

/* One local operation: op.h. */
struct df_op {
	struct df_stamp st;
	int64_t now_ns;
	struct df_buf rec; /* items, for the journal */
	struct df_obj **touched;
	uint32_t n_touched, touched_size;
	uint64_t seq; /* replay: the record's; else 0 */
	bool active;
};

struct df_vol {
	struct df_vol_conf conf;  /* strings owned */
	struct df_remote *remote; /* owned */
	int lock_fd;              /* the cache directory's lock file */

	struct df_lock lock;
	struct df_segs *segs; /* has locks of its own */
	struct df_fold *fold; /* lock */
	struct df_fetch *fetch;
	struct df_view *view;     /* NULL: none is kept; view.h */
	struct df_rowfiles *rows; /* NULL but with conf.rows; rowfiles.h */

	/* --- identity and clock; all below: lock, if not said otherwise */
	uint64_t node;
	uint64_t hlc;           /* time of the last stamp made or seen */
	uint64_t cut_time;      /* hlc at the last cut */
	uint64_t jseq;          /* last journal record */
	int64_t server_skew_ms; /* newest server Date - own clock */
	bool server_known;
	bool must_rename; /* a fork or resume was noticed */
	bool replaying;
	bool fresh;     /* the cache knows nothing of the volume */
	bool filling;   /* and is being opened: nothing can be changed yet */
	bool more_rows; /* the last poll left some */
	int64_t seen_real_ns, seen_mono_ns; /* identity.c */
	uint64_t sandbox_id_hash;
	struct df_op op;

	/* --- the tree */
	df_nid root; /* shown as DF_ROOT_NID (subdir mounts) */
	uint64_t n_revived, n_rehung;
	uint64_t id_count;
	uint64_t n_files, n_bytes; /* statfs */
	struct df_nidmap lookups;  /* fuse nid -> lookup count */
	struct df_nidmap alias;    /* fuse nid -> nid, where they differ */
	struct df_nidmap copies;   /* conflict copy looked at -> its file */
	struct df_nidmap alias_of; /* nid -> fuse nid */

	/* --- to be sent */
	struct df_nidset dirty;                 /* objects for the next cut */
	int64_t first_dirty_ns, last_change_ns; /* monotonic; 0 = none */
	uint64_t cuts;                          /* number of the last cut */
	uint64_t acked_cut;
	uint64_t acked_time; /* hlc of the last acknowledged cut */
	uint64_t held_cut;   /* the last that left held files out */
	/* journal.h: all records below `told` are remote; those below `mark` as
	 * soon as mark_cut is (0: no mark) */
	uint64_t told, mark, mark_cut;
	struct df_cut *cut; /* being taken, or NULL */
	/* of the cut whose bytes are on their way, for status; time 0 = none */
	uint64_t leaving_time, leaving_objs, leaving_bytes;
	struct df_outrow *out; /* oldest first; one in flight */
	int64_t last_ack_date_ms;
	struct df_id prev; /* this life's last row */
	uint64_t prev_epoch, seq;
	struct df_dep *newdeps; /* rows folded since */
	size_t n_newdeps, newdeps_size;
	struct df_waiter *sync_waiters, *local_waiters;
	bool uploading, upload_ended;
	int64_t last_cut_ns;                   /* monotonic */
	struct df_wish *wishes;                /* vol_data.h */
	struct df_room_waiter *room[DF_WAITS]; /* in order: room.h */
	atomic_bool fold_behind;               /* changes wait; set with lock */
	bool sync_asked;
	bool inherited; /* some bytes may be an earlier life's and nowhere
			 * else: lost.h */

	/* --- from the log */
	uint64_t epoch;     /* newest checkpoint folded */
	uint64_t feed_n;    /* place in the feed */
	uint64_t watermark; /* greatest sent folded >= 30 s ago */
	struct df_mark {
		uint64_t sent;
		int64_t at_ns;
	} * marks; /* sent of rows folded in the last 30 s */
	size_t n_marks, marks_size;
	struct df_id ck_row;        /* our checkpoint's, on its way */
	uint64_t faults_seen;       /* poll thread: at the last look */
	struct df_waiting *waiting; /* rows whose causes are missing: poll.c */
	bool behind; /* some the feed brought, and waiting has them not */
	uint64_t bodies_since_ck, rows_since_ck;
	int64_t last_poll_date_ms;            /* server Date of the last poll */
	int64_t last_poll_ns, last_list_ns;   /* monotonic; 0 = never */
	int64_t last_poll_ms, last_commit_ms; /* real */
	int64_t last_foreign_ns, last_request_ns; /* monotonic */
	int64_t poll_interval_ms;
	bool poll_now;         /* it was idle, and is used */
	int64_t open_until_ns; /* while opening, until the first answer: when
				* to give the server up; else 0 */
	struct df_active {
		uint64_t node;
		int64_t at_ns;
	} active[64]; /* nodes with rows in the last minute */
	unsigned n_active;
	uint64_t rows_folded, rows_skipped, rows_refused;
	uint64_t packs_sent, bytes_sent, held_files;
	int64_t last_sent_ns; /* monotonic: bytes_sent grew */
	bool offline;
	int auth_err; /* DF_EAUTH, -EKEYREJECTED, -EDQUOT: sending stopped */

	struct df_dirview *seen; /* df_dirview_see(), tree.c; owned */
	df_nid seen_dir;
	uint64_t seen_at;

	/* --- notices to the kernel */
	struct df_inval_node *inval_head, **inval_tail;
	struct df_inval_node *inval_data; /* the last DATA in the queue */
	bool merging; /* foreign registers: names are told */
	struct df_cond inval_cond;

	/* --- threads */
	struct df_sender *sender;
	struct df_cond up_cond, poll_cond, fold_cond, sync_cond, retry_cond;
	pthread_t th_upload, th_poll, th_fold, th_sync;
	bool started;
	bool stopping; /* flush what there is, then stop */
	bool stop_now; /* give up waiting for the server */
	bool stopped;
	bool failsafe;
	char errors[16][256];
	unsigned n_errors;
};

static inline struct df_id df_root_id(void)
{
	return (struct df_id){ { 0 } };
}

/* The volume is broken: reads go on, writes give EIO, status says why. */
void df_vol_fail(struct df_vol *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A line for status (deduplicated). */
void df_vol_say(struct df_vol *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The ids of the volume's directories.  Locked. */
static inline struct df_dirids df_vol_dirids(const struct df_vol *v)
{
	return (struct df_dirids){ df_fold_dir_id, v->fold };
}

/* fuse number -> object; NULL: not known.  Locked. */
struct df_obj *df_vol_obj(struct df_vol *v, df_nid nid);
/* Somebody uses the mount.  Locked. */
void df_vol_used(struct df_vol *v);
/* df_vol_obj for a request of the kernel: the mount is in use.  Locked. */
struct df_obj *df_vol_asked(struct df_vol *v, df_nid nid);
/* object -> fuse number */
df_nid df_vol_nid(const struct df_vol *v, const struct df_obj *o);
/* bytes more are in the table: the server is there.  Locked. */
void df_vol_sent(struct df_vol *v, uint64_t bytes);
/* For how long the server has not been there at all (connections refused, no
 * such name); 0: it was, when last asked.  Locked. */
int64_t df_vol_away_ms(const struct df_vol *v);
/* 0, or why nothing may be changed now. */
int df_vol_writable(struct df_vol *v);
void df_vol_push_inval(struct df_vol *v, enum df_inval_kind kind, df_nid nid,
		       df_nid parent, const char *name);
/* The name in parent (an object, not a fuse number) shows something else. */
void df_vol_push_name(struct df_vol *v, df_nid parent, const char *name);
/* One lookup more for o, whose number goes to the kernel. */
void df_vol_count(struct df_vol *v, struct df_obj *o);
/* o has no name any more, or lost its last lookup: forget it if nobody can
 * reach it. */
void df_vol_reap(struct df_vol *v, struct df_obj *o);
/* Forget o's names that came and went unseen by others: their directory may
 * have done so, too. */
void df_vol_forget_names(struct df_vol *v, struct df_obj *o);
void df_vol_entry(struct df_vol *v, struct df_obj *o, struct df_entry *e);
void df_vol_attr(struct df_vol *v, struct df_obj *o, struct df_attr *a);
double df_vol_timeout(const struct df_vol *v);
uint64_t df_vol_ino(const struct df_id *id);
/* o was read: its atime moves, if it has to (local, no commit). */
void df_vol_accessed(struct df_vol *v, struct df_obj *o);
/* If `big` is too big for the next cut, o must not leave before it (E6). */
void df_hold_with(struct df_vol *v, struct df_obj *o, struct df_obj *big);
/* A new stamp time (never the same twice). */
uint64_t df_vol_stamp_time(struct df_vol *v);
void df_vol_mark_dirty(struct df_vol *v, struct df_obj *o);
/* Locked: nothing is dirty and every row is acknowledged. */
bool df_vol_all_remote(const struct df_vol *v);
/* Complete these, outside the lock, with err; 0: each with its own. */
void df_waiters_run(struct df_waiter *ready, int err);

#endif
