// The official SDK for Node, driven from outside: a line of JSON asks, a line of JSON answers.
//
//   {"call": "files.create", "given": [{"file": {"stream": "/a/path"}, "purpose": "batch"}]}
//   {"result": ...} or {"error": {"class": "BadRequestError", "status": 400, ...}}
//
// Address, key and so on are the SDK's own variables; the first argument is the folder that it is
// installed in.
import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.argv[2]}/`);
const { OpenAI, toFile } = require('openai');
const client = new OpenAI({ maxRetries: Number(process.argv[3] ?? 0) });

// What JSON cannot carry: a file as a stream, which the SDK sends chunked, or as bytes.
async function real(value) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  if ('stream' in value) return createReadStream(value.stream);
  if ('bytes64' in value) return toFile(Buffer.from(value.bytes64, 'base64'), value.name);
  const pairs = Object.entries(value).map(async ([name, one]) => [name, await real(one)]);
  return Object.fromEntries(await Promise.all(pairs));
}

async function told(asked) {
  const found = await asked;
  if (found instanceof Response) return Buffer.from(await found.arrayBuffer()).toString('base64');
  if (typeof found?.[Symbol.asyncIterator] !== 'function') return found;
  const items = [];
  for await (const item of found) items.push(item);
  return items;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { call, given } = JSON.parse(line);
  let said;
  try {
    const [name, ...path] = call.split('.').reverse();
    const owner = path.reverse().reduce((object, step) => object[step], client);
    said = { result: await told(owner[name](...(await Promise.all(given.map(real))))) };
  } catch (error) {
    const { status, code, param, type, requestID } = error;
    const kind = error.constructor.name;
    said = { error: { class: kind, status, code, param, type, requestID, message: error.message } };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
