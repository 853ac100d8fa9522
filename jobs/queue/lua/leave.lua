-- Frees the place of a write that has ended.
--
-- KEYS: places
-- ARGV: token
return redis.call('ZREM', KEYS[1], ARGV[1])
