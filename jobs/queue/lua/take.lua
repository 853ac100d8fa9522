-- Takes the batch of a dispatched customer under a lease, so that only one worker has it. While the breaker is open, only
-- the probe is taken, and other customers wait again.
--
-- Uses: wrong_types
-- Uses: rechecks
-- KEYS: lease, dispatched, waiting, oldest, mailbox, record, remembered, breaker, totals, edits, request, watch
-- ARGV: customer, token, lease in milliseconds, entries to read at most, polls that the watch may be late
-- Returns nil if there is nothing to take (not dispatched, another worker has it, not the probe), else {entries, the record,
-- the remembered values as JSON, 1 if the breaker is open, keys of the wrong type that were deleted, the edits in Stripe,
-- the time in milliseconds, 1 if the watch is up to date, its position in seconds}. Returns 'unusable' if the mailbox has the
-- wrong type: then the customer no longer waits
local lease, dispatched, waiting, oldest, mailbox, record, remembered, breaker, totals, edits, request, watch = unpack(KEYS)
local TAKEN_BYTES = 4 * 1024 * 1024
local customer, token, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

-- The same token means that this call is repeated because its answer was lost.
local holder = renewing('GET', lease)
if not redis.call('ZSCORE', dispatched, customer) or (holder and holder ~= token) then return nil end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local opened, probe = unpack(renewing('HMGET', breaker, 'opened', 'probe'))
if opened and probe ~= customer then
  redis.call('ZREM', dispatched, customer)
  redis.call('ZADD', waiting, now_ms, customer)
  return nil
end
local entries = redis.pcall('XRANGE', mailbox, '-', '+', 'COUNT', ARGV[4])
if is_wrong_type(entries) then
  redis.call('ZREM', dispatched, customer)
  redis.call('ZREM', oldest, customer)
  return 'unusable'
end
if is_error(entries) then again('XRANGE', mailbox, '-', '+', 'COUNT', ARGV[4]) end
if #entries == 0 and not is_recheck_due(record) then
  redis.call('ZREM', dispatched, customer)
  return nil
end
-- Take at least one entry, and then no more than a few megabytes.
local bytes, fitting = 0, {}
for _, entry in ipairs(entries) do
  for _, part in ipairs(entry[2]) do bytes = bytes + #part end
  if bytes > TAKEN_BYTES and #fitting > 0 then break end
  fitting[#fitting + 1] = entry
end
-- This sync fetches both sides now, so a later event of Stripe needs another one.
local requested = renewing('GET', request)
for _, entry in ipairs(requested and fitting or {}) do
  if entry[1] == requested then redis.call('DEL', request) end
end
redis.call('SET', lease, token, 'PX', lease_ms)
redis.call('ZADD', dispatched, now_ms + lease_ms, customer)
-- Start from 1 if the stored value is not a number.
if is_error(redis.pcall('HINCRBY', record, 'takes', 1)) then renewing('HSET', record, 'takes', 1) end
local before = redis.call('HGETALL', record)
redis.call('HSET', record, 'open_lease', token)
redis.call('PERSIST', record)
local kept = renewing('GET', remembered) or '{}'
local edited = renewing('HGETALL', edits)
local position, pause_ms, off = unpack(renewing('HMGET', watch, 'position', 'pause_ms', 'off'))
local late_ms = math.abs(now_ms - (tonumber(position) or 0) * 1000)
local is_current = off == '' and late_ms <= ARGV[5] * (tonumber(pause_ms) or 0)
count_replaced(totals)
return {fitting, before, kept, opened and 1 or 0, replaced, edited, now_ms, is_current and 1 or 0, tonumber(position) or 0}
