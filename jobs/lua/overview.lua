-- Where everything stands at one moment. Reads only, and hands out numbers alone: what waits may be large, and is personal.
--
-- KEYS: inbox, waiting, called, oldest, dead, last success
-- Returns {now, events in the inbox, customers that wait, customers that were called, when the oldest change that waits
-- was sent, dead letters, when the newest of them was buried, when the last change was applied}; times are in
-- milliseconds since the epoch, false where there is none
local inbox, waiting, called, oldest, dead, last_success = unpack(KEYS)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function sent_ms(entry) return entry and tonumber(string.match(entry[1], '^%d+')) end

-- What is in the inbox came after what is in the mailboxes, unless whoever sent it chose its id.
local oldest_ms = tonumber(redis.call('ZRANGE', oldest, 0, 0, 'WITHSCORES')[2])
local next_ms = sent_ms(redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1])
if oldest_ms and next_ms then oldest_ms = math.min(oldest_ms, next_ms) end

return {
  now_ms,
  redis.call('XLEN', inbox),
  redis.call('ZCARD', waiting),
  redis.call('ZCARD', called),
  oldest_ms or next_ms or false,
  redis.call('XLEN', dead),
  sent_ms(redis.call('XREVRANGE', dead, '+', '-', 'COUNT', 1)[1]) or false,
  tonumber(redis.call('GET', last_success) or '') or false,
}
