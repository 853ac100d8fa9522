-- Extends a lease that is still held to its full time.
--
-- Uses: wrong_types
-- KEYS: lease, dispatched
-- ARGV: customer, token, lease in milliseconds
-- Returns 1, or 0 if the lease is lost
if renewing('GET', KEYS[1]) ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[1])
return 1
