-- Stores what a sync remembers of the values it is about to write, if it still has the lease.
--
-- Uses: wrong_types
-- KEYS: lease, remembered
-- ARGV: token, what is remembered as JSON, seconds until it expires
-- Returns 1, or 0 if the lease is lost: then nothing was stored
if renewing('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return 1
