-- What the HTTP bench sends: `distinct` makes every request another identity, `duplicates` makes all the same.
local mode, token = "", ""
local counter, thread = 0, 0
local next_thread = 0

function setup(t)
    t:set("thread", next_thread)
    next_thread = next_thread + 1
end

function init(args)
    mode, token = args[1], args[2]
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["Authorization"] = "Bearer " .. token
end

function request()
    counter = counter + 1
    local id = mode == "distinct" and (thread .. "-" .. counter) or "same"
    local body = '{"type":"assignments.fetch","tenant_id":1,"inputs":{"policy_ids":["' .. id .. '"]}}'
    return wrk.format(nil, nil, nil, body)
end

local unexpected = 0
function response(status)
    if status ~= 200 and status ~= 202 then unexpected = unexpected + 1 end
end
