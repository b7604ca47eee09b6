/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: a connection of any bytes to a device. The first byte says in pieces of how many the
 * rest arrives. What must hold whatever comes:
 * - requests are the same, however they are cut;
 * - a refused request says why, in one printable line, and holds no config;
 * - what a device prints is, less the state in it, a request that makes the same device.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_device.h"
#include "must.h"
#include "uapi/apply.h"
#include "uapi/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct uapi_hooks hooks;
static const struct wg_time now = {1, 1};

static void check_refusal(struct uapi_parser *parser)
{
	const char *reason = uapi_parser_reason(parser);

	MUST(uapi_parser_errno(parser) < 0);
	MUST(strncmp(reason, "line ", 5) == 0);
	for (const char *p = reason; *p; p++)
		MUST(*p >= ' ' && *p <= '~');
	MUST(uapi_parser_config(parser)->peer_count == 0);
}

/* Runs a connection, up to where it is broken. The kinds of requests seen go into *history. */
static void run(
	struct wg_device *device, const char *text, size_t len, size_t step, uint64_t *history)
{
	struct uapi_parser *parser = uapi_parser_create();
	enum uapi_request request = UAPI_REQUEST_NONE;

	MUST(parser);
	for (size_t at = 0; at < len && request != UAPI_REQUEST_BROKEN;) {
		size_t n = len - at < step ? len - at : step;

		at += uapi_parser_feed(parser, text + at, n);
		request = uapi_parser_request(parser);
		if (request == UAPI_REQUEST_NONE)
			continue;
		*history = *history * 5 + request;
		if (request == UAPI_REQUEST_SET)
			MUST(uapi_apply(device, uapi_parser_config(parser), &hooks, now, NULL) ==
				0);
		else if (request != UAPI_REQUEST_GET)
			check_refusal(parser);
		uapi_parser_reset(parser);
	}
	uapi_parser_destroy(parser);
}

static void print_all(struct wg_device *device, FILE *to)
{
	struct uapi_printer *printer = uapi_printer_create(device, 1, 1);
	const char *text;
	size_t len;

	MUST(printer);
	while (uapi_printer_next(printer, &text, &len) == 1)
		fwrite(text, 1, len, to);
	uapi_printer_destroy(printer);
}

/* The answer as a request: without the lines that only "get" has. */
static char *as_request(char *answer)
{
	static const char *const left_out[] = {
		"last_handshake_", "tx_bytes=", "rx_bytes=", "errno="};
	char *request = NULL, *save;
	size_t len;
	FILE *to = open_memstream(&request, &len);

	MUST(to);
	fputs("set=1\n", to);
	for (char *line = strtok_r(answer, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool keep = true;

		for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
			keep = keep && strncmp(line, left_out[i], strlen(left_out[i])) != 0;
		if (keep)
			fprintf(to, "%s\n", line);
	}
	fputc('\n', to);
	fclose(to);
	return request;
}

static char *dump(struct wg_device *device)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	MUST(to);
	fake_device_dump(device, to);
	fclose(to);
	return text;
}

static void check_same(struct wg_device *one, struct wg_device *two)
{
	char *a = dump(one), *b = dump(two);

	MUST(strcmp(a, b) == 0);
	free(a);
	free(b);
}

static void check_round_trip(struct wg_device *device)
{
	struct wg_device *copy = fake_device_create();
	char *answer = NULL, *request;
	uint64_t history = 0;
	size_t len;
	FILE *to = open_memstream(&answer, &len);

	MUST(to);
	print_all(device, to);
	fclose(to);
	request = as_request(answer);
	run(copy, request, strlen(request), 1000, &history);
	MUST(history == UAPI_REQUEST_SET);
	check_same(device, copy);
	free(answer);
	free(request);
	fake_device_destroy(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wg_device *whole, *cut;
	uint64_t history[2] = {0};

	if (size == 0)
		return 0;
	whole = fake_device_create();
	cut = fake_device_create();
	run(whole, (const char *)data + 1, size - 1, size, &history[0]);
	run(cut, (const char *)data + 1, size - 1, (size_t)data[0] + 1, &history[1]);
	MUST(history[0] == history[1]);
	check_same(whole, cut);
	check_round_trip(whole);
	fake_device_destroy(whole);
	fake_device_destroy(cut);
	return 0;
}
