-- Arguments: method, and the body of a POST. Prints one line for the harness.
function init(args)
    wrk.method, wrk.body = args[1], args[2]
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("figures %d %d %d %d %d\n",
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
