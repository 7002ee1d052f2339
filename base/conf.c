/* conf.c - see conf.h. */
#include "base/conf.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"

#define AT(field) offsetof(struct df_conf, field)
#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (MIB * KIB)
#define TIB (GIB * KIB)
#define HOUR_MS UINT64_C(3600000)

static const char *const fsync_choices[] = { "remote", "local", NULL };
static const char *const switch_choices[] = { "off", "on", NULL };
/* in the order of enum df_log_level */
static const char *const level_choices[] = { "error", "warn",  "info",
					     "debug", "trace", NULL };

#define TEXT(name, field, arg, doc)                                       \
	{                                                                 \
		name, DF_CONF_TEXT, AT(field), arg, NULL, 0, 0, NULL, doc \
	}
#define PATH(name, field, arg, doc)                                       \
	{                                                                 \
		name, DF_CONF_PATH, AT(field), arg, NULL, 0, 0, NULL, doc \
	}
#define SIZE(name, field, def, min, max, doc)                               \
	{                                                                   \
		name, DF_CONF_SIZE, AT(field), "SIZE", def, min, max, NULL, \
			doc                                                 \
	}
#define TIME(name, field, def, min, max, doc)                               \
	{                                                                   \
		name, DF_CONF_TIME, AT(field), "TIME", def, min, max, NULL, \
			doc                                                 \
	}
#define SET(name, field, doc)                                             \
	{                                                                 \
		name, DF_CONF_SET, AT(field), NULL, NULL, 0, 0, NULL, doc \
	}
#define CLEAR(name, field, doc)                                             \
	{                                                                   \
		name, DF_CONF_CLEAR, AT(field), NULL, NULL, 0, 0, NULL, doc \
	}
#define IGNORE(name)                                                  \
	{                                                             \
		name, DF_CONF_IGNORE, 0, NULL, NULL, 0, 0, NULL, NULL \
	}

const struct df_option df_options[] = {
	PATH("credentials", credentials, "FILE",
	     "read the token from FILE, not ~/.deeplake/credentials.json"),
	TEXT("api_url", api_url, "URL",
	     "the server, instead of the one that the credentials name"),
	TEXT("org", org, "ID", "the organization, likewise"),
	TEXT("workspace", workspace, "NAME", "the workspace, likewise"),
	PATH("ca_file", ca_file, "FILE",
	     "certificates of the authorities to trust for TLS"),
	SIZE("bwlimit", bwlimit, "0", 0, TIB,
	     "most bytes a second over the network; 0 is no limit"),

	PATH("cache_dir", cache_dir, "DIR",
	     "keep the cache and the journal in DIR"),
	SIZE("cache_size", cache_size, "0", 8 * MIB, 64 * TIB,
	     "most local disk; 0 is 1 GiB or a tenth of the disk, the less"),
	SIZE("memory", memory, "0", 0, TIB,
	     "memory for file names and attributes; 0 is 16 MiB"),
	SIZE("free_size", free_size, "0", 0, 8192 * KIB * TIB,
	     "what df shows as free; 0 is 1 PiB"),

	{ "fsync", DF_CONF_CHOICE, AT(fsync), "WHERE", "remote", 0, 0,
	  fsync_choices,
	  "what fsync waits for: the table, or this machine's disk" },
	{ "view", DF_CONF_CHOICE, AT(view), "WHICH", "on", 0, 0, switch_choices,
	  "keep a row a file in the table, for SQL" },
	SIZE("view_text_max", view_text_max, "1M", 0, 64 * MIB,
	     "longest text that those rows hold"),
	SET("ro", read_only, "read-only"),
	CLEAR("rw", read_only, NULL),
	SET("noatime", noatime, "reading never changes access times"),
	CLEAR("relatime", noatime, "access times as by default"),
	CLEAR("atime", noatime, NULL),
	{ "uid", DF_CONF_NUMBER, AT(uid), "N", NULL, 0, UINT32_MAX - 1, NULL,
	  "owner of files that have none in the table" },
	{ "gid", DF_CONF_NUMBER, AT(gid), "N", NULL, 0, UINT32_MAX - 1, NULL,
	  "group of files that have none in the table" },
	{ "umask", DF_CONF_OCTAL, AT(umask), "MODE", "022", 0, 0777, NULL,
	  "permissions that files without a mode lack" },
	SET("allow_other", allow_other,
	    "let other users in (the default for root)"),
	CLEAR("noallow_other", allow_other, "only for who mounts it"),
	SET("default_permissions", default_permissions,
	    "the kernel checks permissions (always on)"),
	SET("nonempty", nonempty, "cover a directory that is not empty"),
	SET("suid", suid, "honour set-user-ID bits (root only)"),
	CLEAR("nosuid", suid, "ignore set-user-ID bits (the default)"),
	SET("dev", dev, "device files work (root only)"),
	CLEAR("nodev", dev, "device files do not work (the default)"),
	CLEAR("exec", noexec, NULL),
	SET("noexec", noexec, "no program runs from here"),
	SET("remount", remount, "change ro and rw of a mount that is there"),

	TIME("mount_timeout", mount_timeout, "8", 100, HOUR_MS,
	     "how long mounting waits for the server"),
	TIME("umount_timeout", umount_timeout, "60", 0, 24 * HOUR_MS,
	     "how long unmounting waits until all is remote"),
	TIME("read_timeout", read_timeout, "60", 100, HOUR_MS,
	     "how long reading remote bytes may take before it fails"),
	TIME("sync_timeout", sync_timeout, "60", 100, HOUR_MS,
	     "how long fsync may take before it fails"),
	TIME("flush_delay", flush_delay, "1", 0, HOUR_MS,
	     "how long changes gather before they are sent"),

	{ "log_file", DF_CONF_PATH, AT(log_file), "FILE", "syslog", 0, 0, NULL,
	  "log to FILE instead of syslog" },
	{ "log_level", DF_CONF_CHOICE, AT(log_level), "LEVEL", "info", 0, 0,
	  level_choices, "error, warn, info, debug or trace" },
	{ "threads", DF_CONF_NUMBER, AT(threads), "N", "0", 0, 64, NULL,
	  "most threads that answer the kernel; 0 is 8" },

	/* what mount -o remount reads back from the mount table */
	IGNORE("user_id"),
	IGNORE("group_id"),
	IGNORE("rootmode"),
	IGNORE("max_read"),
	IGNORE("blksize"),
	IGNORE("fd"),
	IGNORE("fsname"),
	IGNORE("subtype"),
	/* what fstab(5) says to others */
	IGNORE("uhelper"),
	IGNORE("_netdev"),
	IGNORE("auto"),
	IGNORE("noauto"),
	IGNORE("comment"),
	IGNORE("defaults"),
	IGNORE("async"),
	IGNORE("nofail"),
	IGNORE("nodiratime"),
	IGNORE("diratime"),
	IGNORE("norelatime"),
	IGNORE("lazytime"),
	IGNORE("nolazytime"),
	IGNORE("user"),
	IGNORE("nouser"),
	IGNORE("users"),
	IGNORE("nousers"),
	IGNORE("owner"),
	IGNORE("noowner"),
	IGNORE("group"),
	IGNORE("nogroup"),
	{ NULL, DF_CONF_UNKNOWN, 0, NULL, NULL, 0, 0, NULL, NULL },
};

static void *conf_at(struct df_conf *c, const struct df_option *o)
{
	return (char *)c + o->offset;
}

void df_conf_init(struct df_conf *c)
{
	char msg[256];

	memset(c, 0, sizeof(*c));
	c->uid = c->gid = UINT64_MAX;
	c->allow_other = geteuid() == 0;
	c->default_permissions = true;
	for (const struct df_option *o = df_options; o->name; o++)
		if (o->def)
			df_conf_set(c, o->name, o->def, msg, sizeof(msg));
}

void df_conf_release(struct df_conf *c)
{
	for (const struct df_option *o = df_options; o->name; o++)
		if (o->kind == DF_CONF_TEXT || o->kind == DF_CONF_PATH)
			free(*(char **)conf_at(c, o));
	memset(c, 0, sizeof(*c));
}

static const struct df_option *conf_find(const char *name)
{
	for (const struct df_option *o = df_options; o->name; o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

/* The digits at *s as a number; false on none or overflow. */
static bool take_number(const char **s, int base, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)**s))
		return false;
	errno = 0;
	unsigned long long n = strtoull(*s, &end, base);
	if (errno || end == *s)
		return false;
	*s = end;
	*out = n;
	return true;
}

static bool parse_size(const char *s, uint64_t *out)
{
	static const char units[] = "KMGT";
	uint64_t n;

	if (!take_number(&s, 10, &n))
		return false;
	const char *u = *s ? strchr(units, toupper((unsigned char)*s)) : NULL;
	if (u) {
		for (const char *at = units; at <= u; at++)
			if (__builtin_mul_overflow(n, KIB, &n))
				return false;
		s++;
		if (strcmp(s, "iB") == 0)
			s += 2;
	}
	*out = n;
	return *s == 0;
}

static bool parse_time(const char *s, uint64_t *out_ms)
{
	static const struct {
		const char *suffix;
		uint64_t ms;
	} units[] = { { "", 1000 },
		      { "ms", 1 },
		      { "s", 1000 },
		      { "m", 60000 },
		      { "h", HOUR_MS } };
	uint64_t whole, thousandths = 0;

	if (!take_number(&s, 10, &whole))
		return false;
	if (*s == '.') {
		uint64_t place = 100;
		if (!isdigit((unsigned char)*++s))
			return false;
		for (; isdigit((unsigned char)*s); s++, place /= 10)
			thousandths += (uint64_t)(*s - '0') * place;
	}
	for (size_t i = 0; i < DF_ARRAY_LEN(units); i++) {
		uint64_t ms;
		if (strcmp(s, units[i].suffix) != 0)
			continue;
		if (__builtin_mul_overflow(whole, units[i].ms, &ms))
			return false;
		*out_ms = ms + thousandths * units[i].ms / 1000;
		return true;
	}
	return false;
}

static int bad_value(const struct df_option *o, const char *value,
		     const char *want, char *msg, size_t size)
{
	snprintf(msg, size, "option %s=%.100s: %s", o->name, value, want);
	return -EINVAL;
}

static bool parse_by_kind(const struct df_option *o, const char *v, uint64_t *n)
{
	switch (o->kind) {
	case DF_CONF_SIZE:
		return parse_size(v, n);
	case DF_CONF_TIME:
		return parse_time(v, n);
	default:
		return take_number(&v, o->kind == DF_CONF_OCTAL ? 8 : 10, n) &&
		       *v == 0;
	}
}

static int set_number(struct df_conf *c, const struct df_option *o,
		      const char *v, char *msg, size_t size)
{
	static const char *const want[] = {
		[DF_CONF_NUMBER] = "give a whole number",
		[DF_CONF_SIZE] = "give a size such as 512M or 2G",
		[DF_CONF_TIME] = "give a time such as 30, 1.5 or 200ms",
		[DF_CONF_OCTAL] = "give an octal number such as 022",
	};
	char text[96], least[DF_SIZE_TEXT], most[DF_SIZE_TEXT];
	uint64_t n;

	if (!parse_by_kind(o, v, &n))
		return bad_value(o, v, want[o->kind], msg, size);
	bool is_auto = !n && o->def && strcmp(o->def, "0") == 0;
	if ((n < o->min && !is_auto) || n > o->max) {
		if (o->kind == DF_CONF_OCTAL)
			snprintf(text, sizeof(text), "give 0 to %lo",
				 (unsigned long)o->max);
		else if (o->kind == DF_CONF_SIZE)
			snprintf(text, sizeof(text), "give %s to %s",
				 df_size_text(o->min, least),
				 df_size_text(o->max, most));
		else
			snprintf(text, sizeof(text), "give %lu to %lu%s",
				 (unsigned long)o->min, (unsigned long)o->max,
				 o->kind == DF_CONF_TIME ? " ms" : "");
		return bad_value(o, v, text, msg, size);
	}
	*(uint64_t *)conf_at(c, o) = n;
	return 0;
}

static int set_choice(struct df_conf *c, const struct df_option *o,
		      const char *v, char *msg, size_t size)
{
	char text[128] = "give one of";

	for (int i = 0; o->choices[i]; i++) {
		if (strcmp(o->choices[i], v) == 0) {
			*(int *)conf_at(c, o) = i;
			return 0;
		}
		size_t at = strlen(text);
		snprintf(text + at, sizeof(text) - at, "%s %s", i ? "," : "",
			 o->choices[i]);
	}
	return bad_value(o, v, text, msg, size);
}

static int set_text(struct df_conf *c, const struct df_option *o, const char *v,
		    char *msg, size_t size)
{
	char cwd[PATH_MAX];
	char *copy;

	if (!*v)
		return bad_value(o, v, "the value is missing", msg, size);
	/* the daemon changes its directory, so paths are made absolute */
	bool relative = o->kind == DF_CONF_PATH && *v != '/' &&
			strcmp(v, "syslog") != 0;
	if (relative && !getcwd(cwd, sizeof(cwd)))
		return bad_value(o, v, "give an absolute path", msg, size);
	copy = relative ? df_strf("%s/%s", cwd, v) : strdup(v);
	if (!copy) {
		snprintf(msg, size, "out of memory");
		return -ENOMEM;
	}
	char **at = conf_at(c, o);
	free(*at);
	*at = copy;
	return 0;
}

static int unknown_option(const char *name, char *msg, size_t size)
{
	if (strcmp(name, "strictatime") == 0)
		snprintf(msg, size,
			 "option strictatime cannot be kept: cached reads do "
			 "not reach the filesystem; use relatime or noatime");
	else if (strcmp(name, "token") == 0 || strcmp(name, "api_key") == 0)
		snprintf(msg, size,
			 "option %s: a token in the arguments can be read by "
			 "everybody; put it into a file and use credentials=",
			 name);
	else
		snprintf(msg, size, "option %.100s is not known", name);
	return -EINVAL;
}

/* fstab(5) has options for programs other than the filesystem's. */
static bool is_foreign(const char *name)
{
	return strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0;
}

int df_conf_set(struct df_conf *c, const char *name, const char *value,
		char *msg, size_t msg_size)
{
	const struct df_option *o = conf_find(name);

	if (is_foreign(name) || (o && o->kind == DF_CONF_IGNORE))
		return 0;
	if (!o)
		return unknown_option(name, msg, msg_size);
	if (o->kind == DF_CONF_SET || o->kind == DF_CONF_CLEAR) {
		if (value)
			return bad_value(o, value, "it takes no value", msg,
					 msg_size);
		*(bool *)conf_at(c, o) = o->kind == DF_CONF_SET;
		return 0;
	}
	if (!value)
		return bad_value(o, "", "the value is missing", msg, msg_size);
	if (o->kind == DF_CONF_CHOICE)
		return set_choice(c, o, value, msg, msg_size);
	if (o->kind == DF_CONF_TEXT || o->kind == DF_CONF_PATH)
		return set_text(c, o, value, msg, msg_size);
	return set_number(c, o, value, msg, msg_size);
}

/* The next item of list, unescaped into out; what follows its comma. */
static const char *next_item(const char *list, char *out)
{
	while (*list && *list != ',') {
		if (*list == '\\' && list[1])
			list++;
		*out++ = *list++;
	}
	*out = 0;
	return *list ? list + 1 : list;
}

int df_conf_parse(struct df_conf *c, const char *list, bool sloppy, char *msg,
		  size_t msg_size)
{
	DF_FREE char *item = malloc(strlen(list) + 1);

	if (!item) {
		snprintf(msg, msg_size, "out of memory");
		return -ENOMEM;
	}
	while (*list) {
		list = next_item(list, item);
		char *value = strchr(item, '=');
		if (value)
			*value++ = 0;
		if (!*item || (sloppy && !conf_find(item)))
			continue;
		int err = df_conf_set(c, item, value, msg, msg_size);
		if (err)
			return err;
	}
	return 0;
}

int df_conf_time(const char *text, int64_t *ms)
{
	uint64_t n;

	if (!parse_time(text, &n) || n > INT64_MAX / 2)
		return -EINVAL;
	*ms = (int64_t)n;
	return 0;
}

void df_conf_help(FILE *out)
{
	for (const struct df_option *o = df_options; o->name; o++) {
		char head[64];
		bool said = strstr(o->doc ? o->doc : "", "0 is");

		if (!o->doc)
			continue;
		snprintf(head, sizeof(head), "%s%s%s", o->name,
			 o->arg ? "=" : "", o->arg ? o->arg : "");
		fprintf(out, "  %-20s %s", head, o->doc);
		if (o->def && !said)
			fprintf(out, " (default %s)", o->def);
		fputc('\n', out);
	}
}

void df_conf_names(FILE *out)
{
	for (const struct df_option *o = df_options; o->name; o++)
		if (o->doc)
			fprintf(out, "%s%s\n", o->name, o->arg ? "=" : "");
}
