-- Asks for a second look at a customer, or leaves a later one as it is. For who lost the lease while a write was on its
-- way.
--
-- Uses: wrong_types
-- KEYS: looks, record
-- ARGV: customer, milliseconds until then
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'GT', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[1])
renewing('HSET', KEYS[2], 'look_kind', 'whole')
return 1
