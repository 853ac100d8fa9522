-- Functions to add dead letters. Included in other scripts, after wrong_types. The stream of dead letters may accept none,
-- because the key has the wrong type or no id is left. That must not block other events, and no dead letter may be lost. So
-- it goes to a second stream (`aside`) until the first one accepts entries again.
local LETTERS_AT_A_TIME = 16

local function aside_of(dead) return dead .. '-aside' end

local function add_letter(dead, letter)
  if is_error(redis.pcall('XADD', dead, '*', unpack(letter))) then
    renewing('XADD', aside_of(dead), '*', unpack(letter))
  end
end

-- Moves some dead letters from the second stream to the first, if that accepts them now.
local function return_letters(dead)
  local aside = aside_of(dead)
  local letters = renewing('XRANGE', aside, '-', '+', 'COUNT', LETTERS_AT_A_TIME)
  for _, letter in ipairs(letters) do
    if is_error(redis.pcall('XADD', dead, '*', unpack(letter[2]))) then return end
    redis.call('XDEL', aside, letter[1])
  end
  -- Write only if needed: after the first write, Redis lets a script exceed the memory limit.
  if #letters > 0 and redis.call('XLEN', aside) == 0 then redis.call('DEL', aside) end
end
