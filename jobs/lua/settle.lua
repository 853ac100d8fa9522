-- Ends a lease: takes the settled entries out of the mailbox and records what became of each, in one step. What is still
-- in the mailbox waits for the next round.
--
-- KEYS: lease, called, waiting, mailbox, record, totals, outcomes, dead
-- ARGV: key prefix, customer, token, milliseconds until the next round, outcomes kept, seconds a record is kept,
--       outcomes as JSON, the record's new fields as JSON, counters to raise as JSON
-- An outcome: {entry, event, status, and for a dead letter reason, message, attempts, since}
-- Returns 1, or 0 if the lease is lost and nothing was settled
local lease, called, waiting, mailbox = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local record, totals, outcomes, dead = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local prefix, customer = ARGV[1], ARGV[2]
local HALF_DAY = 43200

if redis.call('GET', lease) ~= ARGV[3] then return 0 end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local events = prefix .. ':events:' .. math.floor(time[1] / HALF_DAY)

local function bury(outcome)
  local sent = redis.call('XRANGE', mailbox, outcome.entry, outcome.entry)[1]
  local letter = {'entry', outcome.entry, 'customer', customer, 'reason', outcome.reason, 'message', outcome.message,
                  'attempts', outcome.attempts, 'since', outcome.since}
  for i, part in ipairs(sent and sent[2] or {}) do
    letter[#letter + 1] = (i % 2 == 1) and ('sent.' .. part) or part
  end
  redis.call('XADD', dead, '*', unpack(letter))
end

local settled = cjson.decode(ARGV[7])
for _, outcome in ipairs(settled) do
  if outcome.status == 'dead' then bury(outcome) end
  redis.call('XDEL', mailbox, outcome.entry)
  local note = {status = outcome.status, customer = customer, entry = outcome.entry, reason = outcome.reason, at = now_ms}
  redis.call('HSET', events, outcome.event or outcome.entry, cjson.encode(note))
  redis.call('XADD', outcomes, 'MAXLEN', '~', ARGV[5], '*', 'customer', customer, 'entry', outcome.entry,
             'event', outcome.event or outcome.entry, 'status', outcome.status, 'reason', outcome.reason or '')
  redis.call('HINCRBY', totals, outcome.status, 1)
end
if #settled > 0 then redis.call('EXPIRE', events, 3 * HALF_DAY) end
for name, value in pairs(cjson.decode(ARGV[9])) do redis.call('HINCRBY', totals, name, value) end
for name, value in pairs(cjson.decode(ARGV[8])) do redis.call('HSET', record, name, value) end

redis.call('ZREM', called, customer)
if redis.call('XLEN', mailbox) == 0 then
  redis.call('DEL', mailbox)
  redis.call('EXPIRE', record, ARGV[6])
else
  redis.call('ZADD', waiting, now_ms + ARGV[4], customer)
end
redis.call('DEL', lease)
return 1
