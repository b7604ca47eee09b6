/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libsodium chooses its fastest code for this CPU in sodium_init(). Every file over libsodium
 * calls sodium_ready() first, so that callers need no set-up. Thread: any. Internal to lib/crypto.
 */
#ifndef CRYPTO_SODIUM_READY_H
#define CRYPTO_SODIUM_READY_H

void sodium_ready(void);

#endif
