/*
 * pgtime.c - timestamps and dates in the spellings that clients send, to the
 * one stored form (types.h).  Declared in types.h.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tools/serve/types.h"

struct scan {
	const char *p, *end;
};

/* Between min and max digits as a number; false if there are fewer. */
static bool scan_num(struct scan *s, int min, int max, int *out)
{
	int n = 0, x = 0;

	while (s->p < s->end && n < max && isdigit((unsigned char)*s->p)) {
		x = x * 10 + (*s->p++ - '0');
		n++;
	}
	*out = x;
	return n >= min;
}

static bool scan_char(struct scan *s, const char *set)
{
	if (s->p < s->end && *s->p != '\0' && strchr(set, *s->p) != NULL) {
		s->p++;
		return true;
	}
	return false;
}

static void scan_fraction(struct scan *s, int *micros)
{
	int n = 0, x = 0;

	while (s->p < s->end && isdigit((unsigned char)*s->p)) {
		if (n < 6) {
			x = x * 10 + (*s->p - '0');
			n++;
		}
		s->p++;
	}
	while (n++ < 6)
		x *= 10;
	*micros = x;
}

/* Z, UTC, +02, +0200, +02:00, +02:00:00: seconds east of Greenwich. */
static bool scan_zone(struct scan *s, int *offset)
{
	int sign, h, m = 0, sec = 0;

	*offset = 0;
	while (s->p < s->end && *s->p == ' ')
		s->p++;
	if (s->p == s->end)
		return true;
	if (scan_char(s, "Zz"))
		return true;
	if (s->end - s->p >= 3 && (strncasecmp(s->p, "utc", 3) == 0 ||
				   strncasecmp(s->p, "gmt", 3) == 0)) {
		s->p += 3;
		return true;
	}
	sign = *s->p == '-' ? -1 : 1;
	if (!scan_char(s, "+-") || !scan_num(s, 1, 2, &h))
		return false;
	if (scan_char(s, ":") || s->p < s->end)
		if (!scan_num(s, 2, 2, &m))
			return false;
	if (scan_char(s, ":") && !scan_num(s, 2, 2, &sec))
		return false;
	*offset = sign * (h * 3600 + m * 60 + sec);
	return h < 16 && m < 60;
}

static int month_days(int y, int m)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30,
				    31, 31, 30, 31, 30, 31 };

	if (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0))
		return 29;
	return days[m - 1];
}

static void time_put(char *out, int64_t seconds, int micros, bool date)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	gmtime_r(&t, &tm);
	if (date)
		(void)snprintf(out, DF_TIME_LEN, "%04d-%02d-%02d",
			       (tm.tm_year + 1900) % 10000, tm.tm_mon + 1,
			       tm.tm_mday);
	else
		(void)snprintf(
			out, DF_TIME_LEN, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
			(tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday,
			tm.tm_hour, tm.tm_min, tm.tm_sec, micros % 1000000);
}

static bool scan_date(struct scan *s, struct tm *tm)
{
	int y, m, d;

	if (!scan_num(s, 4, 4, &y) || !scan_char(s, "-/") ||
	    !scan_num(s, 1, 2, &m) || !scan_char(s, "-/") ||
	    !scan_num(s, 1, 2, &d))
		return false;
	if (y < 1 || m < 1 || m > 12 || d < 1 || d > month_days(y, m))
		return false;
	tm->tm_year = y - 1900;
	tm->tm_mon = m - 1;
	tm->tm_mday = d;
	return true;
}

static bool scan_clock(struct scan *s, struct tm *tm, int *micros)
{
	if (!scan_num(s, 1, 2, &tm->tm_hour) || !scan_char(s, ":") ||
	    !scan_num(s, 2, 2, &tm->tm_min))
		return false;
	if (scan_char(s, ":") && !scan_num(s, 2, 2, &tm->tm_sec))
		return false;
	if (scan_char(s, ".,"))
		scan_fraction(s, micros);
	return tm->tm_hour <= 24 && tm->tm_min <= 59 && tm->tm_sec <= 60 &&
	       (tm->tm_hour < 24 || tm->tm_min + tm->tm_sec == 0);
}

int df_time_parse(const char *text, size_t len, enum df_type t, char *out)
{
	struct scan s = { text, text + len };
	struct tm tm = { .tm_isdst = 0 };
	int micros = 0, offset = 0;

	while (s.p < s.end && isspace((unsigned char)*s.p))
		s.p++;
	while (s.end > s.p && isspace((unsigned char)s.end[-1]))
		s.end--;
	if ((size_t)(s.end - s.p) == 3 && strncasecmp(s.p, "now", 3) == 0) {
		int64_t now = df_clock_real_ns() / 1000;

		time_put(out, now / 1000000, (int)(now % 1000000),
			 t == DF_T_DATE);
		return 0;
	}
	if (!scan_date(&s, &tm) ||
	    (scan_char(&s, "Tt ") && !scan_clock(&s, &tm, &micros)) ||
	    !scan_zone(&s, &offset) || s.p != s.end)
		return -EINVAL;
	/* PostgreSQL drops the zone of a plain timestamp and of a date. */
	if (t != DF_T_TSTZ)
		offset = 0;
	time_put(out, (int64_t)timegm(&tm) - offset, micros, t == DF_T_DATE);
	return 0;
}

void df_time_now(char *out)
{
	int64_t now = df_clock_real_ns() / 1000;

	time_put(out, now / 1000000, (int)(now % 1000000), false);
}
