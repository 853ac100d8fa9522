-- Requests the reconciles of the backlog and the deferred ones that are due, and takes the lease of the watch if a poll is
-- due.
--
-- Uses: wrong_types
-- Uses: watch_requests
-- KEYS: inbox, waiting, watch, lease, later, later_events, backlog, backlog_events, totals
-- ARGV: key prefix, token, lease in milliseconds, milliseconds between polls (0: never), milliseconds between polls while
--       the watch is off, events and customers that may wait when a reconcile is requested
-- Returns {now in milliseconds, 1 if the caller has to poll, the position in seconds or '', why the watch is off or ''}. A
-- second run with the same token, after a lost answer, returns the same
local inbox, waiting, watch, lease, later, later_events, backlog, backlog_events, totals = unpack(KEYS)
local prefix, token, lease_ms = ARGV[1], ARGV[2], ARGV[3]
local AT_A_TIME = 100
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Requests those of a sorted set that are due, the longest waiting first, while there is room.
local function request_due(customers, events, counter)
  for _, customer in ipairs(renewing('ZRANGEBYSCORE', customers, '-inf', now_ms, 'LIMIT', 0, AT_A_TIME)) do
    if not has_room(inbox, waiting, ARGV[6]) then return end
    local event_id = renewing('HGET', events, customer)
    if not event_id then event_id = 'stripe-unknown-' .. string.sub(redis.sha1hex(customer), 1, 8) .. '-later-' .. time[1] end
    local is_new = request_reconcile(prefix, inbox, customer, event_id, now_ms)
    redis.call('ZREM', customers, customer)
    redis.call('HDEL', events, customer)
    count(totals, counter .. (is_new and 'requested' or 'waiting'), 1)
  end
end

-- Replaces a hash of the wrong type, because nothing else touches it while nothing is due.
renewing('HLEN', backlog_events)
renewing('HLEN', later_events)
request_due(backlog, backlog_events, 'watch_backlog_')
request_due(later, later_events, 'watch_deferred_')

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
