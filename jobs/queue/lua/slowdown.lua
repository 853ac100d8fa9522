-- Functions that slow a rate down after a 429 and let it recover. Included in other scripts.
--
-- Each step halves the rate, so three steps leave an eighth. Each `recover_us` without another 429 undoes a step. A second
-- key of the rate holds the number of steps and when the last one was added.
local MOST_STEPS = 3

local function slowdown_key(rate) return rate .. ':slow' end

-- Returns `steps` and `since` of the answer of HMGET; nil if one is not a number.
local function read_slowdown(noted)
  local steps, since = tonumber(noted[1]), tonumber(noted[2])
  if steps and since then return steps, since end
end

-- Returns the steps that have not recovered yet.
local function slowdown_steps(noted, now, recover_us)
  local steps, since = read_slowdown(noted)
  if not steps then return 0 end
  return math.max(0, math.min(MOST_STEPS, steps - math.floor((now - since) / recover_us)))
end

-- Returns the factor by which the time between two requests is longer.
local function slowdown_factor(noted, now, recover_us) return 2 ^ slowdown_steps(noted, now, recover_us) end
