/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/stages.h"

#include <assert.h>

const char *dp_stage_direction(enum dp_stage stage)
{
	static const char *const directions[DP_STAGE_COUNT] = {
#define DP_STAGE_DIRECTION(id, direction, name) [id] = direction,
		DP_STAGES(DP_STAGE_DIRECTION)
#undef DP_STAGE_DIRECTION
	};
	assert(stage < DP_STAGE_COUNT);
	return directions[stage];
}

const char *dp_stage_name(enum dp_stage stage)
{
	static const char *const names[DP_STAGE_COUNT] = {
#define DP_STAGE_NAME(id, direction, name) [id] = name,
		DP_STAGES(DP_STAGE_NAME)
#undef DP_STAGE_NAME
	};
	assert(stage < DP_STAGE_COUNT);
	return names[stage];
}
