/*
 * work.c - the loops that are timed, in C so that no interpreter is.
 *
 *	work OP DIR [key=value...]
 *
 * prints one line, `SECONDS OPERATIONS`, of the loop alone: start-up, the list
 * of names and buffers are made before the clock starts.  Any failure ends it
 * with a message and status 1, so a wrong result is never a fast one.
 *
 * Keys: files=10000 dirs=100 size=4096 (small files; file I is
 * DIR/dDD/fIIIII), mib=1024 (large file DIR/big), count=N (random accesses,
 * lines, fsyncs), threads=N, seed=N, name=F (instead of big), from=F (copy),
 * span=BYTES (length of the file that random accesses are spread over).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct {
	long files, dirs, size, mib, count, threads, seed, span;
	char name[256], from[256];
} w = { .files = 10000,
	.dirs = 100,
	.size = 4096,
	.mib = 1024,
	.count = 10000,
	.threads = 1,
	.seed = 1,
	.name = "big",
	.from = "big" };

static long done_ops;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt,
								...)
{
	int err = errno;
	va_list ap;

	fputs("work: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(err));
	exit(1);
}

static char *file_name(char *out, const char *prefix, long i)
{
	sprintf(out, "d%02ld/%s%05ld", i % w.dirs, prefix, i);
	return out;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Random bytes: nothing is gained by compressing or comparing them. */
static void fill(char *buf, size_t len, uint64_t seed)
{
	uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t v = next_random(&state);

		memcpy(buf + i, &v, 8);
	}
}

static void write_all(int fd, const char *buf, size_t len, const char *name)
{
	if (write(fd, buf, len) != (ssize_t)len)
		die("write %s", name);
}

/* ---- small files */

static void each_create(long i, bool sync)
{
	static char buf[1 << 20];
	static bool filled;
	char name[64];
	int fd;

	if (!filled) {
		fill(buf, sizeof(buf), (uint64_t)w.seed);
		filled = true;
	}
	memcpy(buf, &i, sizeof(i)); /* no two files alike */
	fd = open(file_name(name, "f", i), O_CREAT | O_EXCL | O_WRONLY, 0644);
	if (fd < 0)
		die("create %s", name);
	write_all(fd, buf, (size_t)w.size, name);
	if (sync && fsync(fd) != 0)
		die("fsync %s", name);
	if (close(fd) != 0)
		die("close %s", name);
}

static void op_create(long i)
{
	each_create(i, false);
}

static void op_create_sync(long i)
{
	each_create(i, true);
}

static void op_read(long i)
{
	static char buf[1 << 20];
	char name[64];
	long got = 0;
	ssize_t n;
	int fd = open(file_name(name, "f", i), O_RDONLY);

	if (fd < 0)
		die("open %s", name);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		got += n;
	if (n < 0 || got < w.size)
		die("read %s: %ld of %ld bytes", name, got, w.size);
	close(fd);
}

static void op_append(long i)
{
	char name[64], line[100];
	int fd = open(file_name(name, "f", i), O_WRONLY | O_APPEND);

	if (fd < 0)
		die("open %s", name);
	memset(line, 'x', sizeof(line));
	write_all(fd, line, sizeof(line), name);
	close(fd);
}

static void op_stat(long i)
{
	char name[64];
	struct stat st;

	if (stat(file_name(name, "f", i), &st) != 0)
		die("stat %s", name);
}

static void op_chmod(long i)
{
	char name[64];

	if (chmod(file_name(name, "f", i), 0600) != 0)
		die("chmod %s", name);
}

static void op_unlink(long i)
{
	char name[64];

	if (unlink(file_name(name, "f", i)) != 0)
		die("unlink %s", name);
}

static void op_rename(long i)
{
	char from[64], to[64];

	if (rename(file_name(from, "f", i), file_name(to, "r", i)) != 0)
		die("rename %s", from);
}

static void op_rename_back(long i)
{
	char from[64], to[64];

	if (rename(file_name(from, "r", i), file_name(to, "f", i)) != 0)
		die("rename %s", from);
}

static void op_mkdir(long i)
{
	char name[64];

	if (mkdir(file_name(name, "m", i), 0755) != 0)
		die("mkdir %s", name);
}

static void op_rmdir(long i)
{
	char name[64];

	if (rmdir(file_name(name, "m", i)) != 0)
		die("rmdir %s", name);
}

static void op_symlink(long i)
{
	char name[64];

	if (symlink("target/of/a/link", file_name(name, "s", i)) != 0)
		die("symlink %s", name);
}

static void op_unlink_symlink(long i)
{
	char name[64];

	if (unlink(file_name(name, "s", i)) != 0)
		die("unlink %s", name);
}

static void op_link(long i)
{
	char from[64], to[64];

	if (link(file_name(from, "f", i), file_name(to, "l", i)) != 0)
		die("link %s", to);
}

static void op_unlink_link(long i)
{
	char name[64];

	if (unlink(file_name(name, "l", i)) != 0)
		die("unlink %s", name);
}

static void op_list(long dir)
{
	char name[32];
	struct dirent *e;
	struct stat st;
	long seen = 0;
	DIR *d;

	sprintf(name, "d%02ld", dir);
	d = opendir(name);
	if (!d)
		die("opendir %s", name);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			die("stat %s/%s", name, e->d_name);
		seen++;
	}
	closedir(d);
	if (seen < w.files / w.dirs)
		die("%s: only %ld entries", name, seen);
}

static void op_mkdirs(long dir)
{
	char name[32];

	sprintf(name, "d%02ld", dir);
	if (mkdir(name, 0755) != 0 && errno != EEXIST)
		die("mkdir %s", name);
}

/* ---- large files; each thread has its own part, offset or file */

struct part {
	pthread_t thread;
	long no;
	void (*run)(struct part *p);
};

static int open_big(int flags)
{
	int fd = open(w.name, flags, 0644);

	if (fd < 0)
		die("open %s", w.name);
	return fd;
}

static void part_range(const struct part *p, off_t *from, off_t *to)
{
	off_t len = ((off_t)w.mib << 20) / w.threads;

	*from = len * p->no;
	*to = *from + len;
}

static void run_seqwrite(struct part *p)
{
	char *buf = malloc(1 << 20);
	int fd = open_big(O_WRONLY | O_CREAT);
	off_t at, to;

	if (!buf)
		die("buffer");
	fill(buf, 1 << 20, (uint64_t)(w.seed + p->no));
	for (part_range(p, &at, &to); at < to; at += 1 << 20) {
		memcpy(buf, &at, sizeof(at));
		if (pwrite(fd, buf, 1 << 20, at) != 1 << 20)
			die("write %s", w.name);
	}
	if (close(fd) != 0)
		die("close %s", w.name);
	free(buf);
}

static void run_seqread(struct part *p)
{
	char *buf = malloc(1 << 18);
	int fd = open_big(O_RDONLY);
	off_t at, to;

	if (!buf)
		die("buffer");
	for (part_range(p, &at, &to); at < to; at += 1 << 18)
		if (pread(fd, buf, 1 << 18, at) != 1 << 18)
			die("read %s at %lld", w.name, (long long)at);
	close(fd);
	free(buf);
}

static void random_access(struct part *p, bool writing)
{
	uint64_t state = (uint64_t)(w.seed + p->no) * 7919 + 1;
	off_t span = w.span ? w.span : (off_t)w.mib << 20;
	int fd = open_big(writing ? O_WRONLY | O_CREAT : O_RDONLY);
	char buf[4096];

	fill(buf, sizeof(buf), state);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (long i = 0; i < w.count / w.threads; i++) {
		off_t at =
			(off_t)(next_random(&state) % (uint64_t)(span / 4096)) *
			4096;
		ssize_t n;

		memcpy(buf, &i, sizeof(i));
		n = writing ? pwrite(fd, buf, sizeof(buf), at)
			    : pread(fd, buf, sizeof(buf), at);
		if (n != (ssize_t)sizeof(buf))
			die("%s at %lld", w.name, (long long)at);
	}
	if (close(fd) != 0)
		die("close %s", w.name);
}

static void run_randread(struct part *p)
{
	random_access(p, false);
}

static void run_randwrite(struct part *p)
{
	random_access(p, true);
}

/* count lines into a file of the thread's own, an fsync after each */
static void run_fsyncs(struct part *p)
{
	char name[300], line[64];
	int fd, len;

	snprintf(name, sizeof(name), "%s.%ld", w.name, p->no);
	fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd < 0)
		die("open %s", name);
	for (long i = 0; i < w.count / w.threads; i++) {
		len = sprintf(line, "line %ld of writer %ld\n", i, p->no);
		write_all(fd, line, (size_t)len, name);
		if (fsync(fd) != 0)
			die("fsync %s", name);
	}
	close(fd);
}

static void run_copy(struct part *p)
{
	int in = open(w.from, O_RDONLY), out;
	ssize_t n;

	(void)p;
	if (in < 0)
		die("open %s", w.from);
	out = open_big(O_WRONLY | O_CREAT | O_TRUNC);
	while ((n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0)) > 0)
		;
	if (n < 0)
		die("copy_file_range %s", w.name);
	close(in);
	if (close(out) != 0)
		die("close %s", w.name);
}

/* ---- the table of loops */

enum kind { PER_FILE, PER_DIR, THREADS_BYTES, THREADS_COUNT };

static const struct op {
	const char *name;
	enum kind kind;
	void (*each)(long i);
	void (*part)(struct part *p);
} ops[] = {
	{ "mkdirs", PER_DIR, op_mkdirs, NULL },
	{ "create", PER_FILE, op_create, NULL },
	{ "create-sync", PER_FILE, op_create_sync, NULL },
	{ "read", PER_FILE, op_read, NULL },
	{ "append", PER_FILE, op_append, NULL },
	{ "stat", PER_FILE, op_stat, NULL },
	{ "list", PER_DIR, op_list, NULL },
	{ "chmod", PER_FILE, op_chmod, NULL },
	{ "unlink", PER_FILE, op_unlink, NULL },
	{ "rename", PER_FILE, op_rename, NULL },
	{ "rename-back", PER_FILE, op_rename_back, NULL },
	{ "mkdir", PER_FILE, op_mkdir, NULL },
	{ "rmdir", PER_FILE, op_rmdir, NULL },
	{ "symlink", PER_FILE, op_symlink, NULL },
	{ "unlink-symlink", PER_FILE, op_unlink_symlink, NULL },
	{ "link", PER_FILE, op_link, NULL },
	{ "unlink-link", PER_FILE, op_unlink_link, NULL },
	{ "seqwrite", THREADS_BYTES, NULL, run_seqwrite },
	{ "seqread", THREADS_BYTES, NULL, run_seqread },
	{ "randread", THREADS_COUNT, NULL, run_randread },
	{ "randwrite", THREADS_COUNT, NULL, run_randwrite },
	{ "fsyncs", THREADS_COUNT, NULL, run_fsyncs },
	{ "copy", THREADS_BYTES, NULL, run_copy },
};

static void *part_main(void *arg)
{
	struct part *p = arg;

	p->run(p);
	return NULL;
}

static void run_parts(void (*run)(struct part *p))
{
	struct part *parts = calloc((size_t)w.threads, sizeof(*parts));

	if (!parts)
		die("threads");
	for (long i = 0; i < w.threads; i++) {
		parts[i].no = i;
		parts[i].run = run;
		if (pthread_create(&parts[i].thread, NULL, part_main,
				   &parts[i]) != 0)
			die("thread %ld", i);
	}
	for (long i = 0; i < w.threads; i++)
		pthread_join(parts[i].thread, NULL);
	free(parts);
}

static void run_op(const struct op *op)
{
	long n = op->kind == PER_DIR ? w.dirs : w.files;

	if (op->kind == PER_FILE || op->kind == PER_DIR) {
		for (long i = 0; i < n; i++)
			op->each(i);
		done_ops = w.files;
	} else {
		run_parts(op->part);
		done_ops = op->kind == THREADS_BYTES ? w.mib : w.count;
	}
}

static bool set_number(const char *arg, const char *key, long *value)
{
	size_t len = strlen(key);
	char *end;

	if (strncmp(arg, key, len) != 0 || arg[len] != '=')
		return false;
	errno = 0;
	*value = strtol(arg + len + 1, &end, 10);
	if (errno || *end || end == arg + len + 1 || *value < 0) {
		fprintf(stderr, "work: %s: not a number\n", arg);
		exit(2);
	}
	return true;
}

static bool set_text(const char *arg, const char *key, char *out, size_t room)
{
	size_t len = strlen(key);

	if (strncmp(arg, key, len) != 0 || arg[len] != '=')
		return false;
	snprintf(out, room, "%s", arg + len + 1);
	return true;
}

static void parse(int argc, char **argv)
{
	for (int i = 3; i < argc; i++) {
		const char *a = argv[i];

		if (set_number(a, "files", &w.files) ||
		    set_number(a, "dirs", &w.dirs) ||
		    set_number(a, "size", &w.size) ||
		    set_number(a, "mib", &w.mib) ||
		    set_number(a, "count", &w.count) ||
		    set_number(a, "threads", &w.threads) ||
		    set_number(a, "seed", &w.seed) ||
		    set_number(a, "span", &w.span) ||
		    set_text(a, "name", w.name, sizeof(w.name)) ||
		    set_text(a, "from", w.from, sizeof(w.from)))
			continue;
		fprintf(stderr, "work: unknown setting '%s'\n", a);
		exit(2);
	}
	if (w.dirs < 1 || w.threads < 1 || w.size > 1 << 20) {
		fprintf(stderr, "work: dirs and threads start at 1, size "
				"ends at 1048576\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	const struct op *op = NULL;
	struct timespec a, b;

	for (size_t i = 0; argc >= 3 && i < sizeof(ops) / sizeof(*ops); i++)
		if (strcmp(ops[i].name, argv[1]) == 0)
			op = &ops[i];
	if (!op) {
		fprintf(stderr, "usage: work OP DIR [key=value...]\nOPs:");
		for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++)
			fprintf(stderr, " %s", ops[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	parse(argc, argv);
	if (chdir(argv[2]) != 0)
		die("chdir %s", argv[2]);
	clock_gettime(CLOCK_MONOTONIC, &a);
	run_op(op);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.9f %ld\n",
	       (double)(b.tv_sec - a.tv_sec) +
		       (double)(b.tv_nsec - a.tv_nsec) / 1e9,
	       done_ops);
	return 0;
}
