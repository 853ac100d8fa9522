-- Deletes the record and the remembered values of a customer, and what the watch keeps of it besides the index, if no event
-- waits and no sync runs. A reconcile that the watch defers is no event yet.
--
-- Uses: wrong_types
-- Uses: rechecks
-- KEYS: lease, dispatched, waiting, rechecks, mailbox, record, remembered, breaker, request, edits,
--       later, later_events, backlog, backlog_events, requests, totals
-- ARGV: key prefix, customer
-- Returns 1, or 0 if an event waits or a sync runs: then nothing was changed
local lease, dispatched, waiting, rechecks, mailbox, record, remembered, breaker = unpack(KEYS, 1, 8)
local request, edits, later, later_events, backlog, backlog_events, requests, totals = unpack(KEYS, 9)
local prefix, customer = ARGV[1], ARGV[2]

-- A mailbox of the wrong type holds no event, so it is deleted.
local waits = redis.pcall('XLEN', mailbox)
if redis.call('EXISTS', lease) == 1 or (not is_error(waits) and waits > 0) then return 0 end
if redis.call('ZSCORE', dispatched, customer) or redis.call('ZSCORE', waiting, customer) then return 0 end
local claim = prefix .. ':claim:' .. (renewing('HGET', record, 'stripe_id') or '')
if renewing('GET', claim) == customer then redis.call('DEL', claim) end
if renewing('HGET', breaker, 'probe') == customer then redis.call('HDEL', breaker, 'probe') end
cancel_recheck(rechecks, customer)
renewing('ZREM', later, customer)
renewing('HDEL', later_events, customer)
renewing('ZREM', backlog, customer)
renewing('HDEL', backlog_events, customer)
redis.call('DEL', mailbox, record, remembered, request, edits, requests)
count_replaced(totals)
return 1
