-- Notes an event of Stripe and requests the reconciles that it leads to, in one atomic step. An event that was noted before
-- changes nothing, so it may be seen by a poll and by a webhook, and the script may be run again after a lost answer.
--
-- Uses: wrong_types
-- Uses: watch_requests
-- KEYS: inbox, waiting, seen, later, later_events, backlog, backlog_events, totals
-- ARGV: key prefix, the event as JSON: {id, type, created (seconds), outcome, customers, receipts, and limits: seen_kept,
--       edit_seconds, note_seconds, record_seconds, waiting_at_most, requests_an_hour}
-- A customer: {id, request (event id of a reconcile to request, or ''), wait_seconds (until then), later_request (event id
--       of a deferred one, or ''), edits (by field, the digests of the value and of the one before), note (the event for the customer record, as
--       JSON)}
-- A receipt: {customer, number}
-- Returns nil if the event was noted before, else the outcome: `requested`, `queued`, `waiting` or `deferred` if a reconcile
-- was to be requested and the event names no outcome, else the outcome of the event
local inbox, waiting, seen, later, later_events, backlog, backlog_events, totals = unpack(KEYS)
local prefix = ARGV[1]
local event = cjson.decode(ARGV[2])
local NOTES_KEPT = 3

if renewing('ZSCORE', seen, event.id) then return nil end
-- Redis does not roll a failed script back, so check the type of the inbox before the first write.
redis.call('XLEN', inbox)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local created_ms = event.created * 1000
local outcome = event.outcome

local function store_event(events, customer, event_id)
  renewing('HSET', events, customer, event_id)
  redis.call('EXPIRE', events, event.note_seconds)
end

local function defer(customer, event_id)
  renewing('ZADD', later, 'GT', now_ms + event.edit_seconds * 1000, customer)
  redis.call('EXPIRE', later, event.note_seconds)
  store_event(later_events, customer, event_id)
end

-- Whether events of this customer lead to a reconcile too often. Two writers could loop for ever.
local function is_too_frequent(customer)
  if event.type ~= 'customer.updated' then return false end
  local key = prefix .. ':watch:requests:' .. customer
  local number = redis.pcall('INCR', key)
  if is_error(number) then
    redis.call('SET', key, 1)
    number = 1
  end
  if number == 1 then redis.call('EXPIRE', key, 3600) end
  return number > event.requests_an_hour
end

-- Requests a reconcile: through the inbox, or through the backlog if it has to wait or too much waits. Returns what was done.
local function request(customer, event_id, wait_seconds)
  if is_too_frequent(customer) then
    defer(customer, event_id)
    return 'deferred'
  end
  if renewing('ZSCORE', backlog, customer) then return 'waiting' end
  if wait_seconds == 0 and has_room(inbox, waiting, event.waiting_at_most) then
    return request_reconcile(prefix, inbox, customer, event_id, now_ms) and 'requested' or 'waiting'
  end
  redis.call('ZADD', backlog, now_ms + wait_seconds * 1000, customer)
  redis.call('EXPIRE', backlog, event.note_seconds)
  store_event(backlog_events, customer, event_id)
  return 'queued'
end

-- Keeps the newest value of each field, because events arrive in any order: its digest, when it was seen, when it was
-- written, and the digest of the value before. After several edits, that is the value before the first of them.
local function note_edits(customer)
  local edits = prefix .. ':watch:edits:' .. customer.id
  for field, digests in pairs(customer.edits) do
    local is_json, known = pcall(cjson.decode, renewing('HGET', edits, field) or '[]')
    known = is_json and type(known) == 'table' and known or {}
    local before = known[1] == digests.before and known[4] or digests.before
    if created_ms >= (tonumber(known[3]) or -1) then
      redis.call('HSET', edits, field, cjson.encode({digests.value, now_ms, created_ms, before}))
    end
    redis.call('EXPIRE', edits, event.note_seconds)
  end
end

-- Whether the customer has a record. One of the wrong type is deleted first.
local function has_record(record)
  renewing('HGET', record, 'seen_in_stripe')
  return redis.call('EXISTS', record) == 1
end

-- Returns the newest events as a JSON list. Raises an error if the stored text is no such list.
local function newest_notes(stored, note)
  local notes, texts = cjson.decode(stored), {}
  table.insert(notes, 1, cjson.decode(note))
  table.sort(notes, function(one, other) return one.at_ms > other.at_ms end)
  for i = 1, math.min(#notes, NOTES_KEPT) do
    -- An empty list is decoded to an empty table, which is encoded as an object.
    texts[i] = string.gsub(cjson.encode(notes[i]), '"fields":{}', '"fields":[]')
  end
  return '[' .. table.concat(texts, ',') .. ']'
end

-- Adds the event to the newest ones of the customer record. A customer without a record gets none.
local function note_in_record(customer)
  local record = prefix .. ':customer:' .. customer.id
  if customer.note == '' or not has_record(record) then return end
  local stored = redis.call('HGET', record, 'seen_in_stripe')
  local is_list, notes = pcall(newest_notes, (stored and stored ~= '') and stored or '[]', customer.note)
  redis.call('HSET', record, 'seen_in_stripe', is_list and notes or '[' .. customer.note .. ']')
end

-- Notes that a sync before the requested reconcile cannot trust an earlier fetch. A customer without a record has none.
local function note_change(customer)
  local record = prefix .. ':customer:' .. customer.id
  local is_requested = customer.request ~= '' or customer.later_request ~= ''
  if not (is_requested and has_record(record)) then return end
  -- Begin again if the stored value is not a number: the next sync drops it, and what was verified.
  if is_error(redis.pcall('HINCRBY', record, 'changes_in_stripe', 1)) then redis.call('HSET', record, 'changes_in_stripe', 1) end
end

-- Notes the number of a receipt, and counts it unless the customer record shows it already.
local function note_receipt(receipt)
  local record = prefix .. ':customer:' .. receipt.customer
  local is_new = not has_record(record)
  local number, before_ms = unpack(redis.call('HMGET', record, 'receipt_number', 'receipt_at_ms'))
  if number == receipt.number then return end
  if created_ms >= (tonumber(before_ms or -1) or -1) then
    redis.call('HSET', record, 'receipt_number', receipt.number, 'receipt_at_ms', string.format('%.0f', created_ms))
  end
  if is_new then redis.call('EXPIRE', record, event.record_seconds) end
  count(totals, 'receipts_sent', 1)
end

-- Add the entries first: if the inbox accepts none, the event is not noted, and is noted by the next try.
local did = {}
for _, customer in ipairs(event.customers) do
  if customer.request ~= '' then did[request(customer.id, customer.request, customer.wait_seconds)] = true end
end
for _, customer in ipairs(event.customers) do
  if customer.later_request ~= '' then
    defer(customer.id, customer.later_request)
    did.deferred = true
  end
  note_edits(customer)
  note_in_record(customer)
  note_change(customer)
end
for _, receipt in ipairs(event.receipts) do note_receipt(receipt) end
redis.call('ZADD', seen, event.created, event.id)
redis.call('EXPIRE', seen, event.note_seconds)
local excess = redis.call('ZCARD', seen) - event.seen_kept
if excess > 0 then
  for _, id in ipairs(redis.call('ZRANGE', seen, 0, excess - 1)) do redis.call('ZREM', seen, id) end
end
if outcome == '' then
  for _, each in ipairs({'deferred', 'waiting', 'queued', 'requested'}) do outcome = did[each] and each or outcome end
end
count(totals, 'watch:' .. event.type .. ':' .. outcome, 1)
count_replaced(totals)
return outcome
