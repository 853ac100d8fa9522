-- The rate of one source (GCRA, on Redis' own clock). Included in other scripts, which also use wrong_types. Unlike in
-- throttle.lua, a request that has to wait reserves nothing, because its app may never repeat it.
--
-- Returns the microseconds until the rate allows so many units, 0 if it does now, and a function that takes a number of units.
-- Its answer may be the error of a Redis that takes no writes.
local function source_rate(rate, units, interval, burst)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local free = tonumber(renewing('GET', rate) or 0) or 0
  -- No request sets a later time, so the clock was set back since then.
  if free > now + 2 * burst * interval then free = now end
  free = math.max(free, now)
  local function take(number)
    local after = free + number * interval
    return redis.pcall('SET', rate, string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1000)
  end
  return math.max(0, math.ceil(free + units * interval - burst * interval - now)), take
end
