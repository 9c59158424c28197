-- Arguments: method, and the body of a POST, in which %s becomes a different text each time.
function init(args)
    wrk.method, body = args[1], args[2]
    get, sent, run = wrk.format(), 0, tostring(os.time()) .. tostring({}):sub(8)
end

function request()
    if body == nil then
        return get
    end
    sent = sent + 1
    return wrk.format(nil, nil, nil, body:format(run .. "." .. sent))
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("figures %d %d %d %d %d\n",
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
