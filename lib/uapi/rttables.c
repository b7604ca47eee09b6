/* SPDX-License-Identifier: BSD-3-Clause */
#include "uapi/rttables.h"

#include <glob.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define LINE_BYTES 512

bool rttables_find(FILE *file, struct span name, uint32_t *number)
{
	char line[LINE_BYTES], digits[LINE_BYTES], found[LINE_BYTES];
	uint64_t value;

	while (fgets(line, sizeof(line), file)) {
		/* A comment has no number. */
		if (sscanf(line, "%511s %511s", digits, found) != 2 || !span_is(name, found) ||
			!field_number_or_hex(
				(struct span){digits, strlen(digits)}, UINT32_MAX, &value) ||
			value == 0)
			continue;
		*number = (uint32_t)value;
		return true;
	}
	return false;
}

static bool find_in(const char *path, struct span name, uint32_t *number)
{
	FILE *file = fopen(path, "re");
	bool found;

	if (!file)
		return false;
	found = rttables_find(file, name, number);
	fclose(file);
	return found;
}

static bool find_in_all(struct span name, uint32_t *number)
{
	static const char *const patterns[] = {"/etc/iproute2/rt_tables",
		"/etc/iproute2/rt_tables.d/*.conf", "/usr/share/iproute2/rt_tables",
		"/usr/share/iproute2/rt_tables.d/*.conf"};
	bool found = false;
	glob_t files;

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]) && !found; i++) {
		if (glob(patterns[i], 0, NULL, &files) != 0)
			continue;
		for (size_t k = 0; k < files.gl_pathc && !found; k++)
			found = find_in(files.gl_pathv[k], name, number);
		globfree(&files);
	}
	return found;
}

bool rttables_number(struct span name, uint32_t *number)
{
	static const struct {
		const char *name;
		uint32_t number;
	} known[] = {
		{"main", RT_TABLE_MAIN}, {"default", RT_TABLE_DEFAULT}, {"local", RT_TABLE_LOCAL}};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!span_is(name, known[i].name))
			continue;
		*number = known[i].number;
		return true;
	}
	return find_in_all(name, number);
}
