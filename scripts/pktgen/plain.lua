-- SPDX-License-Identifier: BSD-3-Clause
-- Plain traffic to many peers' prefixes at a constant rate, until Pktgen is told to stop.
--   WG_SIZE=64|...|imix (64)   WG_PERCENT=of the line (10)   WG_SECONDS=(10)
package.path = package.path .. ";scripts/pktgen/?.lua"
local wg = require "wg"

local size = os.getenv("WG_SIZE") or "64"
local seconds = tonumber(os.getenv("WG_SECONDS") or 10)

if size == "imix" then wg.traffic_imix() else wg.traffic(tonumber(size)) end
local sent, received = wg.trial(tonumber(os.getenv("WG_PERCENT") or 10), seconds)
wg.tell(string.format("%s: sent %d, received %d (%.3f Mpps), lost %.4f %%", size, sent, received,
	received / seconds / 1e6, sent > 0 and 100 * (sent - received) / sent or 0))
