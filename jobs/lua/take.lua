-- Takes a called customer's mailbox under a lease, so that only one worker has it.
--
-- KEYS: lease, called, mailbox, record
-- ARGV: customer, token, lease in milliseconds, entries to read at most
-- Returns nil if there is nothing to take (not called, or another has it), else {entries, record}
local lease, called, mailbox, record = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local customer, token, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

if not redis.call('ZSCORE', called, customer) then return nil end
if not redis.call('SET', lease, token, 'NX', 'PX', lease_ms) then return nil end
local entries = redis.call('XRANGE', mailbox, '-', '+', 'COUNT', ARGV[4])
if #entries == 0 then
  redis.call('ZREM', called, customer)
  redis.call('DEL', lease)
  return nil
end
local time = redis.call('TIME')
redis.call('ZADD', called, time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms, customer)
redis.call('HINCRBY', record, 'takes', 1)
redis.call('PERSIST', record)
return {entries, redis.call('HGETALL', record)}
