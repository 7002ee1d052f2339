/* flush.c - taking sandboxes down without losing a byte; see mount.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/guest.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/local.h"
#include "tools/sandbox/mount.h"
#include "tools/sandbox/token.h"

char *df_mount_owner(struct df_sh *s, const json_t *m)
{
	static const char name_of[] = "getent passwd \"$1\" | cut -d: -f1";
	char uid[16];
	int n = (int)json_integer_value(json_object_get(m, "uid"));

	if (n == 0)
		return strdup("root");
	snprintf(uid, sizeof(uid), "%d", n);
	const char *const args[] = { uid, NULL };
	s->user = NULL;
	if (df_sh_run(s, name_of, args) || !*df_sh_said(s))
		return NULL;
	return strdup(df_sh_said(s));
}

/* The mount belongs to one user, and so does its control socket. */
static int run_as_owner(struct df_sh *s, const json_t *m, const char *script,
			const char *const args[])
{
	DF_FREE char *user = df_mount_owner(s, m);

	s->user = user;
	int err = df_sh_run(s, script, args);
	s->user = NULL;
	return err;
}

static int flush_one(struct df_prov *p, struct df_sb *sb, const json_t *m,
		     long timeout_s)
{
	static const char script[] = "exec deeplake flush \"$1\" --timeout $2";
	DF_FREE char *t = df_strf("%ld", timeout_s);
	const char *const args[] = { df_json_str(m, "path"), t, NULL };
	struct df_sh s;

	df_sh_init(&s, p, sb);
	/* its own deadline comes first; this one is for a hung guest */
	s.timeout_s = timeout_s + 15;
	int err = run_as_owner(&s, m, script, args);
	if (!err && s.status) {
		df_log_error("sandbox %s: %s is not all in the table (%s)",
			     sb->id, args[0],
			     s.status == 124   ? "the flush hung"
			     : *df_sh_said(&s) ? df_sh_said(&s)
					       : "flush failed");
		err = -EINPROGRESS;
	}
	df_sh_release(&s);
	return err;
}

static int not_flushed(int err)
{
	/* whatever went wrong, nobody knows that the bytes are safe */
	return err && err != -ENOENT && err != -EINTR ? -EINPROGRESS : err;
}

int df_flush_all(struct df_prov *p, struct df_sb *sb, long timeout_s)
{
	json_t *list = NULL;
	json_t *m;
	size_t i;

	int err = df_mount_list(p, sb, &list);
	json_array_foreach(list, i, m)
	{
		int one = err ? 0 : flush_one(p, sb, m, timeout_s);
		if (one)
			err = one;
	}
	json_decref(list);
	return not_flushed(err);
}

/* As root: whoever has a file, a directory or a program there open. */
static const char end_holders[] =
	"sig=$1 p=$2 n=0\n"
	"for d in /proc/[0-9]*; do\n"
	"  pid=${d#/proc/}; [ \"$pid\" = $$ ] && continue\n"
	"  for l in \"$d/cwd\" \"$d/root\" \"$d/exe\" \"$d\"/fd/*; do\n"
	"    t=$(readlink \"$l\" 2>/dev/null) || continue\n"
	"    case $t in \"$p\"|\"$p\"/*)\n"
	"      n=$((n+1)); [ \"$sig\" = 0 ] || kill -s \"$sig\" \"$pid\"\n"
	"      echo \"$pid $(tr '\\0' ' ' <\"$d/cmdline\" | cut -c1-60)\"\n"
	"      break;; esac\n"
	"  done\n"
	"done\n"
	"exit 0\n";

static int end_holders_of(struct df_prov *p, struct df_sb *sb, const char *path,
			  const char *sig)
{
	const char *const args[] = { sig, path, NULL };
	struct df_sh s;

	df_sh_init(&s, p, sb);
	s.user = "root";
	s.timeout_s = 30;
	int err = df_sh_run(&s, end_holders, args);
	if (!err && s.out.len)
		df_log_info("%s is in use: SIG%s to %s", path, sig,
			    df_sh_said(&s));
	int any = s.out.len > 0;
	df_sh_release(&s);
	return err ? err : any;
}

static int umount_one(struct df_prov *p, struct df_sb *sb, const json_t *m,
		      long timeout_s)
{
	static const char script[] =
		"deeplake umount \"$1\" --timeout $2; s=$?\n"
		"grep -qs \" $1 fuse\" /proc/self/mounts && "
		"[ $s != 0 ] && [ $s != 5 ] && exit 16\n"
		"exit $s\n";
	static const char *const sigs[] = { "TERM", "KILL", NULL };
	DF_FREE char *t = df_strf("%ld", timeout_s);
	const char *const args[] = { df_json_str(m, "path"), t, NULL };
	struct df_sh s;
	int err = 0;

	df_sh_init(&s, p, sb);
	for (int i = 0; i < 3; i++) {
		s.timeout_s = timeout_s + 15;
		err = run_as_owner(&s, m, script, args);
		if (err || s.status != 16 || !sigs[i])
			break;
		err = end_holders_of(p, sb, args[0], sigs[i]);
		if (err < 0)
			break;
		err = 0;
		df_intr_sleep_ms(300);
	}
	if (!err && s.status == 16) {
		df_log_warn("%s stays mounted (%s)", args[0], df_sh_said(&s));
		/* what was written since the flush counts as well */
		err = flush_one(p, sb, m, timeout_s);
	} else if (!err && s.status) {
		df_log_error("sandbox %s: %s is not all in the table (%s)",
			     sb->id, args[0], df_sh_said(&s));
		err = -EINPROGRESS;
	}
	df_sh_release(&s);
	return err;
}

int df_umount_all(struct df_prov *p, struct df_sb *sb, long timeout_s)
{
	json_t *list = NULL;
	json_t *m;
	size_t i;

	int err = df_flush_all(p, sb, timeout_s);
	if (err)
		return err;
	err = df_mount_list(p, sb, &list);
	json_array_foreach(list, i, m) if (!err)
		err = umount_one(p, sb, m, timeout_s);
	json_decref(list);
	return not_flushed(err);
}

/* The plan may not allow an hour: then what it allows. */
static void more_time(struct df_prov *p, struct df_sb *sb)
{
	static const long tries[] = { 3600, 1800, 600 };
	json_t *info = NULL;
	int64_t left = 0;

	if (!p->ops->info(p, sb, &info))
		left = df_time_parse(df_json_str(info, "endAt")) -
		       (int64_t)time(NULL);
	json_decref(info);
	for (size_t i = 0; i < DF_ARRAY_LEN(tries); i++) {
		if (left >= tries[i])
			return;
		if (!p->ops->set_timeout(p, sb, tries[i])) {
			df_log_info("sandbox %s has %ld s more", sb->id,
				    tries[i]);
			return;
		}
	}
}

/* The token of its own that the sandbox has, to be ended after it. */
static int own_token(struct df_prov *p, struct df_sb *sb, struct df_creds *own)
{
	struct df_creds mine;
	json_t *list = NULL;
	struct df_sh s;

	*own = (struct df_creds){ 0 };
	if (df_creds_load_quiet(NULL, &mine))
		return -ENOENT;
	df_sh_init(&s, p, sb);
	int err = df_mount_list(p, sb, &list);
	/* all mounts of one create have one owner */
	if (!err)
		err = json_array_size(list) ? 0 : -ENOENT;
	DF_FREE char *user = err ? NULL
				 : df_mount_owner(&s, json_array_get(list, 0));
	if (!err)
		err = df_token_of(p, sb, user, &mine, own);
	df_sh_release(&s);
	json_decref(list);
	df_creds_release(&mine);
	return err;
}

int df_end_sandbox(struct df_prov *p, struct df_sb *sb, long timeout_s,
		   bool force)
{
	struct df_creds token;

	if (timeout_s <= 0)
		timeout_s = 60;
	df_intr_hold(1); /* Ctrl-C must not cut the flush short */
	bool has_token = !own_token(p, sb, &token);
	int err = df_umount_all(p, sb, timeout_s);
	if (err == -ENOENT) {
		df_log_warn("sandbox %s ended before it could be flushed",
			    sb->id);
	} else if (err && !force) {
		more_time(p, sb);
		df_log_error("sandbox %s was NOT killed: bytes in it are not "
			     "in the table.  Once the cause is gone: "
			     "`deeplake sandbox kill %s`; to lose them: add "
			     "--force",
			     sb->id, sb->id);
		err = -EINPROGRESS;
	} else {
		if (err)
			df_log_warn("killing %s all the same (--force)",
				    sb->id);
		int killed = p->ops->kill(p, sb);
		if (killed && killed != -ENOENT)
			df_log_error("sandbox %s could not be killed; it ends "
				     "by its timeout",
				     sb->id);
		else if (has_token)
			df_token_end(&token);
		err = err ? err : killed == -ENOENT ? 0 : killed;
	}
	df_creds_release(&token);
	df_intr_hold(-1);
	return err;
}
