// An agent that reports what it does, with what Node 18 brings along; `tsc` takes it as it is.
//
//     tachograph serve &
//     node examples/node/agent.mjs

import { randomUUID } from "node:crypto";

const url = `${process.env.TACHOGRAPH_URL ?? "http://127.0.0.1:8001"}/api/v1/records`;
const token = process.env.TACHOGRAPH_TOKEN;

/** Sends records; again, under the same ids, while the service cannot take them. */
async function send(records, attempts = 5) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  for (let attempt = 0; attempt < attempts; attempt++) {
    let wait = 250 * 2 ** attempt;
    try {
      const response = await fetch(url, {
        method: "POST",
        headers,
        body: JSON.stringify(records),
        signal: AbortSignal.timeout(5000),
      });
      if (response.ok) {
        const answer = await response.json();
        for (const { field, reason } of answer.rejected) console.error(`${field}: ${reason}`);
        return answer;
      }
      if (response.status !== 429 && response.status !== 503) {
        console.error(await response.text());
        return undefined;
      }
      wait = 1000 * Number(response.headers.get("retry-after") ?? wait / 1000);
    } catch {
      // The service is away.
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  return undefined;
}

const record = (signal, fields, more = {}) => ({ signal, id: randomUUID(), fields, ...more });

const agent = "js-reviewer";
const run = record("agent.run", { "gen_ai.agent.name": agent, phase: "review" }, { event: "start" });
await send([run]);
const began = performance.now();
const call = record(
  "tool.call",
  { "gen_ai.tool.name": "grep", "gen_ai.agent.name": agent, status: "success" },
  { duration: (performance.now() - began) / 1000, parent: run.id },
);
const asked = record(
  "llm.request",
  {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.agent.name": agent,
    status: "success",
  },
  {
    duration: 1.4,
    parent: run.id,
    // As the provider sent it; other providers' objects look alike, so say whose it is.
    usage: {
      format: "openai.chat",
      body: {
        prompt_tokens: 2006,
        completion_tokens: 300,
        total_tokens: 2306,
        prompt_tokens_details: { cached_tokens: 1920 },
      },
    },
  },
);
const end = { signal: "agent.run", id: run.id, event: "end", fields: { status: "success", tool_calls: 1 } };
console.log(JSON.stringify(await send([call, asked, end])));
// Sent again, as after an answer that was lost: recognised, and not counted twice.
console.log(JSON.stringify(await send([call, asked, end])));
