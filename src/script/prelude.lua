-- Runs once in each new state, before the sandbox closes over it, and before any script.
local natives = ...

-- Functions of the standard library that can run for minutes inside C, where no interrupt reaches them.
-- Searching for a plain text compares at each place (quadratic), and so does splitting: linear
-- replacements. Sorting compares long texts without looking up: with a comparison in Lua it does.
local find, sort, move = string.find, table.sort, table.move
string.find = function(s, pattern, init, plain)
    if natives.is_plain(pattern, plain) then
        return natives.find(s, pattern, init)
    end
    return find(s, pattern, init)
end
string.split = natives.split
table.sort = function(t, less)
    return sort(t, less or function(a, b)
        return a < b
    end)
end
table.move = function(source, first, last, to, target)
    if last - first > 10000000 then
        error("table.move: range too large", 2)
    end
    return move(source, first, last, to, target)
end

-- No way to files or to compiling at run time (which neither limit reaches).
loadstring, require = nil, nil

local yield, log = coroutine.yield, natives.log

-- A verb that waits hands what it wants out of the coroutine that the call runs in; who runs it comes
-- back with the answer.
local function waiting(ask)
    return function(...)
        return yield(ask(...))
    end
end

print = function(...)
    local texts = table.pack(...)
    for index = 1, texts.n do
        texts[index] = tostring(texts[index])
    end
    log("info", table.concat(texts, " "))
end

omnid = {
    hook = natives.hook,
    on = natives.on,
    emit = natives.emit,
    after = natives.after,
    fetch = waiting(natives.fetch),
    store = { get = waiting(natives.store_get), set = waiting(natives.store_set) },
    log = function(level, message)
        if message == nil then
            level, message = "info", level
        end
        log(level, tostring(message))
    end,
}
table.freeze(omnid.store)
table.freeze(omnid)
