/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target once over each file of a directory, in order of names: the seeds and what was
 * found with them, as an ordinary test with any compiler. A target that fails aborts.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEED_BYTES_MAX (1u << 16)

static int replay(const char *dir, const char *name)
{
	static uint8_t buffer[SEED_BYTES_MAX];
	char path[4096];
	uint8_t *data;
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return -1;
	}
	len = fread(buffer, 1, sizeof(buffer), file);
	fclose(file);
	printf("%s (%zu bytes)\n", name, len);
	fflush(stdout);
	/* Memory of just that length: a read beyond it is found. */
	data = malloc(len);
	for (size_t i = 0; i < len; i++)
		data[i] = buffer[i];
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	struct dirent **entries;
	int count, replayed = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	count = scandir(argv[1], &entries, NULL, alphasort);
	if (count < 0) {
		perror(argv[1]);
		return 1;
	}
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.') {
			if (replay(argv[1], entries[i]->d_name) < 0)
				return 1;
			replayed++;
		}
		free(entries[i]);
	}
	free(entries);
	printf("%d seeds\n", replayed);
	return replayed > 0 ? 0 : 1;
}
