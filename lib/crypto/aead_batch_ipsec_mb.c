/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The backend over Intel IPsec-MB. Its unchecked burst call is the fastest of its interfaces for
 * this AEAD; it finishes every job before it returns.
 *
 * What stays in the manager between two calls are the pointers in its job slots. The library
 * clears its own copies of keys when built with SAFE_DATA (Debian's is).
 */
#include <assert.h>
#include <errno.h>
#include <intel-ipsec-mb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/aead_batch_backend.h"
#include "crypto/wipe.h"

#define NONCE_BYTES 12

/*
 * The library's AVX2 code loads the second half of a key as 32 bytes. What is behind a key that
 * ends a page may not be readable: then the library gets a copy.
 */
#define BEYOND_BYTES 16
#define PAGE_BYTES   4096

static_assert(AEAD_BATCH_MAX <= IMB_MAX_BURST_SIZE, "one burst call must do");

struct context {
	struct aead_batch batch;
	IMB_MGR *manager;
	IMB_JOB *jobs[AEAD_BATCH_MAX];
	uint8_t nonces[AEAD_BATCH_MAX][NONCE_BYTES];
	uint8_t tags[AEAD_BATCH_MAX][AEAD_TAG_BYTES]; /* as computed, when opening */
	bool copied; /* keys, in this call; they are zero between calls */
	uint8_t keys[AEAD_BATCH_MAX][AEAD_KEY_BYTES + BEYOND_BYTES];
};

static const uint8_t *key_to_read(struct context *ctx, unsigned i, const uint8_t *key)
{
	if ((uintptr_t)(key + AEAD_KEY_BYTES - 1) % PAGE_BYTES < PAGE_BYTES - BEYOND_BYTES)
		return key;
	ctx->copied = true;
	return memcpy(ctx->keys[i], key, AEAD_KEY_BYTES);
}

static void fill_job(struct context *ctx, unsigned i, const struct aead_op *op, uint8_t *tag,
	IMB_CIPHER_DIRECTION direction)
{
	IMB_JOB *job = ctx->jobs[i];
	uint8_t *nonce = ctx->nonces[i];
	const uint8_t *key = key_to_read(ctx, i, op->key);

	store_le32(nonce, 0);
	store_le64(nonce + 4, op->counter);
	job->cipher_direction = direction;
	job->chain_order =
		direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->enc_keys = key;
	job->dec_keys = key;
	job->key_len_in_bytes = AEAD_KEY_BYTES;
	job->iv = nonce;
	job->iv_len_in_bytes = NONCE_BYTES;
	job->u.CHACHA20_POLY1305.aad = NULL;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
	job->src = op->data;
	job->dst = op->data;
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = op->len;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = op->len;
	job->auth_tag_output = tag;
	job->auth_tag_output_len_in_bytes = AEAD_TAG_BYTES;
#if IMB_VERSION_NUM >= IMB_VERSION(1, 4, 0)
	/* From then on a burst's jobs tell by it, not by the fields above, what is to be done. */
	(void)imb_set_session(ctx->manager, job);
#endif
}

static void submit(struct context *ctx, unsigned n)
{
	uint32_t done = IMB_SUBMIT_BURST_NOCHECK(ctx->manager, n, ctx->jobs);

	/*
	 * Jobs of this AEAD are never held back to be combined with later ones. A library that did
	 * would have us send plain text: end rather than that, in every build.
	 */
	if (done != n)
		abort();
	if (ctx->copied)
		wipe(ctx->keys, sizeof(ctx->keys));
	ctx->copied = false;
}

static void get_jobs(struct context *ctx, unsigned n)
{
	uint32_t got = IMB_GET_NEXT_BURST(ctx->manager, n, ctx->jobs);

	if (got != n)
		abort();
}

static void seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	struct context *ctx = (struct context *)batch;

	get_jobs(ctx, n);
	for (unsigned i = 0; i < n; i++)
		fill_job(ctx, i, &ops[i], ops[i].data + ops[i].len, IMB_DIR_ENCRYPT);
	submit(ctx, n);
}

static uint64_t open(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	struct context *ctx = (struct context *)batch;
	uint64_t authentic = 0;

	get_jobs(ctx, n);
	for (unsigned i = 0; i < n; i++)
		fill_job(ctx, i, &ops[i], ctx->tags[i], IMB_DIR_DECRYPT);
	submit(ctx, n);
	for (unsigned i = 0; i < n; i++) {
		uint64_t same = equal_ct(ctx->tags[i], ops[i].data + ops[i].len, AEAD_TAG_BYTES);

		authentic |= same << i;
	}
	return authentic;
}

static void destroy(struct aead_batch *batch)
{
	struct context *ctx = (struct context *)batch;

	free_mb_mgr(ctx->manager);
	free(ctx);
}

static const struct aead_batch_ops backend_ops = {
	.name = "ipsec-mb",
	.destroy = destroy,
	.seal = seal,
	.open = open,
};

/*
 * The unchecked call takes jobs on trust, and what they have to say has changed between versions of
 * the library: one that is asked in a wrong way may well leave the text as it is.
 */
static bool does_its_work(struct context *ctx)
{
	static const uint8_t key[AEAD_KEY_BYTES + BEYOND_BYTES] = {1, 2, 3};
	uint8_t text[100] = {0}, expected[sizeof(text)];
	const struct aead_op op = {
		.data = text, .key = key, .counter = 7, .len = sizeof(text) - AEAD_TAG_BYTES};

	aead_seal(expected, text, op.len, NULL, 0, op.counter, key);
	seal(&ctx->batch, &op, 1);
	if (memcmp(text, expected, sizeof(text)) != 0 || open(&ctx->batch, &op, 1) != 1)
		return false;
	for (unsigned i = 0; i < op.len; i++)
		if (text[i] != 0)
			return false;
	text[0] ^= 1;
	return open(&ctx->batch, &op, 1) == 0;
}

static bool init_best(IMB_MGR *manager)
{
	IMB_ARCH arch;

	init_mb_mgr_auto(manager, &arch);
	return arch != IMB_ARCH_NONE && imb_get_errno(manager) == 0;
}

static bool init_avx2(IMB_MGR *manager)
{
	init_mb_mgr_avx2(manager);
	return imb_get_errno(manager) == 0;
}

static struct aead_batch *create_with(bool (*init)(IMB_MGR *manager))
{
	struct context *ctx = calloc(1, sizeof(*ctx));

	if (ctx == NULL)
		return NULL;
	ctx->manager = alloc_mb_mgr(0);
	if (ctx->manager == NULL) {
		free(ctx);
		errno = ENOMEM;
		return NULL;
	}
	if (!init(ctx->manager) || !does_its_work(ctx)) {
		free_mb_mgr(ctx->manager);
		free(ctx);
		errno = ENOTSUP;
		return NULL;
	}
	ctx->batch.ops = &backend_ops;
	return &ctx->batch;
}

struct aead_batch *aead_batch_ipsec_mb_create(void)
{
	return create_with(init_best);
}

struct aead_batch *aead_batch_ipsec_mb_avx2(void)
{
	return create_with(init_avx2);
}
