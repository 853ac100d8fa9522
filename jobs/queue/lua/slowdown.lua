-- Shared by other scripts, and put before them: how a rate is slowed down by answers 429 and recovers.
--
-- Each step halves the rate, so three steps leave an eighth. Each `recover_us` without another 429 undoes a step. A hash
-- beside the rate's own key notes the steps and when the last one was added.
local MOST_STEPS = 3

local function slowdown_key(rate) return rate .. ':slow' end

-- The answer of HMGET for `steps` and `since` as two numbers; nil if it is not two numbers.
local function read_slowdown(noted)
  local steps, since = tonumber(noted[1]), tonumber(noted[2])
  if steps and since then return steps, since end
end

-- The steps that are left of those that were noted.
local function slowdown_steps(noted, now, recover_us)
  local steps, since = read_slowdown(noted)
  if not steps then return 0 end
  return math.max(0, math.min(MOST_STEPS, steps - math.floor((now - since) / recover_us)))
end

-- The number to multiply the time between two calls by.
local function slowdown_factor(noted, now, recover_us) return 2 ^ slowdown_steps(noted, now, recover_us) end
