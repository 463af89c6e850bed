// What the reader of the page sees and does. All text reaches the page as textContent, so that none of it can be markup.

const COLOUR_BOUNDS = [0.5, 1, 2, 3, 4.5, 6, 8]; // bits at which the next colour begins
const NUM_UNIT_COLOURS = 9;
// The page works as long as the browser needs to draw the result, and answers its reader at least this often.
const MIN_WORK_MS = 25, MAX_WORK_MS = 150;
const SAY_MS = 5000; // between two messages of progress, which a screen reader reads aloud
const element = (id) => document.getElementById(id);
const signed = (number, digits) => format(number, digits).replace("-", "\u2212");
const format = (number, digits = 0) =>
  number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

const data = JSON.parse(element("data").textContent);
const vocabulary = new Vocabulary(data);
const model = new Model(data.model, unpack(data.layout, element("weights").textContent));

/** The text of the page: what the model has read and written, as elements of which each is a token. */
const text = {
  reading: new Reading(model, vocabulary),
  spans: [],
  given: 0, // the number of tokens that are the beginning, which is set off from what the model wrote
  spaceAfter: -1, // the number of tokens after which one must come that begins with a space
  queue: [], // tokens that are still to be read: [id, text]
  remaining: 0, // tokens that are still to be written
  written: "", // since the reader asked for more
  timer: 0,
  started: 0,
  count: 0,
  beginning: "", // what the reader typed for it
  selected: null, // the position of a token, by keyboard or touch
  place: 0, // where the keyboard goes on from
  worked: 0, // when the page last stopped to let the browser draw
  said: 0, // when the reader was last told how much is still to be read
  removed: null, // what `undo` brings back: {length, tokens, given, spaceAfter, beginning, queue}
};

/** Returns a character as it is shown: a sign for a control character or one that is none. */
function printable(character) {
  const code = character.codePointAt(0);
  if (code < 0x20 && character !== "\t" && character !== "\n") return String.fromCodePoint(0x2400 + code);
  return (code >= 0x7f && code < 0xa0) || (code >= 0xd800 && code < 0xe000) || (code & 0xfffe) === 0xfffe ? "\ufffd" : character;
}

/** Returns a token as it is called where white space and invisible characters would not be seen. */
function nameOf(token) {
  const names = { " ": "space", "\n": "line end", "\t": "tab", "\r": "carriage return", "\u3000": "wide space" };
  if (names[token]) return names[token];
  const invisible = Array.from(token).length === 1 && /[\p{Cf}\p{Zs}\p{Zl}\p{Zp}\p{M}]/u.test(token);
  if (invisible) return `U+${token.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  const name = Array.from(vocabulary.shown(token), printable).join("");
  return vocabulary.kind === "bpe" ? name.replaceAll(" ", "\u2423") : name; // else "the" and "the " would look the same
}

function make(tag, className = "", content = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = content;
  return made;
}

function say(message) {
  element("status").textContent = message;
}

// The text and its colours

function showToken(token, position) {
  const span = make("span");
  span.position = position;
  const shown = Array.from(vocabulary.shown(token.text), printable).join("");
  if (token.text === "\n") span.append(make("i", "sign", "\u21b5"), "\n");
  else span.textContent = shown;
  span.gap = position ? vocabulary.gap(text.reading.tokens[position - 1].text, token.text) : "";
  if (span.gap) element("text").append(span.gap);
  element("text").append(span);
  text.spans.push(span);
  paint(position);
}

function paint(position) {
  const token = text.reading.tokens[position], colour = colourOf(token);
  const marks = [colour, position < text.given && "given", position === text.selected && "selected"];
  text.spans[position].className = marks.filter(Boolean).join(" ");
}

function colourOf(token) {
  const unit = chosenUnit();
  if (unit !== null) return `u${Math.round(((token.units[unit] / 127 + 1) / 2) * (NUM_UNIT_COLOURS - 1))}`;
  return token.bits === null ? "" : `s${COLOUR_BOUNDS.filter((bound) => token.bits >= bound).length}`;
}

/** Returns the number, among those of all layers, of the unit that colours the text, or null if surprise does. */
function chosenUnit() {
  const chosen = element("colour").value;
  if (chosen === "surprise") return null;
  if (chosen !== "any") return Number(chosen);
  const layer = Math.min(Math.max(Number(element("layer").value) || 1, 1), model.layers.length) - 1;
  const { units } = model.layers[layer];
  element("unit").max = units - 1;
  const before = model.layers.slice(0, layer).reduce((sum, other) => sum + other.units, 0);
  return before + Math.min(Math.max(Number(element("unit").value) || 0, 0), units - 1);
}

function unitName(number) {
  let layer = 0, unit = number;
  while (unit >= model.layers[layer].units) unit -= model.layers[layer++].units;
  return model.layers.length > 1 ? `layer ${layer + 1}, unit ${unit}` : `unit ${unit}`;
}

function repaint() {
  element("unit_choice").hidden = element("colour").value !== "any";
  text.reading.tokens.forEach((_, position) => paint(position));
  const legend = element("legend");
  legend.replaceChildren();
  if (chosenUnit() === null) {
    [0, ...COLOUR_BOUNDS].forEach((low, i, all) => legend.append(make("li", `s${i}`, i + 1 < all.length ? low : `${low}+ bits`)));
    element("legend_note").textContent =
      `Surprise in bits, from each colour's number on: 1 bit is a chance of 1 in 2 for the ${vocabulary.noun} that came, 3 bits ` +
      "1 in 8, 6 bits 1 in 64.";
  } else {
    for (let i = 0; i < NUM_UNIT_COLOURS; i++) {
      const value = (2 * i) / (NUM_UNIT_COLOURS - 1) - 1;
      legend.append(make("li", `u${i}`, Number.isInteger(value) ? signed(value, 0) : "\u00a0"));
    }
    element("legend_note").textContent = `The value of ${unitName(chosenUnit())} after it has read each ${vocabulary.noun}.`;
  }
}

/** Lists the units that say most about the text that is shown, and keeps the reader's choice. */
function listUnits() {
  const list = element("colour"), chosen = list.value || "surprise";
  const option = (value, label) => {
    const made = make("option", "", label);
    made.value = value;
    return made;
  };
  const group = make("optgroup");
  group.label = "Units that say most of this text, with their correlation";
  const found = tellingUnits(text.reading);
  for (const { unit, name, r } of found) {
    if (![...group.children].some(({ value }) => value === String(unit))) {
      group.append(option(String(unit), `${unitName(unit)}: ${name}, ${signed(r, 2)}`));
    }
  }
  if (/^\d+$/.test(chosen) && ![...group.children].some(({ value }) => value === chosen)) {
    group.append(option(chosen, unitName(Number(chosen))));
  }
  list.replaceChildren(option("surprise", "surprise"), ...(group.children.length ? [group] : []), option("any", "any unit ..."));
  list.value = chosen;
}

// Reading and writing

function sampling() {
  const number = (id) => Number(element(id).value);
  return { temperature: number("temperature"), topK: number("top_k"), topP: number("top_p"), seed: number("seed") };
}

/** Works on what is still to be read or written, and lets the reader act in between. */
function work() {
  const pace = Number(element("pace").value), stop = stopText(), begun = performance.now();
  const until = begun + Math.min(Math.max(begun - text.worked, MIN_WORK_MS), MAX_WORK_MS);
  for (;;) {
    if (text.queue.length) {
      const [id, shown] = text.queue.pop();
      showToken(text.reading.add(id, shown), text.reading.tokens.length - 1);
    } else if (text.remaining) {
      const token = text.reading.write(sampling(), text.reading.tokens.length === text.spaceAfter);
      showToken(token, text.reading.tokens.length - 1);
      text.written += (text.written && text.spans.at(-1).gap) + vocabulary.shown(token.text);
      text.count++;
      text.remaining = stop && text.written.includes(stop) ? 0 : text.remaining - 1;
    } else {
      return pause();
    }
    if (performance.now() >= until || (pace && text.remaining && !text.queue.length)) break;
  }
  if (text.queue.length && performance.now() >= text.said + SAY_MS) {
    text.said = performance.now();
    say(`Reading: ${format(text.queue.length)} ${vocabulary.noun}s to go.`);
  }
  const due = text.started + (1000 * text.count) / pace - performance.now();
  text.timer = setTimeout(work, pace && !text.queue.length ? Math.max(due, 0) : 0);
  text.worked = performance.now();
}

function stopText() {
  return element("stop").value.replaceAll("\\n", "\n");
}

function run() {
  element("write").textContent = "Pause";
  clearTimeout(text.timer);
  text.started = performance.now();
  text.said = -SAY_MS;
  text.worked = text.started;
  text.count = 0;
  text.timer = setTimeout(work, 0);
}

function pause() {
  const wasWriting = text.remaining > 0, seconds = (performance.now() - text.started) / 1000;
  clearTimeout(text.timer);
  text.timer = 0;
  text.remaining = 0;
  if (text.queue.length) say(`Paused with ${format(text.queue.length)} ${vocabulary.noun}s to go.`);
  else describe(wasWriting, seconds);
  element("write").textContent = text.queue.length ? "Read on" : "Write";
  listUnits();
}

function describe(paused, seconds) {
  const bits = text.reading.tokens.map((token) => token.bits).filter((b) => b !== null);
  if (!bits.length) return;
  const mean = bits.reduce((a, b) => a + b, 0) / bits.length;
  const characters = Array.from(vocabulary.join(text.reading.tokens.slice(-bits.length).map((token) => token.text))).length;
  const perCharacter = vocabulary.kind === "bpe" ? `, ${format((mean * bits.length) / characters, 2)} bits a character` : "";
  const speed = text.count > 20 && element("pace").value === "0" ? ` Written at ${format(text.count / seconds)} a second.` : "";
  say(
    `${paused ? "Paused. " : ""}${format(text.reading.tokens.length)} ${vocabulary.noun}s, on average ${format(mean, 2)} bits ` +
    `of surprise each (perplexity ${format(2 ** mean, 1)})${perCharacter}.${speed}`,
  );
}

/** Returns the ids of tokens with the tokens: [[id, text], ...]. */
function encode(tokens) {
  return tokens.map((token) => [vocabulary.idOf(token), token]);
}

/** Puts a text in place of what is shown. Returns whether there is one. */
function begin() {
  const typed = element("beginning").value, cleaned = vocabulary.clean(typed);
  const spaceToCome = vocabulary.bringsSpace(cleaned);
  const written = encode(vocabulary.asWritten(spaceToCome ? cleaned.slice(0, -1) : cleaned));
  const tokens = written.filter(([id]) => id);
  const unknown = [...new Set(written.filter(([id]) => !id).map(([, token]) => token))];
  const names = unknown.slice(0, 20).map(nameOf).join(" ") + (unknown.length > 20 ? " ..." : "");
  const notes = cleaned.trim() !== typed.trim() ? [`Read as \u201c${cleaned.trim()}\u201d, cleaned as the model's own text was.`] : [];
  if (unknown.length) notes.push(`Left out, because the model has never seen it: ${names}`);
  element("left_out").textContent = notes.join(" ");
  if (!tokens.length) {
    const known = vocabulary.idToToken.slice(1, 9).map(nameOf).join(", ");
    say(`Type at least one ${vocabulary.noun} that the model knows, such as ${known}.`);
    return false;
  }
  cut(0);
  text.given = tokens.length;
  text.spaceAfter = spaceToCome ? tokens.length : -1;
  text.queue = tokens.reverse();
  text.beginning = element("beginning").value;
  return true;
}

/** Leaves the first `length` tokens; the others can be brought back. */
function cut(length) {
  select(null);
  hover(null);
  if (text.reading.tokens.length > length) {
    const { given, spaceAfter, beginning, queue } = text;
    text.removed = { length, given, spaceAfter, beginning, queue, tokens: text.reading.cut(length) };
    element("undo").disabled = false;
  }
  text.given = Math.min(text.given, length);
  text.queue = [];
  redraw(length);
}

/** Shows the text again from a position on. */
function redraw(from) {
  const shown = element("text");
  for (const span of text.spans.splice(from)) {
    if (span.gap) span.previousSibling.remove();
    span.remove();
  }
  if (!from) shown.replaceChildren();
  text.reading.tokens.slice(from).forEach((token, i) => showToken(token, from + i));
}

function undo() {
  pause();
  const { length, tokens, given, spaceAfter, beginning, queue } = text.removed;
  text.removed = null;
  element("undo").disabled = true;
  select(null);
  hover(null);
  text.reading.restore(length, tokens);
  Object.assign(text, { given, spaceAfter, beginning, queue });
  redraw(length);
  pause();
}

/** Returns whether the settings can be used; else shows which one cannot. */
function checkSettings() {
  const form = element("settings");
  if (!form.checkValidity()) document.querySelector("details").open = true;
  return form.reportValidity();
}

function writeOn() {
  if (!checkSettings()) return;
  text.remaining = Number(element("length").value);
  text.written = "";
  run();
}

/** Writes on after the token at a position, with another seed, so that it becomes another text. */
function writeAfter(position) {
  if (!checkSettings()) return;
  clearTimeout(text.timer);
  cut(position + 1);
  otherSeed();
  writeOn();
}

function otherSeed() {
  element("seed").value = (Number(element("seed").value) + 1) % 2 ** 31;
}

// What was likelier

function hover(position) {
  for (const span of document.querySelectorAll("#text .hovered")) span.classList.remove("hovered");
  if (position !== null) text.spans[position].classList.add("hovered");
  showPanel(position ?? text.selected, position === null);
  const panel = element("panel");
  const covers = position !== null && text.spans[position].getBoundingClientRect().bottom > innerHeight - panel.offsetHeight;
  panel.classList.toggle("above", covers);
}

function select(position) {
  text.spans[text.selected]?.classList.remove("selected");
  text.selected = position;
  if (position !== null) {
    text.place = position;
    text.spans[position].classList.add("selected");
  }
  showPanel(position, true);
  if (position === null) return;
  document.documentElement.style.scrollPaddingBottom = `${element("panel").offsetHeight + 8}px`;
  text.spans[position].scrollIntoView({ block: "nearest" });
}

/** Selects the token at a position, or the first or last one if there is none. */
function selectNear(position) {
  if (text.spans.length) select(Math.min(Math.max(position, 0), text.spans.length - 1));
}

function showPanel(position, isSelected) {
  const panel = element("panel");
  panel.hidden = position === null;
  panel.classList.remove("above");
  if (position === null) return;
  const token = text.reading.tokens[position], unit = chosenUnit();
  const heading = element("panel_token");
  heading.replaceChildren(make("bdi", "", nameOf(token.text)));
  if (!token.id) heading.append(", which the model does not know");
  if (token.bits === null) heading.append(": given to the model");
  else heading.append(`: ${share(2 ** -token.bits)}, ${format(token.bits, 1)} bits`);
  if (unit !== null) heading.append(`; ${unitName(unit)}: ${signed(token.units[unit] / 127, 2)}`);
  const list = element("panel_likeliest");
  list.replaceChildren();
  for (const [id, probability] of token.likeliest) {
    const entry = make("li", id === token.id ? "actual" : ""), bar = make("i");
    bar.style.width = `${100 * probability}%`;
    entry.append(make("bdi", "", id ? nameOf(vocabulary.idToToken[id]) : "unknown"), ` ${share(probability)}`, bar);
    list.append(entry);
  }
  element("panel_actions").hidden = !isSelected;
  element("panel_actions").dir = direction(); // mirrors the arrows of its buttons too
  panel.classList.toggle("pointed", !isSelected);
}

function direction() {
  return getComputedStyle(element("text")).direction;
}

function share(probability) {
  return probability >= 0.01 ? `${format(100 * probability)} %` : probability >= 0.0001 ? `${format(100 * probability, 2)} %` : "below 0.01 %";
}

// What the reader does

function writeOrPause() {
  if (text.timer) return pause();
  if (text.queue.length) return run();
  if (!checkSettings()) return;
  const isNew = !text.reading.tokens.length || element("beginning").value !== text.beginning;
  if (!isNew || begin()) writeOn();
}

// No form is ever submitted: the frame of a notebook forbids it.
element("write").addEventListener("click", writeOrPause);
element("settings").addEventListener("submit", (event) => event.preventDefault());
element("settings").addEventListener("keydown", (event) => {
  // An input method takes Enter to choose a character: 229 is how Safari says so.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  if (!event.target.matches("textarea, input")) return;
  event.preventDefault();
  if (text.timer) pause();
  writeOrPause();
});
element("again").addEventListener("click", () => {
  if (!checkSettings()) return;
  clearTimeout(text.timer);
  otherSeed();
  if (begin()) writeOn();
  else pause();
});
element("undo").addEventListener("click", undo);
element("copy").addEventListener("click", async () => {
  const whole = vocabulary.join(text.reading.tokens.map((token) => token.text));
  try {
    await navigator.clipboard.writeText(whole);
    say("The text is copied.");
  } catch (error) {
    getSelection().selectAllChildren(element("text"));
    say("The text is selected: copy it with Ctrl+C, or with Command+C on a Mac.");
  }
});
element("temperature").addEventListener("input", () => {
  element("temperature_value").textContent = format(Number(element("temperature").value), 2);
});
for (const id of ["colour", "layer", "unit"]) element(id).addEventListener("input", repaint);
const positionAt = (event) => event.target.closest("#text span")?.position ?? null;
element("text").addEventListener("pointerover", (event) => {
  if (event.pointerType === "mouse") hover(positionAt(event));
});
element("text").addEventListener("pointerleave", () => hover(null));
let pointer = "mouse";
element("text").addEventListener("pointerdown", (event) => (pointer = event.pointerType));
element("text").addEventListener("click", (event) => {
  const position = positionAt(event);
  if (position === null || !getSelection().isCollapsed) return;
  if (pointer === "mouse") writeAfter(position);
  else select(position);
});
element("text").addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return; // Alt with an arrow key leaves the page
  const at = text.selected, forwards = direction() === "rtl" ? -1 : 1;
  const ends = { Home: 0, End: Infinity };
  const moves = {
    ArrowLeft: () => at - forwards, ArrowRight: () => at + forwards,
    ArrowUp: () => onLine(at, "above"), ArrowDown: () => onLine(at, "below"),
  };
  if (event.key === "Enter" && at !== null) writeAfter(at);
  else if (event.key === "Escape") select(null);
  else if (event.key in ends) selectNear(ends[event.key]);
  else if (event.key in moves) selectNear(at === null ? text.place : moves[event.key]());
  else return;
  event.preventDefault();
});
// Who comes by the tab key, also in the reading mode of a screen reader, gets the panel and its buttons.
element("text").addEventListener("focus", () => {
  if (element("text").matches(":focus-visible") && text.selected === null) selectNear(text.place);
});
element("panel_write").addEventListener("click", () => writeAfter(text.selected));
element("panel_before").addEventListener("click", () => selectNear(text.selected - 1));
element("panel_after").addEventListener("click", () => selectNear(text.selected + 1));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") select(null);
});

/** Returns the position of the token that is shown above or below that at a position. */
function onLine(position, where) {
  const from = text.spans[position].getBoundingClientRect(), step = where === "above" ? -1 : 1;
  let best = position, distance = Infinity, line = null;
  for (let i = position + step; i >= 0 && i < text.spans.length; i += step) {
    const { left, bottom } = text.spans[i].getBoundingClientRect();
    if ((bottom - from.bottom) * step <= 2) continue;
    line ??= bottom;
    if ((bottom - line) * step > 2) break;
    if (Math.abs(left - from.left) < distance) [best, distance] = [i, Math.abs(left - from.left)];
  }
  return best;
}

/** Returns the language of a text by its script, for fonts and voices; "und" if the script does not tell. */
function languageOf(sample) {
  const scripts = [
    [/[\p{Script=Hiragana}\p{Script=Katakana}]/u, "ja"], [/\p{Script=Hangul}/u, "ko"], [/\p{Script=Han}/u, "zh"],
    [/\p{Script=Arabic}/u, "ar"], [/\p{Script=Hebrew}/u, "he"], [/\p{Script=Greek}/u, "el"],
  ];
  return scripts.find(([pattern]) => pattern.test(sample))?.[1] ?? "und";
}

/** Shows the page as it is opened. */
function open() {
  const language = languageOf(vocabulary.idToToken.join(""));
  for (const id of ["text", "beginning", "panel_token", "panel_likeliest"]) element(id).lang = language;
  element("about").textContent = data.about;
  element("footer").textContent = data.footer;
  for (const remark of data.remarks) element("remarks").append(make("p", "", remark));
  for (const shown of document.querySelectorAll(".noun")) shown.textContent = vocabulary.noun;
  for (const shown of document.querySelectorAll(".nouns")) shown.textContent = `${vocabulary.noun}s`;
  element("panel_before").setAttribute("aria-label", `Previous ${vocabulary.noun}`);
  element("panel_after").setAttribute("aria-label", `Next ${vocabulary.noun}`);
  element("beginning").value = data.prefix;
  text.beginning = element("beginning").value; // which has line feeds for all line ends
  element("temperature").dispatchEvent(new Event("input"));
  element("layer").max = model.layers.length;
  listUnits();
  repaint();
  if (data.text) {
    text.queue = encode(vocabulary.split(data.text)).reverse(); // as it is, unlike what a reader types
    run();
  } else if (!matchMedia("(prefers-reduced-motion: reduce)").matches && begin()) {
    writeOn();
  }
}

/** For the comparison with Python: writes the logits after each of the tokens that the address names into the page. */
function showLogits(ids) {
  const logits = ids.map((id) => Array.from(model.step(id), (logit) => Number(logit.toPrecision(9))));
  document.body.replaceChildren(make("pre", "", JSON.stringify(logits)));
}

if (location.hash.startsWith("#logits=")) showLogits(location.hash.slice(8).split(",").map(Number));
else open();
