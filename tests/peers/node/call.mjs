// Clients of GraphQL over streams: `node call.mjs URL` prints `ok` or fails.
import assert from 'node:assert/strict';
import { createClient } from 'graphql-sse';
import { createClient as createSocketClient } from 'graphql-ws';
import WebSocket from 'ws';
import { meros } from 'meros/browser';

const url = process.argv[2];

async function ask(query, variables) {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
    body: JSON.stringify({ query, variables }),
  });
  assert.match(response.headers.get('content-type'), /^application\/graphql-response\+json/);
  return (await response.json()).data;
}

const go = (name) => ask('mutation ($name: String!) { go(name: $name) }', { name });

// Each number is heard before the next one is asked for.
async function ticks(client, name, count) {
  const query = 'subscription ($name: String!, $count: Int!) { tick(name: $name, count: $count) }';
  let heard = 0;
  for await (const { data } of client.iterate({ query, variables: { name, count } })) {
    assert.equal(data.tick, heard);
    await go(`${name} ${heard}`);
    heard += 1;
  }
  assert.equal(heard, count);
}

// A subscription learns that it was left when it next waits, and each number is one more wait: however far the word that
// nobody listens is behind, it is heard, and numbers without end would be asked for if it were not.
async function nobodyListens(name) {
  const until = Date.now() + 5000;
  for (let number = 0; (await ask('{ open }')).open !== 0; number += 1) {
    assert.ok(Date.now() < until, 'a subscription that nobody listens to');
    await go(`${name} ${number}`);
  }
}

const streams = `${url}/graphql/stream`;
const socket = `${url.replace('http', 'ws')}/graphql/socket`;
const clients = {
  distinct: createClient({ url: streams, retryAttempts: 0 }),
  single: createClient({ url: streams, singleConnection: true, retryAttempts: 0 }),
  socket: createSocketClient({ url: socket, webSocketImpl: WebSocket, retryAttempts: 0 }),
};
for (const [mode, client] of Object.entries(clients)) {
  await Promise.all([ticks(client, `${mode} a`, 5), ticks(client, `${mode} b`, 3)]);

  const query = `subscription { tick(name: "${mode} never", count: 1000000) }`;
  const left = client.iterate({ query });
  assert.equal((await left.next()).value.data.tick, 0);
  await left.return();
  client.dispose();
  await nobodyListens(`${mode} never`);
}

const response = await fetch(`${url}/graphql`, {
  method: 'POST',
  headers: { 'content-type': 'application/json', accept: 'multipart/mixed' },
  body: JSON.stringify({ query: '{ fast ... @defer { slow(name: "slow") } }' }),
});
assert.match(response.headers.get('content-type'), /^multipart\/mixed/);
const parts = [];
for await (const part of await meros(response)) {
  parts.push(part.body);
  if (parts.length === 1) {
    assert.deepEqual(part.body.data, { fast: 'fast' });
    await go('slow');
  }
}
assert.equal(parts[1].incremental[0].data.slow, 'slow');
console.log('ok');
process.exit(0);
