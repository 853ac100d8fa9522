-- Frees the slot of a write that has ended.
--
-- KEYS: slots
-- ARGV: token
return redis.call('ZREM', KEYS[1], ARGV[1])
