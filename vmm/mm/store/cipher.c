/* See cipher.h. */
#include "store/cipher.h"

#include <errno.h>
#include <guestmm/types.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

struct cipher {
	EVP_CIPHER *aes;
	EVP_CIPHER_CTX *context;
	unsigned char *key; /* at the beginning of its page */
};

/* Half a key that equals the other one would be refused, and would be no key. */
static int make_key(unsigned char *key)
{
	do {
		ssize_t n = getrandom(key, CIPHER_KEY_BYTES, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n != CIPHER_KEY_BYTES)
			return -EIO;
	} while (memcmp(key, key + CIPHER_KEY_BYTES / 2, CIPHER_KEY_BYTES / 2) == 0);
	return 0;
}

static int key_page_new(unsigned char **out)
{
	void *page = mmap(NULL, GMM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	int error = 0;

	if (page == MAP_FAILED)
		return -ENOMEM;
	/* Before there is anything in it. */
	if (mlock(page, GMM_PAGE_BYTES) < 0)
		error = -ENOLCK;
	else if (madvise(page, GMM_PAGE_BYTES, MADV_DONTDUMP) < 0 ||
		 madvise(page, GMM_PAGE_BYTES, MADV_DONTFORK) < 0)
		error = -ENOMEM;
	else
		error = make_key(page);
	if (error)
		munmap(page, GMM_PAGE_BYTES);
	else
		*out = page;
	return error;
}

int cipher_new(struct cipher **out)
{
	struct cipher *c = calloc(1, sizeof(*c));
	int error;

	if (!c)
		return -ENOMEM;
	error = key_page_new(&c->key);
	if (!error) {
		c->aes = EVP_CIPHER_fetch(NULL, "AES-256-XTS", NULL);
		c->context = EVP_CIPHER_CTX_new();
		error = !c->aes ? -ENOTSUP : !c->context ? -ENOMEM : 0;
	}
	if (error) {
		cipher_free(c);
		return error;
	}
	*out = c;
	return 0;
}

struct cipher *cipher_free(struct cipher *c)
{
	if (!c)
		return NULL;
	if (c->key) {
		OPENSSL_cleanse(c->key, GMM_PAGE_BYTES);
		munmap(c->key, GMM_PAGE_BYTES); /* unlocks it, too */
	}
	EVP_CIPHER_CTX_free(c->context);
	EVP_CIPHER_free(c->aes);
	free(c);
	return NULL;
}

bool cipher_begin(struct cipher *c, enum cipher_way way)
{
	if (EVP_CipherInit_ex2(c->context, c->aes, c->key, NULL, way == CIPHER_ENCRYPT, NULL) == 1)
		return true;
	cipher_end(c);
	return false;
}

/* The reset wipes the expanded key. */
void cipher_end(struct cipher *c)
{
	EVP_CIPHER_CTX_reset(c->context);
}

bool cipher_page(struct cipher *c, uint64_t slot, const void *from, void *to)
{
	unsigned char tweak[16] = {0};
	int bytes = 0;

	for (unsigned i = 0; i < sizeof(slot); i++)
		tweak[i] = (unsigned char)(slot >> 8 * i);
	return EVP_CipherInit_ex2(c->context, NULL, NULL, tweak, -1, NULL) == 1 &&
	       EVP_CipherUpdate(c->context, to, &bytes, from, (int)GMM_PAGE_BYTES) == 1 &&
	       bytes == (int)GMM_PAGE_BYTES;
}

const void *cipher_key(const struct cipher *c)
{
	return c->key;
}
