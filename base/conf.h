/*
 * conf.h - the one option table: what -o takes, --help shows, the man page
 * describes and completion offers.
 *
 * An option is a row of df_options[]; a row says its name, what its value may
 * be, where in struct df_conf it goes and, in one line, what it does.  Nothing
 * else in the product compares option names.
 *
 * Values: a size is bytes with an optional K, M, G or T (of 1024); a time is
 * seconds with an optional fraction, or a number with ms, s, m or h.
 * Options that mount(8) hands on and that mean nothing here (_netdev, nofail,
 * x-systemd.automount ...) are accepted and ignored.
 *
 * Secrets are not options: argv is readable by everybody.
 * Threads: a df_conf belongs to one thread until it is read-only.
 */
#ifndef DF_BASE_CONF_H
#define DF_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum df_conf_kind {
	DF_CONF_UNKNOWN = 0,
	DF_CONF_SET,    /* no value; makes a bool true */
	DF_CONF_CLEAR,  /* no value; makes a bool false */
	DF_CONF_TEXT,   /* any text that is not empty */
	DF_CONF_PATH,   /* a path; relative ones are taken from the cwd */
	DF_CONF_CHOICE, /* one of `choices`: its index */
	DF_CONF_NUMBER, /* uint64_t, decimal */
	DF_CONF_SIZE,   /* uint64_t, bytes */
	DF_CONF_TIME,   /* int64_t, milliseconds */
	DF_CONF_OCTAL,  /* uint64_t, octal */
	DF_CONF_IGNORE, /* accepted with or without a value */
};

enum df_conf_fsync { DF_FSYNC_REMOTE = 0, DF_FSYNC_LOCAL };

/* All strings are owned.  0 and NULL mean "the default" where a row's `def`
 * says auto. */
struct df_conf {
	/* the server and who we are to it */
	char *credentials;
	char *api_url;
	char *org;
	char *workspace;
	char *ca_file;
	uint64_t bwlimit; /* bytes a second; 0 = none */
	/* the cache */
	char *cache_dir;
	uint64_t cache_size; /* bytes; 0 = auto */
	uint64_t memory;     /* bytes; 0 = auto */
	uint64_t free_size;  /* what df(1) shows as free; 0 = auto */
	/* behaviour */
	int fsync; /* enum df_conf_fsync */
	int view;  /* 1 = on */
	uint64_t view_text_max;
	bool read_only;
	bool noatime;
	uint64_t uid, gid; /* UINT64_MAX = whoever mounts */
	uint64_t umask;
	bool allow_other;
	bool default_permissions;
	bool nonempty;
	bool suid, dev, noexec;
	bool remount;
	/* times, ms */
	int64_t mount_timeout;
	int64_t umount_timeout;
	int64_t read_timeout;
	int64_t sync_timeout;
	int64_t flush_delay;
	/* the daemon */
	char *log_file;   /* "syslog" or a path */
	int log_level;    /* enum df_log_level */
	uint64_t threads; /* 0 = auto */
};

struct df_option {
	const char *name;
	enum df_conf_kind kind;
	size_t offset;              /* in struct df_conf */
	const char *arg;            /* what --help calls the value; or NULL */
	const char *def;            /* the default, parsed by _init; or NULL */
	uint64_t min, max;          /* numbers, sizes, times (ms) */
	const char *const *choices; /* NULL-terminated */
	const char *doc;            /* NULL: not shown in --help */
};

/* Ends with a row whose name is NULL. */
extern const struct df_option df_options[];

/* Every option at its default; allow_other is on for root. */
void df_conf_init(struct df_conf *c);
void df_conf_release(struct df_conf *c);

/* One option; value NULL = none was given.  0, -ENOMEM, or -EINVAL with a
 * message for people in msg (names the option, what is wrong, what to do). */
int df_conf_set(struct df_conf *c, const char *name, const char *value,
		char *msg, size_t msg_size);
/* "name[=value],name,...": a backslash takes the next character literally.
 * `sloppy` ignores names that no row knows. */
int df_conf_parse(struct df_conf *c, const char *list, bool sloppy, char *msg,
		  size_t msg_size);
/* A time as options have it, in ms: 0 or -EINVAL. */
int df_conf_time(const char *text, int64_t *ms);
/* The rows that have a doc line, for --help. */
void df_conf_help(FILE *out);
/* Their names, one a line, those with a value followed by '=': completion. */
void df_conf_names(FILE *out);

#endif
