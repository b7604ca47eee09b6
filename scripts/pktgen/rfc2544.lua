-- SPDX-License-Identifier: BSD-3-Clause
-- Throughput as RFC 2544 has it: for each frame size and for IMIX the highest rate without loss
-- (NDR) and with half a percent (PDR).
--   WG_TRIAL_SECONDS=(10; RFC 2544 wants 60)   WG_STEPS=(9: to 0.2 % of the line)
package.path = package.path .. ";scripts/pktgen/?.lua"
local wg = require "wg"

local seconds = tonumber(os.getenv("WG_TRIAL_SECONDS") or 10)
local steps = tonumber(os.getenv("WG_STEPS") or 9)

local function measure(name, size, prepare)
	prepare()
	for _, kind in ipairs({{"NDR", 0}, {"PDR", 0.005}}) do
		wg.tell(string.format("%s, %s:", name, kind[1]))
		local percent, pps = wg.search(kind[2], seconds, steps, wg.tell)
		wg.tell(string.format("%s, %s: %.2f %% of the line, %.3f Mpps, %.2f Gbit/s of frames", name,
			kind[1], percent, pps / 1e6, pps * size * 8 / 1e9))
	end
end

for _, size in ipairs(wg.frames) do
	measure(size .. "B", size, function() wg.traffic(size) end)
end
measure("IMIX", wg.imix_mean(), wg.traffic_imix)
