/*
 * fsx.c - random operations on one file, compared with a model in memory.
 *
 *	fsx FILE seed=N ops=N [max=BYTES] [threads=N] [from=N] [trace]
 *
 * Reads, writes, appends, truncates, holes, zeroed ranges, preallocation,
 * copies inside the file, stores and loads through a shared map, fsync, close
 * and open again, SEEK_DATA/SEEK_HOLE and O_DIRECT reads; after each read and
 * at the end the bytes and the size must be the model's.  With threads each
 * thread has FILE.N of its own, and all of them write and read blocks of
 * FILE.shared of which each block belongs to one thread.
 *
 * The model starts from what the seed says, not from the file: `from=N` skips
 * N operations on the file but not on the model, so that a second run after a
 * remount goes on where the first one stopped and checks what is there.
 * Exit status 0, or 1 with the operation's number and its last 30 operations.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_LINES 30
#define BLOCK 16384
#define SHARED_BLOCKS 64

static struct {
	const char *file;
	long seed, ops, max, threads, from;
	bool trace;
} conf = { .seed = 1, .ops = 1000, .max = 300000, .threads = 1 };

struct run {
	char name[4096];
	long no; /* thread */
	uint64_t random;
	unsigned char *model; /* conf.max bytes, zero behind size */
	unsigned char *scratch;
	off_t size;
	int fd;
	bool dry; /* the model alone moves */
	long op;
	char log[LOG_LINES][128];
};

static uint64_t next_random(struct run *r)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return r->random;
}

static off_t below(struct run *r, off_t n)
{
	return n <= 0 ? 0 : (off_t)(next_random(r) % (uint64_t)n);
}

__attribute__((noreturn, format(printf, 2, 3))) static void
bad(struct run *r, const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	flockfile(stderr);
	fprintf(stderr, "fsx: %s: seed %ld, operation %ld: ", r->name,
		conf.seed, r->op);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(err));
	for (long i = r->op - LOG_LINES + 1; i <= r->op; i++)
		if (i >= 0)
			fprintf(stderr, "  %ld %s\n", i, r->log[i % LOG_LINES]);
	exit(1);
}

__attribute__((format(printf, 2, 3))) static void note(struct run *r,
						       const char *fmt, ...)
{
	char *line = r->log[r->op % LOG_LINES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(r->log[0]), fmt, ap);
	va_end(ap);
	if (conf.trace && !r->dry)
		fprintf(stderr, "%s %ld %s\n", r->name, r->op, line);
}

static void open_file(struct run *r, int extra)
{
	r->fd = open(r->name, O_RDWR | O_CREAT | extra, 0644);
	if (r->fd < 0)
		bad(r, "open");
}

static void grow_model(struct run *r, off_t size)
{
	if (size > r->size)
		r->size = size;
}

static void random_bytes(struct run *r, unsigned char *to, off_t len)
{
	uint64_t v = next_random(r) | 1;

	for (off_t i = 0; i < len; i++) {
		v = v * UINT64_C(6364136223846793005) + 1442695040888963407u;
		to[i] = (unsigned char)(v >> 56);
	}
}

/* A place and a length inside max; often at block borders or at the end. */
static void pick(struct run *r, off_t limit, off_t *at, off_t *len)
{
	static const off_t usual[] = { 1, 100, 4096, 65536, 130000 };

	*at = below(r, limit);
	if (below(r, 3) == 0)
		*at &= ~(off_t)4095;
	else if (below(r, 6) == 0 && r->size < limit)
		*at = r->size;
	*len = 1 + below(r, usual[below(r, 5)]);
	if (*len > limit - *at)
		*len = limit - *at;
}

static void compare(struct run *r, off_t at, const unsigned char *got,
		    off_t len, const char *how)
{
	for (off_t i = 0; i < len; i++)
		if (got[i] != r->model[at + i])
			bad(r, "%s: byte %lld is %02x, not %02x", how,
			    (long long)(at + i), got[i], r->model[at + i]);
}

static void check_size(struct run *r)
{
	struct stat st;

	if (fstat(r->fd, &st) != 0)
		bad(r, "fstat");
	if (st.st_size != r->size)
		bad(r, "the size is %lld, not %lld", (long long)st.st_size,
		    (long long)r->size);
}

static void check_all(struct run *r)
{
	ssize_t n;

	check_size(r);
	n = pread(r->fd, r->scratch, (size_t)conf.max, 0);
	if (n != r->size)
		bad(r, "whole file: %zd bytes of %lld", n, (long long)r->size);
	compare(r, 0, r->scratch, r->size, "whole file");
}

static void do_read(struct run *r)
{
	off_t at, len, want;
	ssize_t n;

	pick(r, conf.max, &at, &len);
	note(r, "read %lld+%lld", (long long)at, (long long)len);
	if (r->dry)
		return;
	want = at >= r->size ? 0 : r->size - at < len ? r->size - at : len;
	n = pread(r->fd, r->scratch, (size_t)len, at);
	if (n != want)
		bad(r, "read %zd bytes, not %lld", n, (long long)want);
	compare(r, at, r->scratch, n, "read");
}

static void do_write(struct run *r)
{
	off_t at, len;

	pick(r, conf.max, &at, &len);
	note(r, "write %lld+%lld", (long long)at, (long long)len);
	random_bytes(r, r->model + at, len);
	if (!r->dry && pwrite(r->fd, r->model + at, (size_t)len, at) != len)
		bad(r, "write");
	grow_model(r, at + len);
}

static void do_append(struct run *r)
{
	off_t len = 1 + below(r, 3000), at = r->size;
	int fd;

	if (len > conf.max - at)
		len = conf.max - at;
	note(r, "append %lld", (long long)len);
	random_bytes(r, r->model + at, len);
	grow_model(r, at + len);
	if (r->dry || len == 0)
		return;
	fd = open(r->name, O_WRONLY | O_APPEND);
	if (fd < 0 || write(fd, r->model + at, (size_t)len) != len)
		bad(r, "append");
	if (close(fd) != 0)
		bad(r, "close");
}

static void do_truncate(struct run *r)
{
	off_t to = below(r, 4) ? below(r, conf.max) : below(r, r->size + 1);

	note(r, "truncate %lld", (long long)to);
	if (to < r->size)
		memset(r->model + to, 0, (size_t)(r->size - to));
	r->size = to;
	if (!r->dry && ftruncate(r->fd, to) != 0)
		bad(r, "truncate");
}

static void do_fallocate(struct run *r, int mode, const char *word)
{
	bool keep = mode & FALLOC_FL_KEEP_SIZE;
	off_t at, len, end;

	pick(r, conf.max, &at, &len);
	note(r, "%s %lld+%lld", word, (long long)at, (long long)len);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		end = at + len < r->size ? at + len : r->size;
		if (end > at)
			memset(r->model + at, 0, (size_t)(end - at));
	}
	if (!keep)
		grow_model(r, at + len);
	if (!r->dry && fallocate(r->fd, mode, at, len) != 0)
		bad(r, "%s", word);
}

static void do_copy(struct run *r)
{
	off_t from, len, to, in, out, done;
	ssize_t n;

	pick(r, conf.max, &from, &len);
	to = below(r, conf.max - len + 1);
	if (from + len > r->size)
		len = r->size > from ? r->size - from : 0;
	note(r, "copy %lld+%lld to %lld", (long long)from, (long long)len,
	     (long long)to);
	if (len == 0 || (to < from + len && from < to + len))
		return;
	memcpy(r->model + to, r->model + from, (size_t)len);
	grow_model(r, to + len);
	for (done = 0; !r->dry && done < len; done += n) {
		in = from + done;
		out = to + done;
		n = copy_file_range(r->fd, &in, r->fd, &out,
				    (size_t)(len - done), 0);
		if (n <= 0)
			bad(r, "copy_file_range gave %zd", n);
	}
}

static void do_map(struct run *r, bool storing)
{
	unsigned char *map;
	off_t at, len;

	pick(r, r->size, &at, &len);
	if (r->size == 0 || at >= r->size)
		len = 0;
	else if (len > r->size - at)
		len = r->size - at;
	note(r, "%s %lld+%lld", storing ? "store" : "load", (long long)at,
	     (long long)len);
	if (len == 0)
		return;
	if (storing)
		random_bytes(r, r->model + at, len);
	if (r->dry)
		return;
	map = mmap(NULL, (size_t)r->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   r->fd, 0);
	if (map == MAP_FAILED)
		bad(r, "mmap");
	if (storing)
		memcpy(map + at, r->model + at, (size_t)len);
	else
		compare(r, at, map + at, len, "load");
	if (storing && msync(map, (size_t)r->size, MS_SYNC) != 0)
		bad(r, "msync");
	munmap(map, (size_t)r->size);
}

static void do_reopen(struct run *r)
{
	note(r, "reopen");
	if (r->dry)
		return;
	if (close(r->fd) != 0)
		bad(r, "close");
	open_file(r, 0);
	check_all(r);
}

static void do_fsync(struct run *r)
{
	note(r, "fsync");
	if (!r->dry && fsync(r->fd) != 0)
		bad(r, "fsync");
}

/* What SEEK_HOLE calls a hole must be zeros; data and holes take turns. */
static void do_seek(struct run *r)
{
	off_t at = 0, data, hole;

	note(r, "seek");
	while (!r->dry && at < r->size) {
		data = lseek(r->fd, at, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			bad(r, "SEEK_DATA");
		if (data < 0)
			data = r->size;
		for (off_t i = at; i < data; i++)
			if (r->model[i])
				bad(r, "byte %lld is called a hole",
				    (long long)i);
		if (data >= r->size)
			break;
		hole = lseek(r->fd, data, SEEK_HOLE);
		if (hole <= data || hole > r->size)
			bad(r, "SEEK_HOLE from %lld gave %lld", (long long)data,
			    (long long)hole);
		at = hole;
	}
}

static void do_direct(struct run *r)
{
	off_t at = below(r, conf.max) & ~(off_t)4095, want;
	ssize_t n;
	int fd;

	note(r, "direct %lld", (long long)at);
	if (r->dry)
		return;
	fd = open(r->name, O_RDONLY | O_DIRECT);
	if (fd < 0)
		bad(r, "open O_DIRECT");
	want = at >= r->size ? 0 : r->size - at < 8192 ? r->size - at : 8192;
	n = pread(fd, r->scratch, 8192, at);
	if (n != want)
		bad(r, "direct read of %zd bytes, not %lld", n,
		    (long long)want);
	compare(r, at, r->scratch, n, "direct read");
	close(fd);
}

static void one_op(struct run *r)
{
	switch (below(r, 24)) {
	case 0 ... 4:
		do_read(r);
		break;
	case 5 ... 10:
		do_write(r);
		break;
	case 11:
		do_append(r);
		break;
	case 12 ... 13:
		do_truncate(r);
		break;
	case 14:
		do_fallocate(r, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     "punch");
		break;
	case 15:
		do_fallocate(r,
			     below(r, 2) ? FALLOC_FL_ZERO_RANGE
					 : FALLOC_FL_ZERO_RANGE |
						   FALLOC_FL_KEEP_SIZE,
			     "zero");
		break;
	case 16:
		do_fallocate(r, below(r, 2) ? FALLOC_FL_KEEP_SIZE : 0,
			     "allocate");
		break;
	case 17:
		do_copy(r);
		break;
	case 18:
		do_map(r, false);
		break;
	case 19:
		do_map(r, true);
		break;
	case 20:
		do_reopen(r);
		break;
	case 21:
		do_fsync(r);
		break;
	case 22:
		do_seek(r);
		break;
	default:
		do_direct(r);
	}
}

/*
 * Blocks of the shared file: block B belongs to thread B % threads.  What a
 * block holds says which write of which thread it was, so it can be checked
 * without the other threads' models.
 */
static void shared_block(struct run *r, int fd)
{
	long block =
		below(r, SHARED_BLOCKS / conf.threads) * conf.threads + r->no;
	off_t at = block * BLOCK;
	char want[BLOCK], got[BLOCK];

	memset(want, (int)('a' + r->op % 26), sizeof(want));
	snprintf(want, sizeof(want), "block %ld op %ld", block, r->op);
	if (pwrite(fd, want, BLOCK, at) != BLOCK)
		bad(r, "write of shared block %ld", block);
	if (pread(fd, got, BLOCK, at) != BLOCK)
		bad(r, "read of shared block %ld", block);
	if (memcmp(want, got, BLOCK) != 0)
		bad(r, "shared block %ld is not what was written", block);
}

static void *run_thread(void *arg)
{
	struct run *r = arg;
	char shared[4200];
	int fd = -1;

	if (conf.threads > 1) {
		snprintf(shared, sizeof(shared), "%s.shared", conf.file);
		fd = open(shared, O_RDWR | O_CREAT, 0644);
		if (fd < 0)
			bad(r, "open %s", shared);
	}
	for (r->op = 0; r->op < conf.from + conf.ops; r->op++) {
		r->dry = r->op < conf.from;
		if (r->op == conf.from) {
			open_file(r, conf.from ? 0 : O_TRUNC);
			check_all(r);
		}
		one_op(r);
		if (!r->dry)
			check_size(r);
		if (!r->dry && fd >= 0 && r->op % 4 == 0) {
			uint64_t keep = r->random;

			shared_block(r, fd);
			r->random = keep;
		}
	}
	check_all(r);
	close(r->fd);
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void start(struct run *r, long no)
{
	r->no = no;
	r->random = ((uint64_t)conf.seed * 1000 + (uint64_t)no + 1) *
		    UINT64_C(0x9e3779b97f4a7c15);
	r->model = calloc(1, (size_t)conf.max + 4096);
	r->scratch = aligned_alloc(4096, ((size_t)conf.max + 140000) & ~4095ul);
	if (!r->model || !r->scratch)
		bad(r, "no memory");
	if (conf.threads > 1)
		snprintf(r->name, sizeof(r->name), "%s.%ld", conf.file, no);
	else
		snprintf(r->name, sizeof(r->name), "%s", conf.file);
}

static bool set_number(const char *arg, const char *key, long *value)
{
	size_t len = strlen(key);
	char *end;

	if (strncmp(arg, key, len) != 0 || arg[len] != '=')
		return false;
	*value = strtol(arg + len + 1, &end, 10);
	return !*end && end != arg + len + 1 && *value >= 0;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	struct run *runs;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "trace") == 0)
			conf.trace = true;
		else if (!set_number(argv[i], "seed", &conf.seed) &&
			 !set_number(argv[i], "ops", &conf.ops) &&
			 !set_number(argv[i], "max", &conf.max) &&
			 !set_number(argv[i], "threads", &conf.threads) &&
			 !set_number(argv[i], "from", &conf.from))
			argc = 0;
	}
	if (argc < 2 || conf.threads < 1 || conf.threads > 64 ||
	    conf.max < 8192) {
		fprintf(stderr, "usage: fsx FILE [seed=N] [ops=N] [max=BYTES] "
				"[threads=1..64] [from=N] [trace]\n");
		return 2;
	}
	conf.file = argv[1];
	runs = calloc((size_t)conf.threads, sizeof(*runs));
	if (!runs)
		return 1;
	for (long i = 0; i < conf.threads; i++) {
		start(&runs[i], i);
		if (pthread_create(&threads[i], NULL, run_thread, &runs[i]))
			bad(&runs[i], "no thread");
	}
	for (long i = 0; i < conf.threads; i++) {
		pthread_join(threads[i], NULL);
		free(runs[i].model);
		free(runs[i].scratch);
	}
	free(runs);
	return 0;
}
