-- Returns the current slowdown of each rate. Reads only.
--
-- Uses: wrong_types
-- Uses: slowdown
-- KEYS: the rates
-- ARGV: microseconds to recover a step
-- Returns a factor for each rate: 1 at full speed, 8 at an eighth
local time = redis.call('TIME')
local now, recover_us = time[1] * 1000000 + time[2], tonumber(ARGV[1])
local factors = {}
for i, rate in ipairs(KEYS) do
  local noted = redis.pcall('HMGET', slowdown_key(rate), 'steps', 'since')
  if is_wrong_type(noted) then noted = {} end
  if is_error(noted) then again('HMGET', slowdown_key(rate), 'steps', 'since') end
  factors[i] = slowdown_factor(noted, now, recover_us)
end
return factors
