// The official client of gRPC-Web, as in a browser: `node web.mjs URL` calls the notes service and prints `ok` or fails.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
globalThis.XMLHttpRequest = require('xhr2');
const { GrpcWebClientBase, MethodDescriptor } = require('grpc-web');
const url = process.argv[2];

// message Note { bytes payload = 1; uint32 number = 2; }, small ones.
const written = ({ payload, number }) => {
  const bytes = new TextEncoder().encode(payload);
  return Uint8Array.from([0x0a, bytes.length, ...bytes, 0x10, number]);
};
const read = (bytes) => {
  const note = { payload: '', number: 0 };
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] === 0x0a) {
      note.payload = new TextDecoder().decode(bytes.slice(at + 2, at + 2 + bytes[at + 1]));
      at += 2 + bytes[at + 1];
    } else {
      note.number = bytes[at + 1];
      at += 2;
    }
  }
  return note;
};
const method = (name, type) => new MethodDescriptor(`/test.Notes/${name}`, type, Object, Object, written, read);

for (const format of ['text', 'binary']) {
  const client = new GrpcWebClientBase({ format });
  const call = (name, note) => client.unaryCall(`${url}/test.Notes/${name}`, note, {}, method(name, 'unary'));

  assert.deepEqual(await call('Echo', { payload: 'hi', number: 1 }), { payload: 'hi', number: 2 });
  await assert.rejects(call('Fail', { payload: '', number: 0 }), (error) => {
    assert.equal(error.code, 5);
    assert.equal(error.message, 'no \u201cnote\u201d: 100 %');
    assert.equal(error.metadata['x-why'], 'because');
    return true;
  });

  if (format === 'text') {
    const heard = [];
    const counted = client.serverStreaming(
      `${url}/test.Notes/Count`, { payload: '', number: 5 }, {}, method('Count', 'server_streaming'));
    await new Promise((resolve, reject) => {
      counted.on('data', (note) => heard.push(note.number));
      counted.on('error', reject);
      counted.on('end', resolve);
    });
    assert.deepEqual(heard, [0, 1, 2, 3, 4]);
  }
}
console.log('ok');
process.exit(0);
