-- Shared by other scripts, and put before them, after wrong_types: adding a dead letter. A key of the dead letters that takes
-- none (it has the wrong type, or an id after its last one cannot be made) must hold nobody up, and a letter must not be
-- lost. So it is kept in a stream aside, until the key takes letters again.
local LETTERS_AT_A_TIME = 16

local function aside_of(dead) return dead .. '-aside' end

local function add_letter(dead, letter)
  if is_error(redis.pcall('XADD', dead, '*', unpack(letter))) then
    renewing('XADD', aside_of(dead), '*', unpack(letter))
  end
end

-- Adds some of the letters that were kept aside, if their key takes them by now.
local function return_letters(dead)
  local aside = aside_of(dead)
  local letters = renewing('XRANGE', aside, '-', '+', 'COUNT', LETTERS_AT_A_TIME)
  for _, letter in ipairs(letters) do
    if is_error(redis.pcall('XADD', dead, '*', unpack(letter[2]))) then return end
    redis.call('XDEL', aside, letter[1])
  end
  -- Only then: after any write, even of nothing, Redis lets a script exceed its memory.
  if #letters > 0 and redis.call('XLEN', aside) == 0 then redis.call('DEL', aside) end
end
