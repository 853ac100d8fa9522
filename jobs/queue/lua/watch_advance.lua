-- Advances the position of the watch, and extends its lease to the full time.
--
-- Uses: wrong_types
-- KEYS: watch, lease, seen, totals
-- ARGV: token, lease in milliseconds, position in seconds, seconds that a seen event is kept, seconds until the state expires
-- Returns 1, or 0 if the lease is lost: then nothing was changed
local watch, lease, seen, totals = unpack(KEYS)
local position = ARGV[3]
if renewing('GET', lease) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', lease, ARGV[2])
renewing('HSET', watch, 'position', position)
redis.call('EXPIRE', watch, ARGV[5])
-- Count from the position, so that an event that is read during a long catch-up is kept.
renewing('ZREMRANGEBYSCORE', seen, '-inf', '(' .. (position - ARGV[4]))
count_replaced(totals)
return 1
