// The page at `/`. It calls only the routes of its own server.
'use strict';
const $ = (id) => document.getElementById(id);
const history = [];            // ids, oldest first
const titles = new Map();      // titles seen so far, by id
const times = [];              // milliseconds of the last requests
let models = [];

// An element with attributes and children. Text is never parsed as markup.
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== undefined));
  return node;
}

async function call(path, body) {
  const headers = {};
  if ($('key').value) headers.authorization = `Bearer ${$('key').value}`;
  if (body) headers['content-type'] = 'application/json';
  const began = performance.now();
  const response = await fetch(path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  const ms = performance.now() - began;
  if (response.status === 401) $('key-box').open = true;
  if (!response.ok) throw new Error(answer.detail || answer.title || response.statusText);
  return { answer, ms };
}

function showStatus(text, wrong = false) {
  $('status').textContent = text;
  $('status').classList.toggle('wrong', wrong);
}

function latency(ms) {
  times.push(ms);
  if (times.length > 120) times.shift();
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const most = Math.max(...times, 1);
  const points = times.map((t, i) => `${(i / Math.max(times.length - 1, 1)) * 100},${30 - (t / most) * 28}`).join(' ');
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('viewBox', '0 0 100 32');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `milliseconds of the last ${times.length} requests`);
  const line = document.createElementNS(ns, 'polyline');
  line.setAttribute('points', points);
  line.setAttribute('fill', 'none');
  line.setAttribute('stroke', 'currentColor');
  line.setAttribute('stroke-width', '1.5');
  line.setAttribute('vector-effect', 'non-scaling-stroke');
  svg.append(line);
  const text = el('span', {}, `${ms.toFixed(1)} ms`);
  const spread = el('span', { class: 'quiet' }, `p50 ${at(0.5).toFixed(1)}, p99 ${at(0.99).toFixed(1)} of ${times.length}`);
  $('latency').replaceChildren(svg, text, spread);
}

function showHistory() {
  $('chips').replaceChildren(...history.map((item, at) => el('li', {},
    el('button', { type: 'button', 'aria-label': `Remove ${titles.get(item) || item}`, onclick: () => {
      history.splice(at, 1);
      showHistory();
      ask();
      $('add').focus();
    } }, `${titles.get(item) || item}  ×`))));
}

function add(item) {
  if (!item) return;
  history.push(item);
  showHistory();
  ask();
}

// A choice from the datalist reads "title  [id]"; any other text is an id.
function addTyped() {
  const text = $('add').value.trim();
  const id = /\[([^\]]+)\]$/.exec(text);
  $('add').value = '';
  add(id && titles.has(id[1]) ? id[1] : text);
}

let searching = 0;
async function search() {
  const text = $('add').value.trim();
  const mine = ++searching;
  if (text.length < 2 || text.endsWith(']')) return;
  try {
    const query = new URLSearchParams({ search: text, k: 12 });
    if ($('model').value) query.set('model', $('model').value);
    const { answer } = await call(`/v1/items?${query}`);
    if (mine !== searching) return;
    answer.items.forEach((found) => titles.set(found.item, found.title));
    $('found').replaceChildren(...answer.items.map((found) => el('option', { value: `${found.title}  [${found.item}]` })));
  } catch (error) { showStatus(error.message, true); }
}

function request(model) {
  const body = { k: Math.max(1, Math.min(100, Number($('k').value) || 10)), model, explain: 2, with_seen: $('with-seen').checked };
  if ($('user').value.trim()) body.user = $('user').value.trim();
  if (history.length) body.history = history;
  return body;
}

const bases = {
  user: 'based on what the model learnt about the user',
  user_and_history: 'based on what the model learnt about the user, and on the history',
  history: 'based on the history',
  popular: 'unknown user: the most popular items',
};

function list({ answer, ms }, others) {
  const model = models.find((one) => one.name === answer.model);
  const rows = answer.items.map((found, at) => {
    if (found.title) titles.set(found.item, found.title);
    const details = Object.entries(found.attributes || {}).map(([name, values]) => `${name}: ${values.join(', ')}`);
    for (const one of found.because || []) if (one.title) titles.set(one.item, one.title);
    if (found.because) details.push(`similar to ${found.because.map((one) => one.title || one.item).join(', ')}`);
    return el('li', { class: others && others.has(found.item) ? 'shared' : undefined },
      el('span', { class: 'rank' }, `${at + 1}`),
      el('span', { class: 'name' }, found.title || found.item,
        el('span', { class: 'more' }, `${found.title ? `  ${found.item}` : ''}`),
        el('div', { class: 'more' }, details.join(' · '))),
      el('span', {}, el('span', { class: 'score' }, Number(found.score.toPrecision(4)).toString()), ' ',
        el('button', { type: 'button', 'aria-label': `Add ${found.title || found.item} to the history`, onclick: () => add(found.item) }, '+')));
  });
  const unknown = answer.unknown_items ? el('p', { class: 'quiet' }, `unknown items: ${answer.unknown_items.join(', ')}`) : undefined;
  const degraded = answer.degraded ? el('p', {}, `The model did not answer in time. Fallback: ${answer.degraded.replaceAll('_', ' ')}.`) : undefined;
  return el('div', { class: 'list' },
    el('h3', {}, `${answer.model}${model ? ` (${model.kind})` : ''}`),
    el('p', { class: 'quiet' }, `${bases[answer.basis] || answer.basis} · ${ms.toFixed(1)} ms`), degraded, unknown, el('ol', {}, ...rows));
}

let latest = 0;
async function ask() {
  const mine = ++latest;
  try {
    const names = [$('model').value, $('beside').value].filter((name, at) => at === 0 || name);
    const found = [];
    for (const name of names) found.push(await call('/v1/recommendations', request(name || undefined)));
    if (mine !== latest) return;
    latency(found[0].ms);
    const sets = found.map(({ answer }) => new Set(answer.items.map((one) => one.item)));
    $('answers').replaceChildren(...found.map((one, at) => list(one, sets[1 - at])));
    if (!$('chips').contains(document.activeElement)) showHistory(); // more titles may be known now
    if (found.length === 2) {
      const shared = [...sets[0]].filter((item) => sets[1].has(item)).length;
      showStatus(`${shared} of ${Math.max(sets[0].size, sets[1].size)} items are in both lists.`);
    } else {
      showStatus('');
    }
  } catch (error) {
    if (mine === latest) showStatus(error.message, true);
  }
}

function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB'];
  let at = 0;
  while (bytes >= 1000 && at < 3) { bytes /= 1000; at += 1; }
  return `${at ? bytes.toFixed(1) : bytes} ${units[at]}`;
}

function card(model) {
  const facts = [
    ['version', model.version], ['users', model.users.toLocaleString('en')], ['items', model.items.toLocaleString('en')],
    ['parameters', model.parameters.toLocaleString('en')], ['on disk', size(model.bytes)],
    ['scoring', model.table ? `one pass over an item table (${model.table}, ${size(model.table_bytes)})` : 'computed by the model'],
  ];
  if (model.titles) facts.push(['titles', model.titles.toLocaleString('en')]);
  if (model.attributes.length) facts.push(['attributes', model.attributes.join(', ')]);
  if (model.challenger) {
    const { report, trial } = model.challenger;
    facts.push(['on trial', `${model.challenger.kind} ${model.challenger.version}, ${trial.mode} ${trial.share}`]);
    facts.push(['overlap', `${report.overlap.toFixed(3)} in ${report.compared} answers`]);
  }
  const details = model.card && Object.keys(model.card).length
    ? el('details', {}, el('summary', {}, 'Card'), el('pre', {}, JSON.stringify(model.card, null, 1))) : undefined;
  return el('div', { class: 'card' }, el('h3', {}, `${model.name} (${model.kind})`),
    el('dl', {}, ...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, `${value}`)])), details);
}

async function load() {
  try {
    models = (await call('/v1/models')).answer.models;
  } catch (error) {
    showStatus(error.message, true);
    return;
  }
  const chosen = $('model').value;
  $('model').replaceChildren(...models.map((one) => el('option', { value: one.name }, one.name)));
  if (models.some((one) => one.name === chosen)) $('model').value = chosen;
  const beside = $('beside').value;
  $('beside').replaceChildren(el('option', { value: '' }, 'no other model'), ...models.map((one) => el('option', { value: one.name }, one.name)));
  $('beside').value = models.some((one) => one.name === beside) ? beside : (models[1] ? models[1].name : '');
  $('beside-label').hidden = models.length < 2;
  $('cards').replaceChildren(...models.map(card));
  if (first) fromLink();
  first = false;
  ask();
}

// Links can fill in the form: /?user=42&history=1,50&k=5&model=MF&beside=Teacher
function fromLink() {
  const link = new URLSearchParams(location.search);
  for (const id of ['user', 'k']) if (link.has(id)) $(id).value = link.get(id);
  for (const item of (link.get('history') || '').split(',').filter(Boolean)) history.push(item);
  for (const id of ['model', 'beside']) if (link.has(id) && models.some((one) => one.name === link.get(id))) $(id).value = link.get(id);
  if (link.get('beside') === '') $('beside').value = '';
  showHistory();
}

let first = true;
$('ask').addEventListener('submit', (event) => { event.preventDefault(); ask(); });
$('add').addEventListener('input', search);
$('add').addEventListener('keydown', (event) => {
  if (event.key === 'Enter') { event.preventDefault(); addTyped(); }
});
$('add-button').addEventListener('click', addTyped);
for (const id of ['model', 'beside', 'with-seen', 'k']) $(id).addEventListener('change', ask);
$('key').addEventListener('change', load);
setInterval(() => { if ($('again').checked && !document.hidden) ask(); }, 500);
load();
