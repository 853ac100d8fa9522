-- Slows a rate down by one step after a 429, at most three in all, and one a second: the others that were already on their
-- way when the limit was met say nothing new.
--
-- Uses: wrong_types
-- KEYS: the rate
-- ARGV: microseconds to recover a step
local time = redis.call('TIME')
local now, recover_us = time[1] * 1000000 + time[2], tonumber(ARGV[1])
local slow = KEYS[1] .. ':slow'
local steps, since = unpack(renewing('HMGET', slow, 'steps', 'since'))
if not (tonumber(steps) and tonumber(since)) then steps = nil end
if steps and now - tonumber(since) < 1000000 then return 0 end
local left = steps and math.max(0, tonumber(steps) - math.floor((now - tonumber(since)) / recover_us)) or 0
redis.call('HSET', slow, 'steps', math.min(3, left + 1), 'since', string.format('%.0f', now))
redis.call('PEXPIRE', slow, math.ceil(4 * recover_us / 1000))
return 1
