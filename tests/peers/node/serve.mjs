// Servers of GraphQL over streams. Prints its port. `tick` waits after each number until it is asked for the next, and
// `slow` until it is released, so that nothing that is held back on the way goes unnoticed.
import { createServer } from 'node:http';
import { createHandler } from 'graphql-sse/lib/use/http';
import { useServer } from 'graphql-ws/use/ws';
import { createSchema, createYoga } from 'graphql-yoga';
import { WebSocketServer } from 'ws';
import { useDeferStream } from '@graphql-yoga/plugin-defer-stream';

const turns = new Map();
let open = 0;

function turn(name) {
  if (!turns.has(name)) {
    let go;
    const gone = new Promise((resolve) => (go = resolve));
    turns.set(name, { gone, go });
  }
  return turns.get(name);
}

async function* tick(_, { name, count }) {
  open += 1;
  try {
    for (let number = 0; number < count; number += 1) {
      yield { tick: number };
      await turn(`${name} ${number}`).gone;
    }
  } finally {
    open -= 1;
  }
}

const schema = createSchema({
  typeDefs: `
    type Query { fast: String! slow(name: String!): String! open: Int! }
    type Mutation { go(name: String!): Boolean! }
    type Subscription { tick(name: String!, count: Int!): Int! }
  `,
  resolvers: {
    Query: { fast: () => 'fast', slow: (_, { name }) => turn(name).gone.then(() => 'slow'), open: () => open },
    Mutation: { go: (_, { name }) => (turn(name).go(), true) },
    Subscription: { tick: { subscribe: tick } },
  },
});

const sse = createHandler({ schema });
const yoga = createYoga({ schema, plugins: [useDeferStream()], logging: false });
const server = createServer((request, response) =>
  request.url.startsWith('/graphql/stream') ? sse(request, response) : yoga(request, response),
);
useServer({ schema }, new WebSocketServer({ server, path: '/graphql/socket' }));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
