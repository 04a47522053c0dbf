-- Gives every request an id, and writes down what was sent and what came back.
--   wrk -s tagged.lua URL -- DIRECTORY SECONDS PATH…
-- PATH ends in a slash; the id is appended. After SECONDS nothing more is sent, and wrk ends with nothing in flight.

local threads = {}
-- Milliseconds between an answer and the next request: lists of a hundred thousand are long enough.
PACE = 2

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

function init(arguments)
   local base = arguments[1] .. "/wrk-" .. number
   sent, got = assert(io.open(base .. ".sent", "w")), assert(io.open(base .. ".got", "w"))
   deadline = os.time() + tonumber(arguments[2])
   paths = {}
   for place = 3, #arguments do paths[place - 2] = arguments[place] end
   -- wrk itself asks the first thread for one request that it never sends.
   serial = number == 0 and -1 or 0
   counts = {}
end

function request()
   serial = serial + 1
   if serial == 0 then return wrk.format("GET", "/never-sent") end
   local path = paths[serial % #paths + 1] .. "w" .. number .. "-" .. serial
   sent:write(path, "\n")
   return wrk.format("GET", path)
end

function delay()
   return os.time() < deadline and PACE or 3600000
end

function response(status, headers)
   local id = "-"
   for name, value in pairs(headers) do
      if name:lower() == "x-request-id" then id = value end
   end
   got:write(id, " ", status, "\n")
   local key = tostring(status)
   counts[key] = (counts[key] or 0) + 1
end

function done()
   local totals = {}
   for _, thread in ipairs(threads) do
      for status, count in pairs(thread:get("counts")) do totals[status] = (totals[status] or 0) + count end
   end
   for status, count in pairs(totals) do print("answered " .. status .. " " .. count) end
end
