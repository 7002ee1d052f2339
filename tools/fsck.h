/* fsck.h - what fsck.c, fsck_log.c and fsck_view.c share. */
#ifndef DF_TOOLS_FSCK_H
#define DF_TOOLS_FSCK_H

#include "base/progress.h"
#include "cache/view_fsck.h"
#include "tools/import_vol.h"

/* As e2fsck's. */
enum fsck_exit {
	FSCK_CLEAN = 0,
	FSCK_REPAIRED = 1,
	FSCK_BEHIND = 2, /* only rows of the view are missing or old */
	FSCK_LEFT = 4,   /* errors that are still there */
	FSCK_FAILED = 8, /* could not be looked at */
	FSCK_USAGE = 16,
};

struct fsck_problem {
	char kind[24];      /* "row", "pack", "piece", "tree", "view" */
	char *where, *what; /* owned */
	bool repaired;
};

struct fsck {
	struct df_query_args *a;
	struct df_side side;
	struct df_progress progress;
	bool repair, repair_view, json;
	struct fsck_problem *problems; /* owned */
	size_t n_problems, size;
	uint64_t left_out; /* problems beyond those that are listed */
	uint64_t unrepaired;
	uint64_t behind; /* rows of the view that are missing or old */
	/* counted */
	uint64_t rows, packs, pieces, bytes, files, view_rows;
	bool checkpointed; /* somebody wrote one: rows may be gone */
};

void fsck_say(struct fsck *f, bool repaired, const char *kind,
	      const char *where, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* The view does not follow yet: no damage.  Told as a number. */
void fsck_say_behind(struct fsck *f, const char *where, const char *what);

/* fsck_log.c: rows and packs; 0 or -errno (could not be looked at). */
int fsck_log(struct fsck *f);
int fsck_packs(struct fsck *f, const struct df_fsck_pieces *p);
/* fsck_view.c */
int fsck_view(struct fsck *f);

#endif
