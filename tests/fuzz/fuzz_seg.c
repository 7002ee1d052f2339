// links: base backend cache
/*
 * fuzz_seg.c - a cache directory with one hostile segment file.
 *
 * The first byte chooses the stream, the rest is the file; its head is made
 * to carry the right number and stream, so that the fuzzer gets behind it.
 * Opening, replaying, reading and sealing must neither crash nor hang.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/bytes/seg.h"
#include "cache/bytes/segfmt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char dir[64];

static void empty_dir(void)
{
	char path[400];
	snprintf(path, sizeof(path), "%s/seg", dir);
	DIR *d = opendir(path);

	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/seg/%s", dir, e->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
}

static void drop_dir(void)
{
	char path[80];

	empty_dir();
	snprintf(path, sizeof(path), "%s/seg", dir);
	rmdir(path);
	rmdir(dir);
}

static void make_dir(void)
{
	char path[80];

	/* Memory where there is some: a directory a run on a disk is slow. */
	snprintf(dir, sizeof(dir), "%s/df-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/seg", dir);
	if (mkdir(path, 0700))
		abort();
	atexit(drop_dir);
	df_log_set_level(DF_LOG_ERROR - 1);
}

static void write_segment(uint8_t stream, const uint8_t *data, size_t len)
{
	static const char letter[] = "jdf";
	uint8_t head[DF_SEG_PAGE] = { 0 };
	char path[80];

	snprintf(path, sizeof(path), "%s/seg/00000007.%c", dir, letter[stream]);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		abort();
	memcpy(head, data, DF_MIN(len, sizeof(head)));
	df_le_put32(head + 12, 7);
	head[16] = stream;
	if (df_write_all(fd, head, DF_MIN(len, sizeof(head))) ||
	    (len > sizeof(head) &&
	     df_write_all(fd, data + sizeof(head), len - sizeof(head))))
		abort();
	close(fd);
	snprintf(path, sizeof(path), "%s/seg/next", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || df_write_all(fd, "1000\n", 5))
		abort();
	close(fd);
}

static int touch(void *arg, uint8_t type, uint64_t seq, const void *rec,
		 size_t rec_len, struct df_loc data, size_t data_len)
{
	struct df_segs *s = arg;
	uint8_t *buf = malloc(data_len + 1);
	uint64_t sum = type + seq;

	/* every byte that we are given is there */
	for (size_t i = 0; i < rec_len; i++)
		sum += ((const uint8_t *)rec)[i];
	if (buf && data.seg && !df_seg_read(s, data, buf, data_len))
		for (size_t i = 0; i < data_len; i++)
			sum += buf[i];
	free(buf);
	return sum == UINT64_C(0x123456789) ? -EINTR : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct df_segs *s;
	uint8_t buf[4096];

	if (len < 1)
		return -1;
	if (!dir[0])
		make_dir();
	write_segment(data[0] % DF_STREAMS, data + 1, len - 1);
	if (!df_segs_open(dir, UINT64_C(16) << 20, &s)) {
		df_segs_replay(s, 0, touch, s);
		for (uint32_t off = 0; off < len; off += 509)
			df_seg_read(s, (struct df_loc){ 7, off }, buf,
				    off % sizeof(buf));
		df_seg_append(s, 1, UINT64_MAX, "x", 1, NULL, 0, 0, NULL);
		df_segs_evict(s, 15 << 20);
		df_segs_free(s);
	}
	empty_dir();
	return 0;
}
