/*
 * sim.h - a whole volume in one process: several nodes on the real cache code,
 * one table in memory, virtual time, and everything decided by one seed.
 *
 *	sim.c     command line, one child process for each seed
 *	world.c   nodes, clocks, the schedule of a run
 *	remote.c  the table: rows that arrive late, doubled, lost; packs
 *	flat.c    what a node shows, as a list of paths; edits and comparisons
 *	inside.c  rows and registers, past the volume's face
 *	deeds.c   random operations, each with the effect it must have
 *	apart.c   what two nodes do to one thing, unseen by each other
 *	check.c   prefix, convergence, order of arrival, nothing lost, ...
 *	named*.c  scenarios by name, for what random schedules leave out
 *
 * Contents are tokens of TOK bytes, each written once in a run (but for
 * "same0000"), so that "lost" and "twice" can be seen in bytes.
 *
 * A failed check prints seed, step and trace and ends the process: every run
 * is a process of its own.  Single-threaded; nothing here is thread-safe.
 */
#ifndef DF_TESTS_SIM_SIM_H
#define DF_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "cache/step.h"
#include "cache/volume.h"

#define TOK 8
#define MAX_NODES 6
#define MAX_OPENED 8
#define PROFILES 4     /* mixtures of operations: deeds.c */
#define DELAY_MS 25000 /* a row is visible to everybody after this */
#define SHOW_MAX 4096  /* longer texts are shown by their ends and size */

/* ---- random numbers: splitmix64, one stream for each purpose */
struct rng {
	uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n); /* n > 0 */
bool rng_chance(struct rng *r, unsigned percent);
uint64_t rng_mix(uint64_t a, uint64_t b, uint64_t c);

/* ---- sets of small numbers (tokens, rows) */
struct set {
	uint8_t *in; /* owned */
	size_t size;
};
void set_add(struct set *s, size_t i);
bool set_has(const struct set *s, size_t i);
void set_join(struct set *s, const struct set *other);
void set_release(struct set *s);

/* ---- what a node shows */
struct ent {
	char *path;    /* owned; "/a/b" */
	char kind;     /* 'd', 'f', 'l' */
	uint32_t mode; /* permissions */
	uint64_t ino;
	uint64_t size;
	int64_t mtime_ns; /* of files */
	uint32_t nlink;
	char *text;  /* owned; token text, link target, or ends of it */
	bool lost;   /* EIO: its text is unknown; table_lost_pack says why */
	char *xattr; /* owned; value of user.x, "" = none */
	df_nid nid;  /* 0 in copies: holds one lookup when not */
};

struct flat {
	struct ent *e; /* owned; in no order */
	size_t n, size;
	struct df_vol *v; /* whose lookups these are; NULL in copies */
};

struct world;
struct node;

void flat_read(struct world *w, struct node *nd, struct flat *out);
void flat_copy(const struct flat *in, struct flat *out);
void flat_release(struct flat *f);
/* Give back its lookups: it may outlive the volume then. */
void flat_detach(struct flat *f);
struct ent *flat_find(const struct flat *f, const char *path);
struct ent *flat_by_ino(const struct flat *f, uint64_t ino, size_t from);
/* Make path in f like e (which may be an entry of f). */
void flat_put(struct flat *f, const char *path, const struct ent *e);
void flat_del(struct flat *f, const char *path);
/* Everything at and below from is at and below to. */
void flat_move(struct flat *f, const char *from, const char *to);
void flat_swap(struct flat *f, const char *p, const char *q);
bool flat_has_below(const struct flat *f, const char *path);
void ent_set_text(struct ent *e, const char *text);
void ent_set_xattr(struct ent *e, const char *value);
/* true if path is below (not at) dir; "" is the root */
bool path_below(const char *path, const char *dir);

enum flat_cmp {
	CMP_SHAPE = 0, /* kind, text, mode, xattr */
	CMP_TIMES = 1, /* and modification times of files */
	CMP_LINKS = 2, /* and which names are one object */
};
/* Fails with `what` and the first differences. */
void flat_same(struct world *w, const struct flat *a, const struct flat *b,
	       unsigned how, const char *what, ...)
	__attribute__((format(printf, 5, 6)));
/* All of f into the trace. */
void flat_trace(struct world *w, const char *head, const struct flat *f);
/* No token twice in one text. */
void flat_check_twice(struct world *w, const struct flat *f, const char *at);
/* Add the tokens that f shows to s. */
void flat_tokens(const struct flat *f, struct set *s);
void text_tokens(const char *text, struct set *s);

/* ---- the table */
struct wrow {
	struct df_row row; /* owned copy */
	int64_t made_ms;
	unsigned tries; /* attempts that reached the table */
	unsigned by;    /* uid of the node that made the first */
	bool kept;      /* at least one copy is or was in the log */
	bool checked;
	struct set tokens; /* what its writer answers for */
	struct set fresh;  /* those that came with this row */
	struct set stands; /* a checkpoint: rows its writer knew */
};
struct copy {
	size_t row; /* index of wrow */
	uint64_t sent;
	uint64_t n; /* place in the order of commits */
};
struct wpack {
	struct df_id id;
	uint8_t *data; /* owned */
	size_t len;
};
/* One in a hundred, for each attempt. */
struct faults {
	unsigned lost_answer, not_applied, not_kept, doubled;
	bool packs_lost; /* acknowledged, and not kept */
};
struct table {
	struct wrow *row; /* owned, never removed */
	size_t n_rows, rows_size;
	struct copy *log; /* owned: what is in T__log now */
	size_t n_log, log_size;
	struct wpack *pack; /* owned */
	size_t n_packs, packs_size;
	struct faults faults;
	bool offline;    /* for everybody */
	bool everything; /* every row is visible to everybody */
	/* A server of ours, to whom opens it from now on: unique ids, a feed
	 * (with `everything`). */
	bool ours;
	uint64_t last_n;
	uint64_t asked_after, gave; /* last rows_after: for the named tests */
	void (*on_pack)(struct world *w); /* before a pack is taken, or NULL */
};

/* A handle on the table for one node; only: show exactly these rows, kept or
 * not, and take none (NULL: the usual). */
struct df_remote *sim_remote_new(struct world *w, struct node *nd,
				 const struct set *only);
void table_init(struct world *w);
/* Row r is in the log no more, as after a backup was restored. */
void table_lose(struct world *w, size_t r);
void table_release(struct table *t);
ssize_t table_find(const struct table *t, const struct df_id *id);
/* Row r and the rows that it stands on; false: one is unknown, or was never
 * kept, so that its readers did without. */
bool table_past(const struct table *t, size_t r, struct set *out);
bool row_visible(const struct world *w, const struct node *nd, size_t row);
/* Does the table not show nd this pack: did it travel in a row that was never
 * kept, or that is late, or that was when nd polled? */
bool table_lost_pack(struct node *nd, const struct df_id *pack);
size_t table_pack_bytes(const struct table *t);

/* ---- nodes and the world */
/* What a node showed when it cut a row. */
struct cutrec {
	struct cutrec *next;
	struct df_id row;
	struct set tokens; /* what the row answers for */
	struct set fresh;  /* those that no row before answered for */
	struct set known;  /* rows of the table that it had folded */
	struct flat shown;
	bool held; /* some file was held back: the row is less */
};

struct node {
	struct world *w;
	struct df_vol *v; /* owned; NULL between kill and open */
	unsigned uid;     /* never reused; visibility hangs on it */
	char *dir;        /* owned: its cache directory */
	int64_t skew_ms;
	bool must_notice; /* a fork that nobody has noticed */
	unsigned paused;  /* until this step */
	df_nid opened[MAX_OPENED];
	unsigned n_opened;
	struct set pending;  /* tokens it answers for and has not cut */
	struct cutrec *cuts; /* owned: noted rows never tried, oldest first */
};

struct world {
	uint64_t seed;
	unsigned step, steps;
	int64_t now_ms;     /* true time */
	struct rng rng;     /* schedule and operations */
	struct rng random;  /* what the product calls getrandom for */
	struct node *now;   /* whose clock is read */
	struct node *probe; /* the newest probe, while it lives */
	struct node *nodes[MAX_NODES];
	unsigned n_nodes, next_uid;
	struct table table;
	unsigned n_tokens;
	unsigned n_made;     /* names by apart.c */
	struct set released; /* tokens overwritten or removed on purpose */
	const char *tmp;     /* directory of this run */
	unsigned profile;
	bool slow;   /* this run also jumps days and deletes rows */
	bool big;    /* this run also writes files over 16 MiB */
	bool settle; /* local effects are as asked (rule settle) */
	/* Cuts are not compared: each costs as much as all before it. */
	bool unnoted;
	unsigned apart; /* steps of a thousand that are apart.c's */
	unsigned amid;  /* cuts of a hundred with operations in them */
	struct df_buf trace;
	unsigned long n_ops, n_cuts, n_prefix, n_orders, n_conflicts, n_hidden,
		n_forks, n_restarts, n_deaths, n_big, n_checkpoints, n_deleted,
		n_lost, n_apart;
};

void world_init(struct world *w, uint64_t seed, unsigned steps,
		const char *tmp);
void world_release(struct world *w);
void world_run(struct world *w);
void world_quiesce(struct world *w);
struct node *node_new(struct world *w); /* a new mount, in w->nodes */
void node_open(struct node *nd, const struct set *only);
void node_kill(struct node *nd); /* SIGKILL; the disk stays */
void node_stop(struct node *nd); /* in good order */
void node_free(struct node *nd); /* and the disk is thrown away */
void node_restart(struct node *nd);
struct node *node_fork(struct node *nd);
void node_as(struct node *nd); /* its clock from now on */
/* A mount that is no part of the world and shows what `only` holds (NULL:
 * everything). */
struct node *node_probe(struct world *w, const struct set *only);
void node_drop(struct world *w, struct node *nd); /* killed for good */
void cutrec_free(struct cutrec *c);
int node_cut(struct node *nd);
int node_send(struct node *nd);
int node_poll(struct node *nd, bool full);
void node_fold(struct node *nd);
/* cut and send until nothing is left; fails after a few rounds */
void node_push(struct node *nd);

unsigned token_new(struct world *w);
void token_text(unsigned tok, char out[TOK + 1]);

void trace(struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void fail(struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
/* Fails, with the text of the condition, unless cond. */
#define must(w, cond)                                                    \
	do {                                                             \
		if (!(cond))                                             \
			fail(w, "%s:%d: not so: %s", __func__, __LINE__, \
			     #cond);                                     \
	} while (0)
void must_be(struct world *w, int got, int want, const char *what);

/* ---- deeds.c */
void deed_random(struct world *w, struct node *nd);
/* ---- apart.c: a file's two names are removed, one at each node, or two
 * directories moved into each other; nothing if they do not show such. */
void apart_random(struct world *w, struct node *a, struct node *b);
/* Operations by path, for the named scenarios; they fail the run on error. */
void do_create(struct node *nd, const char *path, const char *text);
void do_write(struct node *nd, const char *path, uint64_t off, const void *data,
	      size_t len);
void do_replace(struct node *nd, const char *path, const char *text);
void do_append(struct node *nd, const char *path, const char *text);
void do_mkdir(struct node *nd, const char *path);
void do_unlink(struct node *nd, const char *path);
void do_rmdir(struct node *nd, const char *path);
void do_rename(struct node *nd, const char *from, const char *to,
	       unsigned flags);
void do_symlink(struct node *nd, const char *path, const char *target);
void do_link(struct node *nd, const char *from, const char *to);
void do_setxattr(struct node *nd, const char *path, const char *value);
void do_truncate(struct node *nd, const char *path, uint64_t size);
/* Node of a path with a lookup counted, 0 if it is not there. */
df_nid at_path(struct node *nd, const char *path);
void let_go(struct node *nd, df_nid nid);
int make_file(struct node *nd, df_nid dir, const char *name, int open_flags,
	      mode_t mode, struct df_entry *e);
int read_bytes(struct df_vol *v, df_nid nid, uint64_t off, void *buf,
	       size_t len, size_t *got);

/* ---- inside.c: every register of a node, on stderr; the row noted last */
void dump_node(struct node *nd);
/* Has it folded, or written, this row? */
bool knows_row(struct node *nd, const struct df_id *id);
/* Are bytes of this file in packs that the table lost? */
bool lost_bytes(struct node *nd, df_nid nid);
/* Tokens of files that row gives a name, and whose names nd has never heard. */
void nameless_tokens(struct node *nd, const struct df_row *row, struct set *s);
struct df_id newest_row(const struct node *nd);
/* Its disk forgets every byte that the table has. */
void evict_all(struct node *nd);
bool all_sent(const struct node *nd); /* every noted row is acknowledged */
/* What a cut does first: what nd shows may have other names afterwards. */
void ask_identity(struct node *nd);
/* df_step_cut, with fn done when the cut has begun, and again when all that it
 * takes is copied, before it is packed. */
int cut_around(struct node *nd, void (*fn)(struct node *nd, bool copied));

/* ---- check.c */
/* Called when a row is first put: is its past what its writer shows? */
void check_prefix(struct world *w, size_t row, const struct cutrec *c);
void check_end(struct world *w);

/* ---- named.c */
#define A (w->nodes[0])
#define B (w->nodes[1])
/* Two nodes at least, whose clocks agree, and a table that shows all at once. */
void two(struct world *w);
/* Everything goes everywhere. */
void meet(struct world *w);
/* ... and then all show the same, as does a new mount. */
void agree(struct world *w);
/* text NULL: path must not be there. */
void shows(struct node *nd, const char *path, const char *text);
/* How many names begin so; the last one's text goes to *text, to be freed. */
unsigned names(struct node *nd, const char *prefix, char **text);
/* The path that begins so; the caller frees. */
char *whole_name(struct node *nd, const char *prefix);
/* named_*.c */
struct named {
	const char *name;
	void (*run)(struct world *w);
};
extern const struct named named_tree[], named_copy[], named_bytes[],
	named_many[], named_late[];

#endif
