/* cmd_life.c - timeout, pause, resume, snapshot, fork, kill. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/guest.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/make.h"
#include "tools/sandbox/token.h"

#define RESUME_S 300

static long flush_limit(const struct df_args *a)
{
	return a->flush_timeout_s ? a->flush_timeout_s : 60;
}

/* Before anything that stops or copies the sandbox. */
static int flush_first(const struct df_args *a, struct df_prov *p,
		       struct df_sb *sb)
{
	int err = df_flush_all(p, sb, flush_limit(a));

	if (err == -EINPROGRESS && a->force) {
		df_log_warn("going on all the same (--force)");
		return 0;
	}
	if (err == -EINPROGRESS)
		df_log_error("%s was left running; --force goes on without",
			     sb->id);
	return err;
}

static void say(const struct df_args *a, const struct df_sb *sb,
		const char *state)
{
	if (a->json)
		df_json_print(json_pack("{s:s, s:s}", "sandboxID", sb->id,
					"state", state));
}

int df_cmd_timeout(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;
	char *end;

	long s = strtol(a->pos.v[1], &end, 10);
	if (*end || s < 1 || s > 31536000) {
		df_log_error("timeout: \"%s\" is no number of seconds",
			     a->pos.v[1]);
		return DF_EXIT_USAGE;
	}
	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err)
		err = p->ops->set_timeout(p, sb, s);
	if (!err)
		say(a, sb, "running");
	df_close(p, sb);
	return df_exit_of(err);
}

int df_cmd_pause(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;

	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err)
		err = flush_first(a, p, sb);
	if (!err)
		err = p->ops->pause(p, sb);
	if (!err)
		say(a, sb, "paused");
	df_close(p, sb);
	return df_exit_of(err);
}

int df_cmd_resume(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;

	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err)
		err = p->ops->resume(p, sb,
				     a->timeout_s ? a->timeout_s : RESUME_S);
	if (!err)
		err = df_mount_prove(p, sb, NULL);
	if (!err)
		say(a, sb, "running");
	df_close(p, sb);
	return df_exit_of(err);
}

int df_cmd_snapshot(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;
	DF_FREE char *id = NULL;

	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err)
		err = flush_first(a, p, sb);
	if (!err)
		err = p->ops->snapshot(p, sb, a->name, &id);
	if (!err && a->json)
		df_json_print(json_pack("{s:s, s:s}", "sandboxID", sb->id,
					"snapshotID", id));
	else if (!err)
		puts(id);
	df_close(p, sb);
	return df_exit_of(err);
}

/* What all copies are made alike with. */
struct copying {
	struct df_prov *p;
	json_t *mounts; /* of the original */
	char *user;     /* who has them; NULL = the usual one */
	struct df_creds
		token; /* of the original; text NULL = none of its own */
};

static int copying_init(struct copying *c, const struct df_args *a,
			struct df_prov *p, struct df_sb *sb)
{
	struct df_creds mine;
	struct df_sh s;

	c->p = p;
	int err = df_mount_list(p, sb, &c->mounts);
	if (err || !json_array_size(c->mounts))
		return err;
	df_sh_init(&s, p, sb);
	c->user = df_mount_owner(&s, json_array_get(c->mounts, 0));
	df_sh_release(&s);
	if (!df_creds_load_quiet(a->credentials, &mine)) {
		df_token_of(p, sb, c->user, &mine, &c->token);
		df_creds_release(&mine);
	}
	return 0;
}

static void copying_release(struct copying *c)
{
	json_decref(c->mounts);
	free(c->user);
	df_creds_release(&c->token);
}

/* The original's token ends with the original: each copy gets its own.  What
 * runs in it takes the new one when the old is refused. */
static int own_token(struct copying *c, struct df_sb *copy, long timeout_s)
{
	struct df_mounts as_the_original = { 0 };
	struct df_creds creds = { 0 };
	bool own;

	if (!c->token.text)
		return 0;
	int err = df_token_make(&c->token, &as_the_original, timeout_s, &creds,
				&own);
	if (!err)
		err = df_mount_credentials(c->p, copy, c->user, &creds);
	df_creds_release(&creds);
	return err;
}

static int finish_copy(struct copying *c, const char *id, long timeout_s)
{
	struct df_sb *copy = NULL;

	int err = c->p->ops->attach(c->p, id, &copy);
	if (err)
		return df_fail(err, "copy %s", id);
	copy->fresh = true;
	err = own_token(c, copy, timeout_s);
	if (!err)
		err = df_mount_prove(c->p, copy, c->mounts);
	df_sb_free(copy);
	return err;
}

int df_cmd_fork(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;
	struct copying c = { 0 };
	json_t *ids = NULL;
	json_t *id;
	size_t i;
	long timeout_s = a->timeout_s ? a->timeout_s : RESUME_S;
	int count = a->count ? (int)a->count : 1;

	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err)
		err = flush_first(a, p, sb);
	if (!err)
		err = copying_init(&c, a, p, sb);
	if (!err)
		err = p->ops->fork(p, sb, count, timeout_s, &ids);
	json_array_foreach(ids, i, id)
	{
		int one = finish_copy(&c, json_string_value(id), timeout_s);
		err = err ? err : one;
		if (!a->json)
			puts(json_string_value(id));
	}
	if (a->json && ids)
		df_json_print(json_incref(ids));
	if (!err && (int)json_array_size(ids) < count) {
		df_log_error("%d of %d copies were made",
			     (int)json_array_size(ids), count);
		err = -EIO;
	}
	json_decref(ids);
	copying_release(&c);
	df_close(p, sb);
	return df_exit_of(err);
}

/* A paused one may hold bytes (auto-pause does not flush): wake it first. */
static int kill_one(const struct df_args *a, struct df_prov *p,
		    struct df_sb *sb)
{
	json_t *info = NULL;

	int err = p->ops->info(p, sb, &info);
	bool paused = !strcmp(df_json_str(info, "state"), "paused");
	json_decref(info);
	if (err == -ENOENT) {
		df_log_error("sandbox %s has ended", sb->id);
		return err;
	}
	if (!err && paused && !a->force) {
		err = p->ops->resume(p, sb, RESUME_S);
		if (!err)
			err = df_mount_prove(p, sb, NULL);
		if (err == -EIO)
			err = 0; /* the flush below says what is wrong */
	}
	if (err)
		return err;
	if (paused && a->force)
		err = p->ops->kill(p, sb);
	else
		err = df_end_sandbox(p, sb, flush_limit(a), a->force);
	if (!err || (a->force && err == -EINPROGRESS))
		say(a, sb, "killed");
	return a->force && err == -EINPROGRESS ? 0 : err;
}

static int kill_all(const struct df_args *a)
{
	struct df_sb_filter f = { &a->metadata, NULL };
	struct df_prov *p = NULL;
	json_t *list = NULL;
	json_t *o;
	size_t i;

	int err = df_prov_new(a->provider, a->quiet, &p);
	if (!err)
		err = p->ops->list(p, &f, &list);
	json_array_foreach(list, i, o)
	{
		struct df_sb *sb = NULL;
		int one = p->ops->attach(p, df_json_str(o, "sandboxID"), &sb);
		if (!one)
			one = kill_one(a, p, sb);
		if (one && one != -ENOENT && !err)
			err = one;
		df_sb_free(sb);
		if (df_intr_now())
			break;
	}
	json_decref(list);
	df_prov_free(p);
	return df_exit_of(err);
}

int df_cmd_kill(struct df_args *a)
{
	int first = 0;

	if (a->all == (a->pos.n > 0)) {
		df_log_error("kill: name the sandboxes, or give --all (with "
			     "--metadata K=V to choose)");
		return DF_EXIT_USAGE;
	}
	if (a->all)
		return kill_all(a);
	for (size_t i = 0; i < a->pos.n; i++) {
		struct df_prov *p;
		struct df_sb *sb;
		int err = df_open(a, a->pos.v[i], &p, &sb);
		if (!err)
			err = kill_one(a, p, sb);
		df_close(p, sb);
		first = first ? first : err;
	}
	return df_exit_of(first);
}
