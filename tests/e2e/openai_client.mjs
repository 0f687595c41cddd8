// SPDX-License-Identifier: BSD-2-Clause
// The real OpenAI SDK against a gateway: openai_client.mjs BASE_URL. Prints one JSON line. NODE_EXTRA_CA_CERTS names the CA.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "test-key", maxRetries: 0, timeout: 20000 });
const messages = [{ role: "user", content: "What is a proxy?" }];
const out = {};

const whole = await client.chat.completions.create({ model: "gpt-4.1", messages });
out.answer = whole.choices[0].message.content;
out.total = whole.usage.total_tokens;

const stream = await client.chat.completions.create({
	model: "gpt-4.1", messages, stream: true, stream_options: { include_usage: true },
});
out.streamed = "";
for await (const chunk of stream) {
	out.streamed += chunk.choices[0]?.delta?.content ?? "";
	if (chunk.usage)
		out.usage = chunk.usage.total_tokens;
}

out.models = (await client.models.list()).data.length;
out.vector = (await client.embeddings.create({ model: "e", input: "x", encoding_format: "float" })).data[0].embedding.length;

try {
	await client.chat.completions.create({ model: "mock-status-429", messages });
} catch (e) {
	out.error = { name: e.constructor.name, status: e.status };
}

// A stream that the user leaves.
const left = await client.chat.completions.create({ model: "mock-tokens-1000", messages, stream: true },
	{ headers: { "X-Mock-Chunk-Delay-Ms": "50" } });
for await (const _ of left)
	break;
left.controller.abort();

// A stream that the upstream leaves must be an error.
try {
	const cut = await client.chat.completions.create({ model: "mock-fault-close-in-body", messages, stream: true });
	for await (const _ of cut);
	out.cut = "ended";
} catch (e) {
	out.cut = "error";
}
console.log(JSON.stringify(out));
