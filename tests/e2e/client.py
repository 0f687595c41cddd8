# SPDX-License-Identifier: BSD-2-Clause
"""A chat client as applications write it: httpx, one pool, a few tries, streaming. In our own words.

Run by itself it prints one JSON line with what it got: client.py BASE_URL. SSL_CERT_FILE names the CA.
"""
import asyncio
import json
import sys

import httpx

RETRY = {429, 500, 502, 503, 504}


class ChatClient:
    def __init__(self, base_url, key="test-key", tries=3, timeout_s=120.0):
        self.tries = tries
        self.http = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            trust_env=True,
        )

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await self.http.aclose()

    async def chat(self, messages, model="gpt-4.1", **more):
        """The whole answer; asks again after a timeout and after what may pass."""
        for left in reversed(range(self.tries)):
            try:
                answer = await self.http.post("/chat/completions", json={"model": model, "messages": messages, **more})
                if answer.status_code in RETRY and left:
                    await asyncio.sleep(0.1)
                    continue
                answer.raise_for_status()
                return answer.json()
            except httpx.TimeoutException:
                if not left:
                    raise
        raise RuntimeError("no try was allowed")

    async def stream(self, messages, model="gpt-4.1", **more):
        """Each chunk as it comes."""
        body = {"model": model, "messages": messages, "stream": True, **more}
        async with self.http.stream("POST", "/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                data = line[len("data: "):]
                if data.strip() == "[DONE]":
                    return
                yield json.loads(data)


async def main(base_url):
    question = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a proxy?"}]
    async with ChatClient(base_url) as client:
        first = await client.chat(question, model="deepseek-v3.2", temperature=0.7, max_tokens=50)
        words = [c["choices"][0]["delta"].get("content", "")
                 async for c in client.stream(question, model="gemini-2.5-flash") if c["choices"]]
        many = await asyncio.gather(*(client.chat(question, model=f"m-{i}") for i in range(30)))
    print(json.dumps({"answer": first["choices"][0]["message"]["content"], "total": first["usage"]["total_tokens"],
                      "streamed": "".join(words), "chunks": len(words), "models": [m["model"] for m in many]}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
