/* The cipher of a file store: AES-256-XTS by OpenSSL, a slot's number as the tweak.
 *
 * The key is made here, from the kernel's random numbers, and goes with the cipher: nobody can set
 * it or get it. It lies in a page of its own, locked in memory, left out of core dumps and of
 * children after fork(), and wiped at the end. What OpenSSL derives from it lies in OpenSSL's own
 * memory, and only between cipher_begin() and cipher_end(), which wipes it: some microseconds for a
 * batch.
 *
 * What XTS gives: whoever sees the device learns nothing of a page's content, and the same content
 * in two slots looks different. What it does not: content that is the same again in the same slot,
 * or in an aligned 16 bytes of it, looks the same again, so that somebody who watches the device
 * over time sees which blocks change; and it does not tell what was changed, which is what the
 * checksums of the contents, kept in memory, are for.
 */
#ifndef MM_STORE_CIPHER_H
#define MM_STORE_CIPHER_H

#include <stdbool.h>
#include <stdint.h>

#define CIPHER_KEY_BYTES 64u /* two keys of 256 bits */

struct cipher;

/* 0, -ENOLCK (the key cannot be locked in memory: `ulimit -l`), -ENOTSUP (OpenSSL has no
 * AES-256-XTS), -EIO (no random numbers), -ENOMEM. */
int cipher_new(struct cipher **out);
struct cipher *cipher_free(struct cipher *c);

enum cipher_way { CIPHER_DECRYPT, CIPHER_ENCRYPT };

/* Pages between these two: in that way. False: OpenSSL failed, there is nothing to end. */
bool cipher_begin(struct cipher *c, enum cipher_way way);
void cipher_end(struct cipher *c);

/* `from` and `to` may be the same page. False: OpenSSL failed, `to` is not to be used. */
bool cipher_page(struct cipher *c, uint64_t slot, const void *from, void *to);

/* For tests: where the key is. */
const void *cipher_key(const struct cipher *c);

#endif
