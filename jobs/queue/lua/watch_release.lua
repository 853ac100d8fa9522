-- Releases the lease of the watch after an interrupted poll, so that another process goes on at once.
--
-- Uses: wrong_types
-- KEYS: lease
-- ARGV: token
-- Returns 1, or 0 if the lease is lost: then nothing was changed
if renewing('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
