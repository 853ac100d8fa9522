-- Settles a batch in one atomic step: deletes the finished entries from the mailbox, records their outcomes, updates the
-- breaker, and releases the lease. Entries that are left in the mailbox wait for the next sync.
--
-- Uses: wrong_types
-- Uses: dead_letters
-- Uses: entry_times
-- Uses: rechecks
-- Uses: links
-- Uses: event_outcomes
-- KEYS: lease, dispatched, waiting, rechecks, oldest, mailbox, record, remembered, breaker, totals, outcomes, dead, last success,
--       links, reviews
-- ARGV: key prefix, customer, token, the settlement as JSON: {outcomes, record, totals, again_after_ms, at_least_ms,
--       recheck_after_ms, remembered,
--       link: {stripe_id, receipts_on} (none if the sync does not know it; stripe_id is empty if there is no link),
--       breaker: {verdict, service, reason, message}, and limits: outcomes_kept, reviews_kept, links_kept, record_seconds,
--       remembered_seconds, failures_to_open, longest_probe_wait_ms, halt_wait_ms}
-- An outcome: {entry, event, status, for a dropped reconcile reason, and for a dead letter reason, message, attempts, since}
-- Returns 1, or 0 if the lease is lost: then nothing was settled. A second run with the same lease, after a lost answer,
-- changes nothing and returns 1.
local lease, dispatched, waiting, rechecks, oldest, mailbox = unpack(KEYS, 1, 6)
local record, remembered, breaker, totals, outcomes, dead, last_success, links, reviews = unpack(KEYS, 7)
local prefix, customer, token = ARGV[1], ARGV[2], ARGV[3]
local settlement = cjson.decode(ARGV[4])

if renewing('HGET', record, 'settled_lease') == token then return 1 end
if renewing('GET', lease) ~= token then return 0 end
-- Redis does not roll a failed script back, so check the types of the required keys before the first write.
for _, key in ipairs({dispatched, waiting, oldest}) do redis.call('ZCARD', key) end
local has_mailbox = not is_error(redis.pcall('XLEN', mailbox))
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local events = outcomes_key(prefix, time[1], 0)

local function dead_letter(one)
  local sent = has_mailbox and redis.call('XRANGE', mailbox, one.entry, one.entry)[1]
  local letter = {'entry', one.entry, 'customer', customer, 'reason', one.reason, 'message', one.message,
                  'attempts', one.attempts, 'since', one.since}
  for i, part in ipairs(sent and sent[2] or {}) do
    letter[#letter + 1] = (i % 2 == 1) and ('sent.' .. part) or part
  end
  add_letter(dead, letter)
  count(totals, 'dead:' .. one.reason, 1)
end

-- Adds a reconcile of the watch that found what needs review to a stream that other outcomes do not trim.
local function add_review(one)
  local add = {'XADD', reviews, 'MAXLEN', '~', settlement.reviews_kept, '*', 'customer', customer, 'reason', one.reason}
  if is_error(redis.pcall(unpack(add))) then
    -- The key has the wrong type, or no id is left.
    redis.call('DEL', reviews)
    replaced[#replaced + 1] = reviews
    redis.call(unpack(add))
  end
  redis.call('EXPIRE', reviews, settlement.record_seconds)
end

local opened, probe, wait_ms = unpack(renewing('HMGET', breaker, 'opened', 'probe', 'wait_ms'))
wait_ms = tonumber(wait_ms) or 500

local function open_breaker(kind, until_probe_ms)
  redis.call('HSETNX', breaker, 'since', now_ms)
  redis.call('HSET', breaker, 'opened', 1, 'kind', kind, 'wait_ms', until_probe_ms, 'probe_at', now_ms + until_probe_ms,
             'service', settlement.breaker.service, 'reason', settlement.breaker.reason, 'message', settlement.breaker.message)
  redis.call('HDEL', breaker, 'probe')
  opened, wait_ms = '1', until_probe_ms
end

-- Once the breaker is open, only the probe updates it: the other syncs began earlier.
local function report_to_breaker()
  local verdict = settlement.breaker.verdict
  if opened and probe ~= customer then return end
  if verdict == 'works' then
    -- A sync that called one service shows nothing about failures of the other.
    local service = settlement.breaker.service
    if service ~= '' and redis.call('HGET', breaker, 'failing') ~= service then return end
    redis.call('DEL', breaker)
    opened = nil
  elseif verdict == 'halt' then
    open_breaker('halt', settlement.halt_wait_ms)
  elseif verdict == 'down' then
    local failures = redis.pcall('HINCRBY', breaker, 'failures', 1)
    if is_error(failures) then
      failures = 1
      redis.call('HSET', breaker, 'failures', failures)
    end
    redis.call('HSET', breaker, 'failing', settlement.breaker.service)
    redis.call('EXPIRE', breaker, 86400)
    if opened or failures >= settlement.failures_to_open then
      open_breaker('outage', math.min(2 * wait_ms, settlement.longest_probe_wait_ms))
    end
  elseif opened then
    redis.call('HSET', breaker, 'probe_at', now_ms + wait_ms)
    redis.call('HDEL', breaker, 'probe')
  end
end

for _, one in ipairs(settlement.outcomes) do
  if one.status == 'dead' then dead_letter(one) end
  if has_mailbox then redis.call('XDEL', mailbox, one.entry) end
  local note = {status = one.status, customer = customer, entry = one.entry, reason = one.reason, at = now_ms}
  renewing('HSET', events, one.event, cjson.encode(note))
  redis.pcall('XADD', outcomes, 'MAXLEN', '~', settlement.outcomes_kept, '*', 'customer', customer, 'entry', one.entry,
              'event', one.event, 'status', one.status, 'reason', one.reason or '')
  count(totals, one.status, 1)
  if one.status == 'applied' then redis.call('SET', last_success, now_ms) end
  if one.status == 'applied' and one.reason == 'needs-review' then add_review(one) end
end
if #settlement.outcomes > 0 then redis.call('EXPIRE', events, 3 * HALF_DAY) end
for name, value in pairs(settlement.totals) do count(totals, name, value) end
local link = settlement.link
if link then
  local linked_before = redis.call('HGET', record, 'stripe_id') or ''
  if linked_before ~= link.stripe_id then remove_link(links, linked_before, customer) end
  if link.stripe_id ~= '' then
    local entry = (link.receipts_on and '1:' or '0:') .. customer
    add_link(links, totals, link.stripe_id, entry, settlement.links_kept)
  end
end
for name, value in pairs(settlement.record) do redis.call('HSET', record, name, value) end
redis.call('HDEL', record, 'open_lease')
redis.call('HSET', record, 'settled_lease', token, 'settled_ms', now_ms)
if settlement.remembered ~= '' then redis.call('SET', remembered, settlement.remembered, 'EX', settlement.remembered_seconds) end
if settlement.recheck_after_ms > 0 then schedule_recheck(rechecks, customer, now_ms + settlement.recheck_after_ms) end
report_to_breaker()

redis.call('ZREM', dispatched, customer)
local first = has_mailbox and redis.call('XRANGE', mailbox, '-', '+', 'COUNT', 1)[1]
if first then
  local sent_ms = sent_at(first[1], now_ms)
  if sent_ms or #settlement.outcomes > 0 then
    redis.call('ZADD', oldest, sent_ms or now_ms, customer)
  else
    redis.call('ZADD', oldest, 'NX', now_ms, customer)
  end
else
  redis.call('ZREM', oldest, customer)
end
if first or is_recheck_due(record) then
  local again_ms = settlement.again_after_ms
  if opened then again_ms = math.max(math.min(again_ms, wait_ms), settlement.at_least_ms) end
  redis.call('ZADD', waiting, now_ms + again_ms, customer)
else
  if has_mailbox then redis.call('DEL', mailbox) end
  redis.call('EXPIRE', record, settlement.record_seconds)
end
-- No customer is left to probe with, so close the breaker. The next sync finds out whether the service works.
if opened and redis.call('HGET', breaker, 'kind') == 'outage' and
   redis.call('ZCARD', waiting) + redis.call('ZCARD', dispatched) == 0 then
  redis.call('DEL', breaker)
end
redis.call('DEL', lease)
count_replaced(totals)
return 1
