-- Claims a Stripe customer for one customer of Autumn, or holds its claim for the full time again.
--
-- Uses: wrong_types
-- KEYS: the claim
-- ARGV: customer, milliseconds it is held
-- Returns 1, or 0 if another customer holds it
local holder = renewing('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
