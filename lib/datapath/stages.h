/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each stage of the data path costs: TSC cycles and packets, counted by each worker while
 * control wants it, for /wg/stages. While nobody asks it costs a worker one load a burst and a
 * branch a stage.
 *
 * A worker's time is cut into laps: what passed since the last lap is the stage's that ends now. So
 * nothing is counted twice where stages call one another (deliver goes on with route), and all
 * stages together are the whole.
 *
 * The worker is the only writer; readers take each number as it is.
 */
#ifndef DATAPATH_STAGES_H
#define DATAPATH_STAGES_H

#include <stdint.h>

/* X(enumerator, direction, name), in the order they run */
#define DP_STAGES(X)                                                                               \
	X(DP_STAGE_RECEIVE, "port", "receive")                                                     \
	X(DP_STAGE_CLASSIFY, "inbound", "classify")                                                \
	X(DP_STAGE_FIND, "inbound", "find")                                                        \
	X(DP_STAGE_OPEN, "inbound", "open")                                                        \
	X(DP_STAGE_ACCEPT, "inbound", "accept")                                                    \
	X(DP_STAGE_DECAP, "inbound", "decap")                                                      \
	X(DP_STAGE_SOURCE, "inbound", "source")                                                    \
	X(DP_STAGE_DELIVER, "inbound", "deliver")                                                  \
	X(DP_STAGE_VALIDATE, "outbound", "validate")                                               \
	X(DP_STAGE_FORWARD, "outbound", "forward")                                                 \
	X(DP_STAGE_ROUTE, "outbound", "route")                                                     \
	X(DP_STAGE_SESSION, "outbound", "session")                                                 \
	X(DP_STAGE_NUMBER, "outbound", "number")                                                   \
	X(DP_STAGE_ENCAP, "outbound", "encap")                                                     \
	X(DP_STAGE_SEAL, "outbound", "seal")                                                       \
	X(DP_STAGE_ACCOUNT, "outbound", "account")                                                 \
	X(DP_STAGE_SEND, "outbound", "send")                                                       \
	X(DP_STAGE_SPREAD, "port", "spread")                                                       \
	X(DP_STAGE_TRANSMIT, "port", "transmit")

enum dp_stage {
#define DP_STAGE_ENUM(id, direction, name) id,
	DP_STAGES(DP_STAGE_ENUM)
#undef DP_STAGE_ENUM
		DP_STAGE_COUNT
};

struct dp_stages {
	uint64_t last; /* [worker w] TSC at the end of the last lap */
	uint64_t cycles[DP_STAGE_COUNT], packets[DP_STAGE_COUNT]; /* [worker w, any r] */
};

/* "inbound", "outbound", or "port" for what belongs to neither; "classify". */
const char *dp_stage_direction(enum dp_stage stage);
const char *dp_stage_name(enum dp_stage stage);

#endif
