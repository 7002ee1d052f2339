/* test_backend_tls.c - whom the client trusts, with certificates made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "backend/api.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

#include "backend_script.h"

struct cert {
	EVP_PKEY *key;
	X509 *x509;
	char *key_pem, *cert_pem;
};

static struct cert ca, other_ca;
static char ca_file[64], other_file[64];

static char *pem_of(EVP_PKEY *key, X509 *x509)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *data;

	if (key)
		assert_int_equal(PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0,
							  NULL, NULL),
				 1);
	else
		assert_int_equal(PEM_write_bio_X509(b, x509), 1);
	long len = BIO_get_mem_data(b, &data);
	char *text = strndup(data, (size_t)len);
	BIO_free(b);
	return text;
}

static void add_ext(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(e);
	assert_int_equal(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

/* names: subjectAltName; NULL: a certificate authority. */
static struct cert make_cert(const char *cn, const char *names,
			     const struct cert *by, long from_s, long to_s)
{
	struct cert c = { .key = EVP_EC_gen("P-256"), .x509 = X509_new() };
	X509_NAME *name = X509_get_subject_name(c.x509);

	assert_non_null(c.key);
	X509_set_version(c.x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c.x509), from_s + 1000000);
	X509_gmtime_adj(X509_getm_notBefore(c.x509), from_s);
	X509_gmtime_adj(X509_getm_notAfter(c.x509), to_s);
	X509_set_pubkey(c.x509, c.key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
				   (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(c.x509,
			     by ? X509_get_subject_name(by->x509) : name);
	if (names)
		add_ext(c.x509, NID_subject_alt_name, names);
	else
		add_ext(c.x509, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(c.x509, by ? by->key : c.key, EVP_sha256()) > 0);
	c.key_pem = pem_of(c.key, NULL);
	c.cert_pem = pem_of(NULL, c.x509);
	return c;
}

static void free_cert(struct cert *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->x509);
	free(c->key_pem);
	free(c->cert_pem);
}

static void save(char *path, size_t size, const char *name, const char *pem)
{
	snprintf(path, size, "/tmp/test-tls-%s-%d.pem", name, (int)getpid());
	assert_int_equal(df_file_replace(path, pem, strlen(pem), 0600), 0);
}

/* One query to a server that shows cert; the number of requests it saw. */
static int ask(const struct cert *cert, const char *trust, size_t *n,
	       char *words, size_t size)
{
	struct step step = { .status = 200, .body = "{}" };
	struct df_api_conf conf = { .workspace = "w", .ca_file = trust };
	struct df_call call = { .what = "test",
				.class = DF_HTTP_URGENT,
				.writes = true,
				.deadline_ns = df_deadline_ms(5000) };
	struct df_api_health h;
	struct df_answer a;
	struct df_stmt st;
	struct df_api *api;
	struct script s;

	script_start_tls(&s, &step, 1, cert->key_pem, cert->cert_pem);
	conf.api_url = s.url;
	assert_int_equal(df_api_new(&conf, &api), 0);
	assert_int_equal(df_api_set_auth(api, "secret", NULL), 0);
	df_stmt_init(&st, 0);
	df_stmt_sql(&st, "SELECT 1");
	int64_t start = df_deadline_ms(0);
	int err = df_api_sql(api, &st, &call, &a);
	/* Nothing to wait for: a bad certificate is not asked again. */
	assert_true(df_deadline_ms(0) - start < slow_ms(3000) * DF_NS_PER_MS);
	df_api_health(api, &h);
	snprintf(words, size, "%s", h.text);
	df_answer_release(&a);
	df_stmt_release(&st);
	df_api_stop(api);
	df_api_free(api);
	*n = script_n(&s);
	script_stop(&s);
	return err;
}

static void trusts_whom_it_should(void **state)
{
	struct cert c = make_cert("good", "IP:127.0.0.1", &ca, -100, 86400);
	char words[256];
	size_t n;

	(void)state;
	assert_int_equal(ask(&c, ca_file, &n, words, sizeof(words)), 0);
	assert_int_equal(n, 1);
	assert_string_equal(words, "");
	/* SSL_CERT_FILE, unless ca_file is given. */
	setenv("SSL_CERT_FILE", ca_file, 1);
	assert_int_equal(ask(&c, NULL, &n, words, sizeof(words)), 0);
	assert_int_equal(ask(&c, other_file, &n, words, sizeof(words)),
			 -EKEYREJECTED);
	unsetenv("SSL_CERT_FILE");
	free_cert(&c);
}

static void check_refused(const struct cert *c, const char *trust,
			  const char *word)
{
	char words[256];
	size_t n;

	assert_int_equal(ask(c, trust, &n, words, sizeof(words)),
			 -EKEYREJECTED);
	assert_int_equal(n, 0); /* the token never left */
	assert_non_null(strstr(words, "certificate"));
	if (!strcasestr(words, word))
		fail_msg("\"%s\" does not say \"%s\"", words, word);
}

static void refuses_the_rest(void **state)
{
	struct cert good = make_cert("a", "IP:127.0.0.1", &ca, -100, 86400);
	struct cert old = make_cert("b", "IP:127.0.0.1", &ca, -86400, -60);
	struct cert early = make_cert("c", "IP:127.0.0.1", &ca, 3600, 86400);
	struct cert wrong =
		make_cert("d", "DNS:other.example", &ca, -100, 86400);
	struct cert self = make_cert("e", "IP:127.0.0.1", NULL, -100, 86400);

	(void)state;
	check_refused(&good, other_file, "issuer");
	check_refused(&good, NULL, "issuer"); /* the system's */
	check_refused(&old, ca_file, "expired");
	check_refused(&early, ca_file, "not yet valid");
	check_refused(&wrong, ca_file, "127.0.0.1");
	check_refused(&self, ca_file, "self");
	free_cert(&good);
	free_cert(&old);
	free_cert(&early);
	free_cert(&wrong);
	free_cert(&self);
}

static void a_missing_ca_file_is_said(void **state)
{
	struct df_api_conf conf = { .workspace = "w",
				    .api_url = "https://127.0.0.1:1",
				    .ca_file = "/nonexistent/ca.pem" };
	struct df_api *api;
	char text[256];
	long when;

	(void)state;
	assert_int_equal(df_api_new(&conf, &api), -ENOENT);
	df_log_last_error(text, sizeof(text), &when);
	assert_non_null(strstr(text, "/nonexistent/ca.pem"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trusts_whom_it_should),
		cmocka_unit_test(refuses_the_rest),
		cmocka_unit_test(a_missing_ca_file_is_said),
	};

	if (!MHD_is_feature_supported(MHD_FEATURE_TLS)) {
		printf("skipped: libmicrohttpd without TLS\n");
		return 0;
	}
	unsetenv("SSL_CERT_FILE");
	df_log_open("/dev/null", "test");
	ca = make_cert("Test CA", NULL, NULL, -1000, 864000);
	other_ca = make_cert("Other CA", NULL, NULL, -1000, 864000);
	save(ca_file, sizeof(ca_file), "ca", ca.cert_pem);
	save(other_file, sizeof(other_file), "other", other_ca.cert_pem);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(ca_file);
	unlink(other_file);
	free_cert(&ca);
	free_cert(&other_ca);
	return failed;
}
