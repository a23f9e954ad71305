#!/bin/sh
# An agent that reports what it does, with curl.
#
#     tachograph serve &
#     sh examples/shell/agent.sh
set -eu

url="${TACHOGRAPH_URL:-http://127.0.0.1:8001}/api/v1/records"

# A random UUID (version 4).
uuid() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' |
        sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/\1-\2-4\3-a\4-\5/'
}

# Sends the records on standard input, one a line; curl tries again by itself on 429 and 503,
# and when the service is away. The ids stay the same, so that nothing is counted twice.
send() {
    curl --silent --show-error --fail-with-body --max-time 5 --retry 4 --retry-connrefused \
        ${TACHOGRAPH_TOKEN:+--header "authorization: Bearer $TACHOGRAPH_TOKEN"} \
        --header 'content-type: application/x-ndjson' --data-binary @- "$url"
    echo
}

agent=sh-reviewer
run=$(uuid)
call=$(uuid)
asked=$(uuid)
echo '{"signal":"agent.run","id":"'"$run"'","event":"start","fields":{"gen_ai.agent.name":"'$agent'","phase":"review"}}' |
    send >/dev/null
report() {
    cat <<END
{"signal":"tool.call","id":"$call","parent":"$run","duration":0.2,"fields":{"gen_ai.tool.name":"grep","gen_ai.agent.name":"$agent","status":"success"}}
{"signal":"llm.request","id":"$asked","parent":"$run","duration":2.1,"fields":{"gen_ai.operation.name":"chat","gen_ai.provider.name":"anthropic","gen_ai.request.model":"claude-sonnet-4-5","gen_ai.agent.name":"$agent","status":"success"},"usage":{"input_tokens":12,"output_tokens":300,"cache_read_input_tokens":9000,"cache_creation_input_tokens":0}}
{"signal":"agent.run","id":"$run","event":"end","fields":{"status":"success","tool_calls":1}}
END
}
report | send
# Sent again, as after an answer that was lost: recognised, and not counted twice.
report | send
