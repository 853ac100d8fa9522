-- Takes the lease of the notifications if a request is due, and stores up to which dead letter and review it goes. A
-- repeated request is about the same ones, also by another process.
--
-- Uses: wrong_types
-- Uses: entry_times
-- KEYS: notifications, lease, dead, reviews, totals
-- ARGV: token, lease in milliseconds, longest pause between two requests in milliseconds
-- Returns {now in milliseconds, the fields of the state}, or {} if no request is due or another process holds the lease. A
-- second run with the same token, after a lost answer, returns the same
local notifications, lease, dead, reviews, totals = unpack(KEYS)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local next_ms = tonumber(renewing('HGET', notifications, 'next_ms') or 0) or 0
local holder = renewing('GET', lease)
renewing('XLEN', reviews)
count_replaced(totals)
-- A time that is further ahead than the longest pause is that of another clock.
local is_early = now_ms < next_ms and next_ms <= now_ms + ARGV[3]
if holder ~= ARGV[1] and (holder or is_early) then return {} end
redis.call('SET', lease, ARGV[1], 'PX', ARGV[2])
if not redis.call('HGET', notifications, 'dead_until') then
  redis.call('HSET', notifications, 'dead_until', last_id_of(dead) or '0-0', 'reviews_until', last_id_of(reviews) or '0-0')
end
return {now_ms, redis.call('HGETALL', notifications)}
