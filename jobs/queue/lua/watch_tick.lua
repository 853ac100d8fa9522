-- Requests the deferred reconciles that are due, and takes the lease of the watch if a poll is due.
--
-- Uses: wrong_types
-- Uses: watch_requests
-- KEYS: inbox, watch, lease, later, later_events, totals
-- ARGV: key prefix, token, lease in milliseconds, milliseconds between polls (0: never), milliseconds between polls while
--       the watch is off, reconciles to request at most
-- Returns {now in milliseconds, 1 if the caller has to poll, the position in seconds or '', why the watch is off or ''}. A second run with the same
-- token, after a lost answer, returns the same
local inbox, watch, lease, later, later_events, totals = unpack(KEYS)
local prefix, token, lease_ms = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

for _, customer in ipairs(renewing('ZRANGEBYSCORE', later, '-inf', now_ms, 'LIMIT', 0, ARGV[6])) do
  local event_id = renewing('HGET', later_events, customer)
  if not event_id then event_id = 'stripe-unknown-' .. string.sub(redis.sha1hex(customer), 1, 8) .. '-later-' .. time[1] end
  local is_new = request_reconcile(prefix, inbox, customer, event_id)
  redis.call('ZREM', later, customer)
  redis.call('HDEL', later_events, customer)
  count(totals, is_new and 'watch:deferred:requested' or 'watch:deferred:waiting', 1)
end

local position, next_poll_ms, off = unpack(renewing('HMGET', watch, 'position', 'next_poll_ms', 'off'))
local pause_ms = tonumber((off and off ~= '') and ARGV[5] or ARGV[4])
next_poll_ms = tonumber(next_poll_ms) or 0
local holder = renewing('GET', lease)
count_replaced(totals)
-- A time that is further ahead than the pause is that of a longer pause, or of another clock.
local is_early = now_ms < next_poll_ms and next_poll_ms <= now_ms + pause_ms
if ARGV[4] == '0' or (holder ~= token and (holder or is_early)) then return {now_ms, 0, '', ''} end
redis.call('SET', lease, token, 'PX', lease_ms)
return {now_ms, 1, position or '', off or ''}
