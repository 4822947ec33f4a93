// A page without a window: the AI SDK's own chat, driven by steps from the tests.
//
// node client.mjs MODULE API < STEPS    where MODULE is the address of the package `ai`, API that of the endpoint.
// Prints what the page held after each step, as JSON.

import { text as readAll } from 'node:stream/consumers';

const [module, api] = process.argv.slice(2);
const { AbstractChat, DefaultChatTransport, readUIMessageStream, validateUIMessages } = await import(module);
const steps = JSON.parse(await readAll(process.stdin));

const transport = new DefaultChatTransport({ api });
const heard = [];

class Chat extends AbstractChat {
  constructor(options) {
    const state = {
      status: 'ready',
      error: undefined,
      messages: [],
      pushMessage: message => (state.messages = [...state.messages, message]),
      popMessage: () => (state.messages = state.messages.slice(0, -1)),
      replaceMessage: (index, message) => (state.messages = state.messages.with(index, structuredClone(message))),
      snapshot: structuredClone,
    };
    super({ ...options, state });
  }
}

const chat = new Chat({ transport, onData: part => heard.push(part) });

// Each message as it grew, read without a chat around it.
async function read(text) {
  const message = { id: 'question', role: 'user', parts: [{ type: 'text', text }] };
  const stream = await transport.sendMessages({ chatId: 'c', messages: [message], trigger: 'submit-message' });
  const grown = [];
  const errors = [];
  const told = readUIMessageStream({ stream, onError: error => errors.push(String(error.message)) });
  for await (const message of told) grown.push(message);
  return { grown, errors };
}

async function stopWhen(send, kind) {
  const sent = send();
  const answer = () => (chat.messages.at(-1)?.role === 'assistant' ? chat.messages.at(-1).parts : []);
  const has = () => answer().some(part => part.type === kind && part.text !== '');
  while (chat.status !== 'error' && !has()) await new Promise(resolve => setImmediate(resolve));
  await chat.stop();
  await sent;
}

const DOES = {
  send: text => chat.sendMessage({ text }),
  edit: ({ place, text }) => chat.sendMessage({ text, messageId: chat.messages[place].id }),
  regenerate: () => chat.regenerate(),
  stopped: ({ text, kind }) => stopWhen(() => chat.sendMessage({ text }), kind),
  write: messages => (chat.messages = messages),
  read,
};

const held = [];
for (const step of steps) {
  const [[name, argument]] = Object.entries(step);
  const result = await DOES[name](argument);
  // Rejects what the SDK would not store or send again.
  if (chat.messages.length) await validateUIMessages({ messages: chat.messages });
  held.push({ status: chat.status, error: chat.error?.message, messages: chat.messages, heard: [...heard], ...result });
}
process.stdout.write(JSON.stringify(held));
