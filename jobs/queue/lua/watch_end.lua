-- Ends a poll: notes how it ended and when the next one is due, and releases the lease of the watch.
--
-- Uses: wrong_types
-- KEYS: watch, lease, totals
-- ARGV: token, when the poll began in milliseconds, milliseconds from then to the next poll, why the watch is off ('' if it is
--       on), code of the error that ended the poll ('' if it is complete), seconds until the state expires
-- Returns {1, why the watch was off before}, or {0, ''} if the lease is lost: then nothing was changed
local watch, lease, totals = unpack(KEYS)
local off, failure = ARGV[4], ARGV[5]
if renewing('GET', lease) ~= ARGV[1] then return {0, ''} end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local off_before, failed_before = unpack(renewing('HMGET', watch, 'off', 'error'))
off_before = off_before or ''

redis.call('HSET', watch, 'next_poll_ms', string.format('%.0f', ARGV[2] + ARGV[3]), 'pause_ms', ARGV[3],
           'off', off, 'error', failure)
if off == '' then
  redis.call('HDEL', watch, 'off_since_ms')
elseif off_before == '' then
  redis.call('HSET', watch, 'off_since_ms', now_ms)
end
if failure == '' then
  redis.call('HDEL', watch, 'error_since_ms')
elseif not failed_before or failed_before == '' then
  redis.call('HSET', watch, 'error_since_ms', now_ms)
end
if off == '' and failure == '' then redis.call('HSET', watch, 'polled_ms', now_ms) end
redis.call('EXPIRE', watch, ARGV[6])
redis.call('DEL', lease)
count_replaced(totals)
return {1, off_before}
