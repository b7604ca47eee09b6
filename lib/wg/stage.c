/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/stage.h"

#include <stdlib.h>

#include "wg/constants.h"

void *stage_push(struct stage *stage, void *packet)
{
	void *oldest = NULL;

	if (!stage->packets) {
		stage->packets = malloc(WG_STAGED_PACKETS * sizeof(*stage->packets));
		if (!stage->packets)
			return packet;
		stage->first = 0;
		stage->count = 0;
	}
	if (stage->count == WG_STAGED_PACKETS)
		oldest = stage_pop(stage);
	stage->packets[(stage->first + stage->count) % WG_STAGED_PACKETS] = packet;
	stage->count++;
	return oldest;
}

void *stage_pop(struct stage *stage)
{
	void *packet;

	if (stage->count == 0)
		return NULL;
	packet = stage->packets[stage->first];
	stage->first = (uint16_t)((stage->first + 1) % WG_STAGED_PACKETS);
	if (--stage->count == 0) {
		free(stage->packets);
		stage->packets = NULL;
	}
	return packet;
}
