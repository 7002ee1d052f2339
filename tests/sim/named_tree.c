/*
 * named_tree.c - scenarios by name: names, attributes, conflicts; see sim.h.
 * No faults and full sight unless the scenario asks for them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

static void run_symlinks(struct world *w)
{
	char *text = NULL, to[DF_SYMLINK_MAX + 1];

	two(w);
	memset(to, 'x', DF_SYMLINK_MAX);
	to[DF_SYMLINK_MAX] = 0;
	do_symlink(A, "/long", to);
	do_symlink(A, "/l", "left");
	do_symlink(B, "/l", "right");
	agree(w);
	shows(A, "/long", to);
	shows(A, "/l", "right"); /* the newer has the name */
	must(w, names(A, "/l.conflict-", &text) == 1);
	must(w, !strcmp(text, "left"));
	do_unlink(A, "/l"); /* takes nothing else with it */
	must(w, names(A, "/l.conflict-", NULL) == 1);
	shows(A, "/l", NULL);
	agree(w);
	shows(B, "/l", NULL);
	must(w, names(B, "/l.conflict-", NULL) == 1);
	do_create(A, "/l", "t0000001");
	do_rename(A, "/long", "/l", 0);
	agree(w);
	shows(B, "/l", to);
	free(text);
}

static void run_exchange(struct world *w)
{
	two(w);
	do_create(A, "/a", "t0000001");
	do_mkdir(A, "/d");
	do_create(A, "/d/b", "t0000002");
	do_mkdir(A, "/e");
	do_create(A, "/e/c", "t0000003");
	agree(w);
	do_rename(A, "/a", "/d/b", RENAME_EXCHANGE);
	shows(A, "/a", "t0000002");
	shows(A, "/d/b", "t0000001");
	do_rename(A, "/d", "/e", RENAME_EXCHANGE);
	agree(w);
	shows(B, "/e/b", "t0000001");
	shows(B, "/d/c", "t0000003");
	do_rename(B, "/a", "/e", RENAME_EXCHANGE); /* file with directory */
	agree(w);
	shows(A, "/e", "t0000002");
	shows(A, "/a/b", "t0000001");
	/* both at once, cut off from each other */
	do_rename(A, "/e", "/d/c", RENAME_EXCHANGE);
	do_rename(B, "/e", "/a/b", RENAME_EXCHANGE);
	agree(w);
	must(w, names(A, "/", NULL) >= 5);
}

static void run_xattrs(struct world *w)
{
	static char big[DF_XATTR_VALUE_MAX], got[DF_XATTR_VALUE_MAX];
	df_nid nid;

	two(w);
	do_create(A, "/f", "t0000001");
	do_setxattr(A, "/f", "one");
	agree(w);
	do_setxattr(A, "/f", "two");
	w->now_ms += 100000; /* whatever the skew: B is later */
	node_poll(B, true);
	do_setxattr(B, "/f", "three");
	nid = at_path(A, "/f");
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)rng_next(&w->rng);
	must_be(w, df_vol_setxattr(A->v, nid, "user.big", big, sizeof(big), 0),
		0, "setxattr of 64 KiB");
	must_be(w, df_vol_setxattr(A->v, nid, "user.x", "n", 1, 1), -EEXIST,
		"XATTR_CREATE of one that is there");
	must_be(w, df_vol_removexattr(A->v, nid, "user.no"), -ENODATA,
		"removexattr of none");
	let_go(A, nid);
	agree(w);
	nid = at_path(B, "/f");
	must(w, df_vol_getxattr(B->v, nid, "user.big", got, sizeof(got)) ==
			sizeof(got));
	must(w, !memcmp(got, big, sizeof(got)));
	must(w, df_vol_getxattr(B->v, nid, "user.x", got, sizeof(got)) > 0);
	must(w, df_vol_getxattr(B->v, nid, "user.x", got, 1) == -ERANGE);
	let_go(B, nid);
	do_setxattr(B, "/f", "");
	agree(w);
	nid = at_path(A, "/f");
	must(w, df_vol_getxattr(A->v, nid, "user.x", got, 64) == -ENODATA);
	must(w, df_vol_listxattr(A->v, nid, got, sizeof(got)) ==
			(ssize_t)sizeof("user.big"));
	let_go(A, nid);
}

/* What was made and removed between two cuts is not sent; what was published
 * and is removed is. */
static void run_made_and_removed(struct world *w)
{
	char path[256];
	size_t rows;

	two(w);
	do_create(A, "/kept", "t0000001");
	do_mkdir(A, "/dir");
	agree(w);
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/dir/%0200d", i);
		do_create(A, path, "t0000002");
		do_unlink(A, path);
	}
	do_mkdir(A, "/dir/sub");
	do_rmdir(A, "/dir/sub");
	rows = w->table.n_rows;
	node_push(A);
	for (size_t i = rows; i < w->table.n_rows; i++) {
		const struct df_row *row = &w->table.row[i].row;

		/* times of /dir may go: 100 names are 20 kB */
		if (row->body_len > 1000)
			fail(w, "%zu bytes sent for what is not there",
			     row->body_len);
		must(w, !memmem(row->body, row->body_len, "0000000000", 10));
	}
	agree(w);
	must(w, names(B, "/dir/", NULL) == 0);
	do_unlink(A, "/kept");
	agree(w);
	shows(B, "/kept", NULL);
}

/* One record is in the older copy, one in the newer; names as promised. */
static void run_conflict_names(struct world *w)
{
	char *text = NULL, path[300], *p;
	struct flat f;

	two(w);
	do_create(A, "/f", "t0000001");
	agree(w);
	do_replace(A, "/f", "t0000002");
	w->now_ms += 1000000;
	do_replace(B, "/f", "t0000003");
	agree(w);
	must(w, names(A, "/f", &text) == 2);
	flat_read(w, A, &f);
	for (size_t i = 0; i < f.n; i++) {
		unsigned node, day, hour;
		int used = 0;

		p = strstr(f.e[i].path, ".conflict-");
		if (!p)
			continue;
		if (sscanf(p, ".conflict-%8x-%8uT%6uZ%n", &node, &day, &hour,
			   &used) != 3 ||
		    p[used])
			fail(w, "a conflict copy is called %s", f.e[i].path);
		must(w, !strcmp(f.e[i].text, "t0000002") ||
				!strcmp(f.e[i].text, "t0000003"));
	}
	flat_release(&f);
	/* 255 bytes that end in the middle of a character once cut */
	memset(path, 0, sizeof(path));
	path[0] = '/';
	path[1] = 'x';
	for (int i = 2; i < 256; i += 2)
		memcpy(path + i, "\xc3\xa9", 2);
	do_create(A, path, "t0000004");
	do_create(B, path, "t0000005");
	agree(w);
	path[20] = 0;
	must(w, names(A, path, NULL) == 2);
	flat_read(w, A, &f);
	for (size_t i = 0; i < f.n; i++) {
		p = strstr(f.e[i].path, ".conflict-");
		must(w, strlen(f.e[i].path) <= 256);
		if (p && f.e[i].path[1] == 'x') /* x and whole characters */
			must(w, (p - f.e[i].path - 2) % 2 == 0);
	}
	flat_release(&f);
	free(text);
}

static void run_edit_unseen(struct world *w)
{
	two(w);
	do_mkdir(A, "/d");
	do_create(A, "/d/f", "t0000001");
	do_create(A, "/d/g", "t0000002");
	agree(w);
	do_unlink(A, "/d/f");
	do_unlink(A, "/d/g");
	do_rmdir(A, "/d");
	do_replace(B, "/d/f", "t0000003");
	agree(w);
	shows(A, "/d/f", "t0000003"); /* the remover had not seen this */
	shows(A, "/d/g", NULL);
	do_unlink(A, "/d/f");
	node_fold(A); /* nothing keeps the directory any more */
	do_rmdir(A, "/d");
	agree(w);
	must(w, names(B, "/", NULL) == 0);
	do_mkdir(A, "/e");
	agree(w);
	do_rmdir(A, "/e");
	do_create(B, "/e/new", "t0000004");
	agree(w);
	shows(A, "/e/new", "t0000004"); /* removed here, filled there */
}

static void run_unlinked_open(struct world *w)
{
	df_nid nid;
	size_t got;
	char buf[2 * TOK];

	two(w);
	do_create(A, "/f", "t0000001");
	agree(w);
	nid = at_path(A, "/f");
	do_unlink(A, "/f");
	node_as(A);
	must_be(w, df_vol_write(A->v, nid, TOK, "t0000002", TOK, 0, NULL, NULL),
		0, "write to an unlinked file");
	must_be(w, read_bytes(A->v, nid, 0, buf, sizeof(buf), &got), 0,
		"read of an unlinked file");
	must(w, got == sizeof(buf) && !memcmp(buf, "t0000001t0000002", got));
	agree(w);
	must(w, names(B, "/", NULL) == 0);
	node_as(A);
	must_be(w, read_bytes(A->v, nid, 0, buf, sizeof(buf), &got), 0,
		"read of an unlinked file");
	must(w, got == sizeof(buf) && !memcmp(buf, "t0000001t0000002", got));
	let_go(A, nid);
	do_create(A, "/f", "t0000003"); /* the name is free */
	agree(w);
	shows(B, "/f", "t0000003");
}

/* Written before the removal was folded, through a descriptor: unseen edit. */
static void run_removed_while_open(struct world *w)
{
	df_nid nid;

	two(w);
	do_create(A, "/f", "t0000001");
	agree(w);
	nid = at_path(B, "/f");
	do_unlink(A, "/f");
	node_push(A);
	node_as(B);
	must_be(w, df_vol_write(B->v, nid, TOK, "t0000002", TOK, 0, NULL, NULL),
		0, "write");
	node_poll(B, true);
	let_go(B, nid);
	agree(w);
	shows(A, "/f", "t0000001t0000002");
}

static void run_hidden_equal(struct world *w)
{
	df_nid nid;

	two(w);
	do_create(A, "/out", "");
	do_create(B, "/out", "");
	nid = at_path(A, "/out");
	agree(w);
	must(w, names(A, "/out", NULL) == 1); /* equal: no conflict */
	node_as(A);
	must_be(w, df_vol_write(A->v, nid, 0, "t0000001", TOK, 0, NULL, NULL),
		0, "write");
	let_go(A, nid);
	agree(w);
	/* whichever had the name: the bytes are there, under one of two */
	must(w, names(A, "/out", NULL) <= 2);
	do_append(A, "/out", "t0000002");
	agree(w);
	must(w, names(B, "/out", NULL) <= 2);
}

/* A file that loses one of its names, and whose other name is one with an equal
 * file: whoever writes to it settles all its names, not those of the file that it
 * lost against.  Else the equal file's name, which nobody touched, would show a
 * conflict.  The names of a file are tried in their order: the lost one is first. */
static void run_loses_and_equals(struct world *w)
{
	char *copy;

	two(w);
	agree(w); /* under new identities: what follows keeps its stamps */
	do_create(B, "/e", "same0000");
	w->now_ms += 1000;
	do_create(A, "/c", "same0000");
	do_link(A, "/c", "/a");
	do_create(A, "/e", "same0000");
	do_link(A, "/e", "/d");
	w->now_ms += 1000;
	do_create(B, "/a", "t0000001");
	do_create(B, "/c", "same0000"); /* hides A's */
	do_create(B, "/d", "t0000002"); /* its /e is hidden by A's */
	agree(w);
	copy = whole_name(A, "/a.conflict-");
	do_append(A, copy, "t0000003");
	shows(A, copy, "same0000t0000003");
	free(copy);
	must(w, names(A, "/c", NULL) == 1);
	do_append(A, "/e", "t0000004");
	shows(A, "/e", "same0000t0000004");
	must(w, names(A, "/e", NULL) == 1);
	agree(w);
	must(w, names(B, "/", NULL) == 6);
	shows(B, "/c", "same0000");
}

static void run_moved_into_each_other(struct world *w)
{
	two(w);
	do_mkdir(A, "/p");
	do_mkdir(A, "/q");
	do_create(A, "/p/f", "t0000001");
	do_create(A, "/q/g", "t0000002");
	agree(w);
	do_rename(A, "/p", "/q/p", 0);
	do_rename(B, "/q", "/p/q", 0);
	agree(w);
	must(w, names(A, "/", NULL) == 4); /* one move was taken back */
	if (at_path(A, "/p/q/g"))
		shows(A, "/p/f", "t0000001");
	else
		shows(A, "/q/p/f", "t0000001");
}

static void run_hard_links(struct world *w)
{
	struct flat f;

	two(w);
	do_create(A, "/f", "t0000001");
	do_link(A, "/f", "/g");
	agree(w);
	do_append(B, "/g", "t0000002");
	do_unlink(A, "/f");
	agree(w);
	shows(A, "/g", "t0000001t0000002");
	do_link(A, "/g", "/h");
	do_link(B, "/g", "/i");
	agree(w);
	flat_read(w, A, &f);
	for (size_t i = 0; i < f.n; i++)
		must(w, f.e[i].nlink == 3 && f.e[i].ino == f.e[0].ino);
	must(w, f.n == 3);
	flat_release(&f);
}

/* Two nodes, unseen by each other, take one name of two each: neither meant the
 * file, so it comes back under the name removed last. */
static void run_unlinked_apart(struct world *w)
{
	struct flat f;

	two(w);
	do_create(A, "/f", "t0000001");
	do_link(A, "/f", "/g");
	agree(w);
	do_unlink(A, "/f");
	w->now_ms += 1000;
	do_unlink(B, "/g");
	agree(w);
	shows(A, "/g", "t0000001");
	flat_read(w, A, &f);
	must(w, f.n == 1);
	flat_release(&f);
}

/* A directory that comes and goes between two cuts is sent to nobody, so no
 * file's registers may name it: not after a crash, whose replay forgets nothing
 * (else the name would count as one of the root's, and /g be gone) ... */
static void run_link_in_unsent_dir(struct world *w)
{
	two(w);
	do_create(A, "/f", "t0000001");
	do_link(A, "/f", "/g");
	agree(w);
	do_mkdir(A, "/d");
	do_link(A, "/f", "/d/g");
	do_unlink(A, "/d/g");
	do_rmdir(A, "/d");
	node_restart(A);
	agree(w);
	shows(B, "/g", "t0000001");
}

/* ... nor after two, of which the first noted a waiting row once more, behind
 * what came since: then /c, which is a name in the root, would be gone ... */
static void run_renamed_into_unsent_dir(struct world *w)
{
	two(w);
	do_create(A, "/f", "t0000001");
	do_link(A, "/f", "/c");
	do_link(A, "/f", "/e");
	node_cut(A);
	do_mkdir(A, "/d");
	do_rename(A, "/f", "/d/c", 0);
	node_restart(A);
	node_restart(A);
	do_unlink(A, "/d/c");
	node_fold(A); /* nothing keeps the directory any more */
	do_rmdir(A, "/d");
	agree(w);
	shows(B, "/c", "t0000001");
}

/* ... nor if a cut was in between, which replay marks once more: what it had
 * forgotten by then was never sent. */
static void run_cut_behind_unsent_dir(struct world *w)
{
	two(w);
	do_create(A, "/b", "t0000001");
	do_link(A, "/b", "/c");
	agree(w);
	do_mkdir(A, "/e");
	do_link(A, "/b", "/e/b");
	do_unlink(A, "/e/b");
	do_rmdir(A, "/e");
	do_create(A, "/f", "t0000002");
	node_push(A);
	node_restart(A);
	agree(w);
	shows(B, "/b", "t0000001");
}

/* What a cut forgot in one life it forgets when it is replayed: others (here a
 * fork) may have told the name since. */
static void run_forgotten_by_the_cut(struct world *w)
{
	struct node *twin;

	two(w);
	do_create(A, "/b", "t0000001");
	agree(w);
	do_link(A, "/b", "/c");
	twin = node_fork(A);
	w->now_ms += 1000;
	do_create(B, "/c", "t0000002");
	node_push(B);
	must(w, node_poll(A, false) == 0);
	do_append(twin, "/b", "t0000003");
	node_push(twin);
	w->now_ms += 1000;
	do_append(A, "/c", "t0000004"); /* settles it */
	w->table.faults.not_kept = 100;
	node_push(A);
	w->table.faults.not_kept = 0;
	node_restart(A);
	w->now_ms += 16000; /* it is sent again after 15 s */
	agree(w);
}

/* A node id falls back at a fork: both hold the same, nothing is twice. */
static void run_fork(struct world *w)
{
	struct node *twin;
	struct flat f;

	two(w);
	do_append(A, "/log", "t0000001");
	agree(w);
	do_append(A, "/log", "t0000002");
	do_create(A, "/new", "t0000003");
	twin = node_fork(A);
	do_append(A, "/log", "t0000004");
	do_append(twin, "/log", "t0000005");
	agree(w);
	must(w, names(B, "/new", NULL) == 1);
	must(w, names(B, "/log", NULL) == 1);
	flat_read(w, B, &f);
	flat_check_twice(w, &f, "the end");
	must(w, flat_find(&f, "/log")->size == 4 * TOK);
	flat_release(&f);
}

/* A name that nobody was told of loses to a newer one and is settled away: that
 * is told to nobody either, for after a crash it is forgotten (here: while the
 * twin, which made the name too, tells of it). */
static void run_fork_settled_unsent(struct world *w)
{
	struct node *twin;

	two(w);
	do_create(A, "/d", "t0000001");
	twin = node_fork(A);
	node_poll(twin, true); /* both have noticed */
	node_poll(A, true);
	w->now_ms += 1000;
	do_create(B, "/d", "t0000002");
	node_push(B);
	node_poll(A, true);
	w->now_ms += 1000;
	do_append(A, "/d", "t0000003");
	node_push(A);
	w->table.offline = true; /* no listing: that would bring A's row back */
	node_restart(A);
	w->table.offline = false;
	node_poll(A, false);
	node_push(twin);
	agree(w);
}

const struct named named_tree[] = {
	{ "symlinks", run_symlinks },
	{ "exchange", run_exchange },
	{ "xattrs", run_xattrs },
	{ "made-and-removed", run_made_and_removed },
	{ "conflict-names", run_conflict_names },
	{ "edit-unseen", run_edit_unseen },
	{ "unlinked-open", run_unlinked_open },
	{ "removed-while-open", run_removed_while_open },
	{ "hidden-equal", run_hidden_equal },
	{ "loses-and-equals", run_loses_and_equals },
	{ "moved-into-each-other", run_moved_into_each_other },
	{ "hard-links", run_hard_links },
	{ "unlinked-apart", run_unlinked_apart },
	{ "link-in-unsent-dir", run_link_in_unsent_dir },
	{ "renamed-into-unsent-dir", run_renamed_into_unsent_dir },
	{ "cut-behind-unsent-dir", run_cut_behind_unsent_dir },
	{ "forgotten-by-the-cut", run_forgotten_by_the_cut },
	{ "fork", run_fork },
	{ "fork-settled-unsent", run_fork_settled_unsent },
	{ NULL, NULL },
};
