// The page of examples/web_chat. A conversation lies in this browser's storage as the AI SDK's UI messages and goes
// along with every question; each answer holds where it stands, so the server keeps nothing.
//
// One tab at a time asks in a conversation: it holds the conversation's lock, and the others show what it stores.

import { markdown } from './markdown.js';

const find = selector => document.querySelector(selector);
const [main, form, question, send, stop, said] =
  ['#conversation', '#composer', '#question', '#send', '#stop', '#status'].map(find);
const PREFIX = 'chat:';

let id = location.hash.slice(1) || crypto.randomUUID();
let messages = [];
let running = null;  // what stops the answer that this tab is reading
let waiting = null;  // the conversation in which what stands in the box is asked as soon as its lock is free
let edited = null;   // which question is asked anew

// Storage

const stored = chat => JSON.parse(localStorage.getItem(PREFIX + chat) ?? '{"messages":[]}');

function load() {
  messages = stored(id).messages;
}

function save() {
  const value = JSON.stringify({ at: Date.now(), messages });
  for (;;) {
    try {
      return localStorage.setItem(PREFIX + id, value);
    } catch (error) {  // the storage is full: the oldest conversation goes
      const oldest = chats().filter(chat => chat.id !== id).at(-1);
      if (!oldest) throw error;
      localStorage.removeItem(PREFIX + oldest.id);
    }
  }
}

function chats() {
  return Object.keys(localStorage)
    .filter(key => key.startsWith(PREFIX))
    .map(key => ({ id: key.slice(PREFIX.length), ...stored(key.slice(PREFIX.length)) }))
    .filter(chat => chat.messages.length)
    .sort((one, other) => other.at - one.at);
}

// The stream

async function* chunksOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError('The line was cut.');
    const frames = (rest + value).split('\n\n');
    rest = frames.pop();
    for (const frame of frames) {
      if (frame === 'data: [DONE]') return;
      yield JSON.parse(frame.slice('data: '.length));
    }
  }
}

function apply(message, chunk) {
  const [kind, step] = chunk.type.split('-');
  const part = message.parts.findLast(each => each.id === chunk.id && each.type === kind);
  const tool = message.parts.find(each => each.toolCallId && each.toolCallId === chunk.toolCallId);
  if (step === 'start') message.parts.push({ type: kind, id: chunk.id, text: '', state: 'streaming' });
  else if (step === 'delta') part.text += chunk.delta;
  else if (step === 'end') part.state = 'done';
  else if (chunk.type === 'tool-input-available') {
    const { toolCallId, toolName, input } = chunk;
    const called = { type: 'dynamic-tool', toolCallId, toolName, input, state: 'input-available', providerExecuted: true };
    tool ? Object.assign(tool, called) : message.parts.push(called);
  } else if (chunk.type === 'tool-output-available') Object.assign(tool, { state: 'output-available', output: chunk.output });
  else if (chunk.type === 'tool-output-error') Object.assign(tool, { state: 'output-error', errorText: chunk.errorText });
  else if (kind === 'source') message.parts.push(chunk);
  else if (chunk.type === 'error') message.problem = chunk.errorText;
  if (chunk.messageMetadata) message.metadata = { ...message.metadata, ...chunk.messageMetadata };
}

class Refusal extends Error {}

async function* request(path, body, signal) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body), signal });
  if (!response.ok) throw new Refusal(await response.text());
  yield* chunksOf(response);
}

const answerOf = () => ({ id: crypto.randomUUID(), role: 'assistant', parts: [], status: 'streaming' });

// Asking. Everything here happens inside the conversation's lock.

function locked(work) {
  const chat = id;
  return navigator.locks.request(PREFIX + chat, async () => {
    if (chat !== id) return;
    load();
    await work();
    showRunning(null);
    show();
  });
}

async function ask() {
  const answer = answerOf();
  const body = { id, trigger: 'submit-message', messages: [...messages] };
  messages.push(answer);
  const stopper = new AbortController();
  showRunning(stopper);
  try {
    await take(answer, request('api/chat', body, stopper.signal));
    tell(answer.problem ? 'The answer failed.' : 'Answered.');
  } catch (error) {
    if (stopper.signal.aborted) finish(answer, 'stopped');
    else if (error instanceof Refusal) finish(answer, 'done', error.message);
    else await fetchAgain(answer);
  }
}

async function take(answer, chunks) {
  for await (const chunk of chunks) {
    apply(answer, chunk);
    later();
  }
  finish(answer, 'done');
}

function finish(answer, status, problem = answer.problem) {
  Object.assign(answer, { status, problem });
  save();
}

// The line was cut, or the page was left: the agent has gone on, and its session tells the whole answer.
async function fetchAgain(answer) {
  const token = answer.metadata?.token;
  if (!token) return finish(answer, 'lost');
  for (let pause = 500; pause < 20000; pause *= 2) {
    tell('The line was cut; fetching the answer ...');
    const whole = { ...answerOf(), id: answer.id };
    try {
      for await (const chunk of request('api/answer', { token }, null)) apply(whole, chunk);
      Object.assign(answer, whole);
      finish(answer, 'done');
      return tell('Answered.');
    } catch (error) {
      if (error instanceof Refusal) return finish(answer, 'done', error.message);
      await new Promise(resolve => setTimeout(resolve, pause));
    }
  }
  finish(answer, 'cut');
  tell('The line is cut.');
}

const unfinished = () => messages.at(-1)?.role === 'assistant' && messages.at(-1).status === 'streaming';
const mend = () => unfinished() && locked(async () => unfinished() && (await fetchAgain(messages.at(-1))));

function askAgain() {
  locked(async () => {
    if (messages.at(-1)?.role === 'assistant') messages.pop();
    await ask();
  });
}

// What is seen

let due = 0;
function later() {
  due ||= setTimeout(() => {
    due = 0;
    save();
    show();
  }, 50);
}

function tell(words) {
  said.textContent = words;
}

function showRunning(stopper) {
  running = stopper;
  stop.hidden = !stopper;
  send.hidden = Boolean(stopper);
  if (stopper) tell('The agent is answering ...');
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const shown = new Map();  // what stands in the page, by message: it is changed in place, so what is open stays open

function show() {
  const isAtEnd = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
  const empty = make('p', { className: 'empty' }, 'Nothing has been asked yet.');
  const articles = messages.map((message, place) => {
    const article = shown.get(message.id) ?? make('article', { className: message.role });
    shown.set(message.id, article);
    article.setAttribute('aria-label', message.role === 'user' ? 'You' : 'The agent');
    message.role === 'user' ? showQuestion(article, message, place) : showAnswer(article, message);
    return article;
  });
  const wanted = articles.length ? articles : [empty];
  if (wanted.length !== main.children.length || wanted.some((each, place) => each !== main.children[place])) {
    main.replaceChildren(...wanted);
  }
  if (isAtEnd) main.scrollTop = main.scrollHeight;
}

function showQuestion(article, message, place) {
  if (article.children.length) return;
  const words = message.parts.map(part => part.text).join('\n\n');
  const edit = make('button', { type: 'button' }, 'Edit');
  edit.setAttribute('aria-label', `Edit the question: ${words}`);
  edit.onclick = () => {
    edited = messages.findIndex(each => each.id === message.id);
    question.value = words;
    question.focus();
    tell('Ask it anew; what follows it is then left out.');
  };
  article.append(make('div', { className: 'words' }, words), edit);
}

function showAnswer(article, message) {
  const parts = message.parts.filter(part => !part.type.startsWith('source-'));
  parts.forEach((part, place) => {
    let element = article.children[place];
    if (element?.dataset.kind !== part.type) {
      element = SHOW[part.type].make();
      element.dataset.kind = part.type;
      article.children[place] ? article.children[place].before(element) : article.append(element);
    }
    SHOW[part.type].fill(element, part);
  });
  showEnd(article, message, parts.length);
}

const SHOW = {
  text: {
    make: () => make('div', { className: 'text' }),
    fill: (element, part) => {
      if (element.told !== part.text) element.replaceChildren(...markdown(part.text));
      element.told = part.text;
    },
  },
  reasoning: {
    make: () => make('details', { className: 'thinking' }, make('summary', {}, 'Thinking'), make('p')),
    fill: (element, part) => {
      element.classList.toggle('busy', part.state === 'streaming');
      element.lastChild.textContent = part.text.trim();
    },
  },
  'dynamic-tool': {
    make: () => make('details', { className: 'tool' }, make('summary'), make('pre')),
    fill: (element, part) => {
      element.classList.toggle('busy', part.state === 'input-available');
      const values = Object.entries(part.input ?? {}).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
      element.firstChild.textContent = `Used ${part.toolName}(${values.join(', ').slice(0, 120)})`;
      const result = part.errorText ?? (part.state === 'input-available' ? '...' : part.output);
      const told = typeof result === 'string' ? result : JSON.stringify(result, null, 2);
      if (element.lastChild.textContent !== told) element.lastChild.textContent = told;
    },
  },
};

function showEnd(article, message, count) {
  const sources = message.parts.filter(part => part.type.startsWith('source-'));
  const state = JSON.stringify([sources.length, message.status, message.problem, count]);
  if (article.dataset.end === state) return;
  article.dataset.end = state;
  [...article.children].slice(count).forEach(each => each.remove());
  if (message.status === 'stopped') article.append(make('p', { className: 'note' }, 'You stopped this answer.'));
  if (message.status === 'lost') article.append(problem('The line was cut before the answer began.', 'Ask again', askAgain));
  if (message.status === 'cut') article.append(problem('The line was cut.', 'Fetch the answer', () =>
    locked(() => fetchAgain(messages.at(-1)))));
  if (message.problem) article.append(problem(message.problem, 'Ask again', askAgain));
  if (sources.length && message.status !== 'streaming') article.append(sourcesOf(message, sources));
}

function problem(words, name, act) {
  const button = make('button', { type: 'button', onclick: act }, name);
  return make('p', { className: 'problem' }, words, button);
}

function sourcesOf(message, parts) {
  const words = message.parts.filter(part => part.type === 'text').map(part => part.text).join('');
  const seen = new Set();
  const sources = parts
    .map(part => ({ part, known: part.providerMetadata?.llama_cloud ?? {} }))
    .filter(({ part, known }) => !seen.has(part.title + known.text) && seen.add(part.title + known.text));
  const isCited = ({ part }) => words.includes(part.title);
  const cited = sources.some(isCited) ? sources.filter(isCited) : sources.slice(0, 3);
  const rest = sources.filter(source => !cited.includes(source));
  const list = some => make('ul', {}, ...some.map(source => sourceOf(message, source)));
  const section = make('section', { className: 'sources' }, make('h2', {}, 'Sources'), list(cited));
  section.setAttribute('aria-label', 'Sources');
  if (rest.length) {
    const more = make('summary', {}, `${rest.length} more that the agent has read`);
    section.append(make('details', { className: 'more' }, more, list(rest)));
  }
  return section;
}

function sourceOf(message, { part, known }) {
  const name = part.url
    ? make('a', { href: part.url, target: '_blank', rel: 'noopener noreferrer', className: 'name' }, part.title)
    : make('span', { className: 'name' }, part.title);
  const pictures = (known.attachments ?? []).map(({ attachment_name, source_id }) => {
    const address = `api/picture?${new URLSearchParams({ token: message.metadata.token, name: attachment_name, source_id })}`;
    const page = /(\d+)\.\w+$/.exec(attachment_name)?.[1];
    const alt = `Picture of ${known.file_name ?? 'the document'}${page ? `, page ${page}` : ''}`;
    const picture = make('img', { src: address, alt, loading: 'lazy' });
    return make('a', { href: address, target: '_blank', rel: 'noopener' }, picture);
  });
  const item = make('li', {}, name);
  if (known.text) item.append(passageOf(known.text));
  if (pictures.length) item.append(make('div', { className: 'pictures' }, ...pictures));
  return item;
}

function passageOf(text) {
  const words = text.replace(/^#+ +/gm, '').replace(/\n{2,}/g, '\n').trim();  // what headings and blank lines are made of
  return make('div', { className: 'passage', tabIndex: 0 }, words);
}

function showChats() {
  const items = chats().map(chat => {
    const link = make('a', { href: `#${chat.id}` }, chat.messages[0].parts[0].text.slice(0, 60));
    if (chat.id === id) link.setAttribute('aria-current', 'true');
    return make('li', {}, link);
  });
  find('#earlier ul').replaceChildren(...(items.length ? items : [make('li', { className: 'note' }, 'There are none.')]));
}

function open(chat) {
  running?.abort();
  id = chat;
  edited = null;
  history.replaceState(null, '', `#${id}`);
  find('#earlier').open = false;
  shown.clear();
  load();
  tell('');
  show();
  main.scrollTop = main.scrollHeight;
  mend();
}

// What is done

form.onsubmit = event => {
  event.preventDefault();
  const chat = id;
  if (!question.value.trim() || running) return;
  tell('Another tab is asking ...');
  if (waiting === chat) return;
  waiting = chat;
  locked(async () => {
    if (edited !== null) messages.splice(edited);
    if (unfinished()) await fetchAgain(messages.at(-1));
    // Until here it stands in the box: neither a reload nor another conversation loses it.
    const text = question.value.trim();
    if (chat !== id || !text) return load();
    question.value = '';
    edited = null;
    messages.push({ id: crypto.randomUUID(), role: 'user', parts: [{ type: 'text', text }] });
    save();
    show();
    main.scrollTop = main.scrollHeight;
    await ask();
  }).finally(() => {
    if (waiting === chat) waiting = null;
  });
};
question.onkeydown = event => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
};
document.onkeydown = event => {
  if (event.key === 'Escape') running?.abort();
};
stop.onclick = () => {
  running?.abort();
  question.focus();
};
find('#new').onclick = () => {
  open(crypto.randomUUID());
  question.focus();
};
find('#earlier').ontoggle = showChats;
onhashchange = () => location.hash.slice(1) && location.hash.slice(1) !== id && open(location.hash.slice(1));
onstorage = event => {
  if (event.key !== PREFIX + id || running) return;
  load();
  show();
};
onpagehide = () => {
  if (running) save();
  sessionStorage.setItem('box', question.value);
};

question.value = sessionStorage.getItem('box') ?? '';
open(id);
