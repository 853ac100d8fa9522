-- Frees the place of an update that has ended.
--
-- KEYS: places
-- ARGV: token
return redis.call('ZREM', KEYS[1], ARGV[1])
