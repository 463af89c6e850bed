"use strict";
// The model in the page: its weights, one step of it, the choice of the next token, and what it has read so far.
// Letters: V vocab_size, H units, E embedding_dim. Matrices are stored by rows, [outputs, inputs].

/** The WebAssembly program of `out += matrix x`, four numbers at once; JavaScript alone would be four times as slow. */
function assembleProduct() {
  const [out, w, x, rows, size, j, a, b, c, d] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]; // parameters, then local variables
  const [i32, v128] = [0x7f, 0x7b];
  const get = (name) => [0x20, name], set = (name) => [0x21, name];
  const number = (value) => [0x41, ...(value < 64 ? [value] : [value | 0x80, 0])];
  const add = [0x6a], addFour = [0xfd, 0xe4, 1], multiplyFour = [0xfd, 0xe6, 1], addOne = [0x92];
  const zeros = (name) => [0x43, 0, 0, 0, 0, 0xfd, 0x13, ...set(name)];
  const lane = (name, number) => [...get(name), 0xfd, 0x1f, number];
  const load = (offset) => [0xfd, 0, 2, offset];
  const increase = (name, by) => [...get(name), ...number(by), ...add, ...set(name)];
  const accumulate = (name, offset) => [
    ...get(name), ...get(w), ...load(offset), ...get(x), ...get(j), ...add, ...load(offset),
    ...multiplyFour, ...addFour, ...set(name),
  ];
  const body = [
    0x03, 0x40, // for each row
    ...zeros(a), ...zeros(b), ...zeros(c), ...zeros(d), ...number(0), ...set(j),
    0x03, 0x40, // for each sixteen columns
    ...accumulate(a, 0), ...accumulate(b, 16), ...accumulate(c, 32), ...accumulate(d, 48),
    ...increase(w, 64), ...increase(j, 64), ...get(j), ...get(size), 0x49, 0x0d, 0, 0x0b,
    ...get(a), ...get(b), ...addFour, ...get(c), ...get(d), ...addFour, ...addFour, ...set(a),
    ...get(out), ...get(out), 0x2a, 2, 0, ...lane(a, 0), ...lane(a, 1), ...addOne, ...lane(a, 2), ...lane(a, 3),
    ...addOne, ...addOne, ...addOne, 0x38, 2, 0,
    ...increase(out, 4), ...get(rows), ...number(1), 0x6b, 0x22, rows, 0x0d, 0, 0x0b,
    0x0b,
  ];
  const length = (bytes) => [(bytes.length & 0x7f) | 0x80, bytes.length >> 7];
  const section = (id, content) => [id, ...length(content), ...content];
  const code = [2, 1, i32, 4, v128, ...body];
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 5, i32, i32, i32, i32, i32, 0]),
    ...section(2, [1, 1, 0x65, 1, 0x6d, 2, 0, 1]), // the memory "m" of "e"
    ...section(3, [1, 0]),
    ...section(7, [1, 1, 0x70, 0, 0]), // the function "p"
    ...section(10, [1, ...length(code), ...code]),
  ]);
}

const padded = (size) => Math.ceil(size / 16) * 16;

/** Memory for matrices, and the product of one of them with a vector, compiled if the browser can. */
class Memory {
  constructor(numFloats) {
    this.used = 0;
    try {
      const memory = new WebAssembly.Memory({ initial: Math.ceil(numFloats / 2 ** 14) + 1 });
      const module = new WebAssembly.Module(assembleProduct());
      this.product = new WebAssembly.Instance(module, { e: { m: memory } }).exports.p;
      this.buffer = memory.buffer;
    } catch (error) {
      this.product = null; // an old browser, or one that forbids it
      this.buffer = new ArrayBuffer(4 * numFloats);
    }
  }

  take(numFloats) {
    const taken = new Float32Array(this.buffer, this.used, numFloats);
    this.used += 4 * numFloats;
    return taken;
  }
}

class Matrix {
  constructor(memory, values, rows, columns) {
    this.memory = memory;
    this.rows = rows;
    this.width = padded(columns);
    this.w = memory.take(rows * this.width);
    for (let i = 0; i < rows; i++) this.w.set(values.subarray(i * columns, (i + 1) * columns), i * this.width);
    this.x = memory.take(this.width);
    this.out = memory.take(padded(rows));
  }

  static floats(rows, columns) {
    return (rows + 2) * padded(columns) + padded(rows) + 16; // enough also if it is cut into two
  }

  /** Returns start + matrix x; valid until the next call. */
  times(x, start) {
    const { w, out, rows, width } = this;
    this.x.set(x);
    out.set(start);
    if (this.memory.product) {
      this.memory.product(out.byteOffset, w.byteOffset, this.x.byteOffset, rows, 4 * width);
      return out;
    }
    for (let i = 0; i < rows; i++) {
      let a = 0, b = 0, c = 0, d = 0;
      for (let j = 0, k = i * width; j < width; j += 4, k += 4) {
        a += w[k] * this.x[j];
        b += w[k + 1] * this.x[j + 1];
        c += w[k + 2] * this.x[j + 2];
        d += w[k + 3] * this.x[j + 3];
      }
      out[i] += a + b + c + d;
    }
    return out;
  }
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const ACTIVATIONS = {
  tanh: Math.tanh,
  sigmoid,
  relu: (x) => Math.max(x, 0),
  linear: (x) => x,
  hard_sigmoid: (x) => Math.min(Math.max(x / 6 + 0.5, 0), 1),
};

// One step of each kind of cell. `gates`: the projected inputs with their bias; `layer.state`: changed in place.
const STEPS = {
  rnn(layer, inputs) {
    const [h] = layer.state;
    const sums = layer.recurrent.times(h, inputs);
    for (let i = 0; i < h.length; i++) h[i] = layer.activation(sums[i]);
  },
  gru(layer, inputs) {
    const [h] = layer.state, H = h.length, { gate, activation, resetHidden } = layer;
    const zr = layer.recurrent.times(h, inputs.subarray(0, 2 * H));
    let product;
    if (layer.resetAfter) {
      product = layer.candidate.times(h, layer.stateBias.subarray(2 * H));
    } else {
      for (let i = 0; i < H; i++) resetHidden[i] = gate(zr[H + i]) * h[i];
      product = layer.candidate.times(resetHidden, inputs.subarray(2 * H, 3 * H));
    }
    for (let i = 0; i < H; i++) {
      const z = gate(zr[i]);
      const c = activation(layer.resetAfter ? inputs[2 * H + i] + gate(zr[H + i]) * product[i] : product[i]);
      h[i] = z * h[i] + (1 - z) * c;
    }
  },
  lstm(layer, inputs) {
    const [h, c] = layer.state, H = h.length, { gate, activation } = layer;
    const ifgo = layer.recurrent.times(h, inputs);
    for (let i = 0; i < H; i++) {
      c[i] = gate(ifgo[H + i]) * c[i] + gate(ifgo[i]) * activation(ifgo[2 * H + i]);
      h[i] = gate(ifgo[3 * H + i]) * activation(c[i]);
    }
  },
};
const NUM_GATES = { rnn: 1, gru: 3, lstm: 4 };

/** Returns the arrays of the page by their names: {shape, values}. */
function unpack(layout, base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  let position = 0;
  const next = (Type, length) => {
    const begin = position;
    position += length * Type.BYTES_PER_ELEMENT;
    return new Type(bytes.buffer.slice(begin, position));
  };
  const arrays = {};
  for (const { name, shape, bits } of layout) {
    const size = shape.reduce((product, length) => product * length, 1);
    let values;
    if (bits === 8) {
      const scales = next(Float32Array, shape[0]), width = size / shape[0];
      values = Float32Array.from(next(Int8Array, size), (level, i) => level * scales[Math.floor(i / width)]);
    } else {
      values = bits === 16 ? Float32Array.from(next(Uint16Array, size), half) : next(Float32Array, size);
    }
    arrays[name] = { shape, values };
  }
  return arrays;
}

/** Returns the number whose bits, as a float16, are given. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24);
}

class Model {
  /** `description` and `arrays` as tfrnn/formats/page_model.py writes them. */
  constructor(description, arrays) {
    const lookedUp = description.embedding_dim ? (description.tied ? "" : "embedding") : "0.kernel";
    const matrices = Object.keys(arrays).filter((name) => arrays[name].shape.length === 2 && name !== lookedUp);
    const memory = new Memory(matrices.reduce((sum, name) => sum + Matrix.floats(...arrays[name].shape), 0));
    const values = (name) => arrays[name].values;
    const matrix = (name) => new Matrix(memory, values(name), ...arrays[name].shape);
    this.embedding = description.embedding_dim ? arrays.embedding : null;
    this.isCompiled = Boolean(memory.product);
    this.layers = description.layers.map((cell, number) => {
      const { kind, units } = cell, name = (array) => `${number}.${array}`;
      const layer = {
        step: STEPS[kind],
        units,
        numGates: NUM_GATES[kind],
        activation: ACTIVATIONS[cell.activation],
        gate: ACTIVATIONS[cell.gate_activation],
        resetAfter: cell.reset_after,
        bias: values(name("bias")).slice(),
        stateBias: values(name("state_bias")),
        state: Array.from({ length: kind === "lstm" ? 2 : 1 }, () => new Float32Array(units)),
        resetHidden: new Float32Array(units),
      };
      // Of a GRU, the columns of the candidate are multiplied by themselves.
      const numJoint = kind === "gru" ? 2 * units : layer.numGates * units;
      const u = values(name("recurrent_kernel"));
      layer.recurrent = new Matrix(memory, u.subarray(0, numJoint * units), numJoint, units);
      if (kind === "gru") layer.candidate = new Matrix(memory, u.subarray(numJoint * units), units, units);
      for (let i = 0; i < numJoint; i++) layer.bias[i] += layer.stateBias[i];
      if (number || this.embedding) {
        layer.kernel = matrix(name("kernel"));
      } else {
        layer.rows = values(name("kernel")); // [V, gates * H]: a token is a row of it
        layer.inputs = new Float32Array(layer.bias.length);
      }
      return layer;
    });
    this.head = matrix(description.tied ? "embedding" : "head");
    this.headBias = description.tied ? new Float32Array(this.head.rows) : values("head_bias");
    this.numUnits = this.layers.reduce((sum, { units }) => sum + units, 0);
  }

  /** Reads a token; returns the logits of the next one, Float32Array [V], valid until the next call. */
  step(id) {
    let x = null;
    if (this.embedding) {
      const width = this.embedding.shape[1];
      x = this.embedding.values.subarray(id * width, (id + 1) * width);
    }
    for (const layer of this.layers) {
      let inputs = layer.inputs;
      if (layer.kernel) {
        inputs = layer.kernel.times(x, layer.bias);
      } else {
        for (let i = 0, k = id * inputs.length; i < inputs.length; i++, k++) inputs[i] = layer.rows[k] + layer.bias[i];
      }
      layer.step(layer, inputs.subarray(0, layer.bias.length));
      x = layer.state[0];
    }
    return this.head.times(x, this.headBias).subarray(0, this.head.rows);
  }

  reset() {
    for (const { state } of this.layers) for (const vector of state) vector.fill(0);
  }

  /** Returns a copy of the state; `restore` takes it. */
  save() {
    return this.layers.map(({ state }) => state.map((vector) => vector.slice()));
  }

  restore(saved) {
    this.layers.forEach(({ state }, number) => state.forEach((vector, i) => vector.set(saved[number][i])));
  }

  /** Returns the hidden units of all layers after the last token, in steps of 1/127, Int8Array. */
  units() {
    const units = new Int8Array(this.numUnits);
    let i = 0;
    for (const { state, activation } of this.layers) {
      const bounded = activation === Math.tanh ? (h) => h : Math.tanh;
      for (const h of state[0]) units[i++] = Math.round(127 * bounded(h));
    }
    return units;
  }
}

function mix(z) {
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return z ^ (z >>> 16);
}

/** Returns the random number in [0, 1) of a seed and a position: SplitMix (Steele, Lea and Flood, 2014) of 32 bits. */
function uniform(seed, position) {
  return (mix(mix(seed) + Math.imul(position + 1, 0x9e3779b9)) >>> 0) / 2 ** 32;
}

function softmax(logits) {
  const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const shares = Float64Array.from(logits, (logit) => Math.exp(logit - highest));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / sum);
}

/** Chooses the next token as tfrnn.Sampler does: temperature, then top-k, then top-p; `<unk>`, id 0, never. */
function choose(logits, { temperature, topK, topP }, random) {
  let scores = Float64Array.from(logits);
  scores[0] = -Infinity;
  let greedy = 1;
  for (let i = 2; i < scores.length; i++) if (scores[i] > scores[greedy]) greedy = i;
  if (temperature < 1e-6) return greedy;
  scores = scores.map((score) => score / temperature);
  const keep = (ids) => {
    const kept = new Float64Array(scores.length).fill(-Infinity);
    for (const id of ids) kept[id] = scores[id];
    scores = kept;
  };
  const byLikelihood = () => Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b);
  if (topK && topK < scores.length) keep(byLikelihood().slice(0, topK));
  if (topP < 1) {
    const order = byLikelihood(), shares = softmax(scores);
    let sum = 0, count = 0;
    while (count < order.length && sum < Math.max(topP, 1e-6)) sum += shares[order[count++]];
    keep(order.slice(0, count));
  }
  const shares = softmax(scores);
  let left = random;
  for (let i = 0; i < shares.length; i++) {
    left -= shares[i];
    if (left < 0 && shares[i] > 0) return i;
  }
  return greedy; // rounding errors left a rest
}

const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"; // as str.isspace has it
const SPACES = new RegExp(`[${SPACE}]+`, "u");

// Of tfrnn's text_rules.
const JOINT = "\u2060", LINE_END = "\n", MAX_PIECE_LENGTH = 64;
const CHUNK = new RegExp(`\\n| ?[^${SPACE}]+|(?:(?! [^${SPACE}])(?!\\n)[${SPACE}])+`, "gu");

/** The tokens of a text, and their ids: tfrnn.Vocabulary, and the rules by which a text is cleaned. */
class Vocabulary {
  constructor({ vocabulary, tokens, text_rule }) {
    this.idToToken = vocabulary;
    this.kind = tokens; // char, word, spaced or bpe
    this.words = tokens === "word" || tokens === "spaced";
    this.rule = tokens === "word" && text_rule === "raw" ? "plain" : text_rule;
    this.tokenToId = new Map(vocabulary.map((token, id) => [token, id]));
  }

  get noun() {
    return this.words ? "word" : this.kind === "bpe" ? "token" : "character";
  }

  /** Returns a beginning as tfrnn cleans it: a space at its end stays. */
  clean(text) {
    let cleaned = text;
    if (this.rule === "spaces") cleaned = text.replace(/\r\n|\r|\n/g, " ");
    if (this.rule === "plain") cleaned = text.replace(/\r\n|\r/g, LINE_END);
    if (this.rule === "book" || this.rule === "lines") {
      const lines = text.split(/\r\n|\r|\n/).map((line) => line.replace(/[^A-Za-z]+/g, " ").trim().toLowerCase());
      cleaned = lines.filter(Boolean).join(this.rule === "book" && !this.words ? "" : " ");
      if (cleaned && SPACES.test(text.at(-1))) cleaned += " ";
    }
    return cleaned;
  }

  split(text) {
    if (this.kind === "char") return Array.from(text);
    if (this.kind === "bpe") return (text.match(CHUNK) ?? []).flatMap(splitChunk).flatMap((piece) => this.divide(piece));
    if (this.kind === "spaced") return text.split(SPACES).filter(Boolean);
    const lines = text.replaceAll(JOINT, "").split(/\r\n|\r|\n/);
    return lines.flatMap((line) => [...line.split(SPACES).filter(Boolean).flatMap(splitAtMarks), LINE_END]).slice(0, -1);
  }

  /** Divides a piece into byte-pair tokens: of all pairs, that is joined first which makes the token of the lowest id. */
  divide(piece) {
    const parts = Array.from(piece);
    for (;;) {
      let best = Infinity, place = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const id = this.tokenToId.get(parts[i] + parts[i + 1]) ?? Infinity;
        if (id < best) [best, place] = [id, i];
      }
      if (place < 0) return parts;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
  }

  /** Returns the tokens of a text in the form in which the model knows them: accents composed or not, marks joined or not. */
  asWritten(text) {
    if (this.words) return this.split(text).map((token) => this.knownForm(token));
    const whole = [text, text.normalize("NFC"), text.normalize("NFD")].find((form) => this.knows(Array.from(form)));
    return this.split(whole ?? (text.match(/\P{M}\p{M}*|\p{M}+/gu) ?? []).map((part) => this.knownForm(part)).join(""));
  }

  /** Returns whether the space at the end of a beginning belongs to the token that continues it. */
  bringsSpace(text) {
    return this.kind === "bpe" && text.length > 1 && text.endsWith(" ") && this.tokenToId.has(" ");
  }

  knows(tokens) {
    return tokens.every((token) => this.tokenToId.has(token));
  }

  knownForm(part) {
    const forms = [part, part.normalize("NFC"), part.normalize("NFD")], core = this.shown(part);
    if (this.kind === "word" && core && Array.from(core).every(isMark)) {
      const variants = [JOINT + core, core, core + JOINT, JOINT + core + JOINT];
      const rank = (form) => this.tokenToId.get(form) ?? Infinity;
      forms.push(...variants.filter((form) => this.tokenToId.has(form)).sort((a, b) => rank(a) - rank(b)));
    }
    return forms.find((form) => this.knows(this.words ? [form] : Array.from(form))) ?? part;
  }

  /** Returns what stands between two tokens in a text: a space, or nothing. */
  gap(before, after) {
    const touches = before.endsWith(JOINT) || before === LINE_END || after.startsWith(JOINT) || after === LINE_END;
    return !this.words || (this.kind === "word" && touches) ? "" : " ";
  }

  join(tokens) {
    return tokens.map((token, i) => (i ? this.gap(tokens[i - 1], token) : "") + this.shown(token)).join("");
  }

  /** Returns a token as a person reads it. */
  shown(token) {
    return this.kind === "word" ? token.replaceAll(JOINT, "") : token;
  }

  idOf(token) {
    return this.tokenToId.get(token) ?? 0;
  }
}

/** Returns whether a character is punctuation or a symbol. */
function isMark(character) {
  return character !== "_" && /[\p{P}\p{S}]/u.test(character);
}

/** Returns the words and marks of a text without white space: a mark has a joint on each side where it touches a word. */
function splitAtMarks(text) {
  const characters = Array.from(text), marks = characters.map(isMark), parts = [];
  for (let i = 1; i + 1 < characters.length; i++) {
    if ("'\u2019".includes(characters[i]) && !marks[i - 1] && !marks[i + 1]) marks[i] = false; // don't is one word
  }
  for (let begin = 0, end = 1; end <= characters.length; end++) {
    const mayContinue = !marks[begin] || (characters[begin] === characters[end] && end - begin < 3);
    if (end < characters.length && marks[begin] === marks[end] && mayContinue) continue;
    const before = marks[begin] && begin ? JOINT : "";
    const after = marks[begin] && end < characters.length && !marks[end] ? JOINT : "";
    parts.push(before + characters.slice(begin, end).join("") + after);
    begin = end;
  }
  return parts;
}

/** Returns the pieces of a word or white space that no byte-pair token goes beyond: see split_chunk in text_rules. */
function splitChunk(chunk) {
  const isWhite = Array.from(chunk).every((character) => SPACES.test(character));
  const space = !isWhite && chunk.startsWith(" ") ? " " : "", pieces = [];
  let run = [];
  for (const character of Array.from(chunk.slice(space.length))) {
    if (run.length === MAX_PIECE_LENGTH || (run.length && isMark(run[0]) !== isMark(character))) {
      pieces.push(run.join(""));
      run = [];
    }
    run.push(character);
  }
  pieces.push(run.join(""));
  return [space + pieces[0], ...pieces.slice(1)];
}

const SAVE_EVERY = 32; // tokens between two saved states
const MAX_MEASURED = 2e6; // values of units that correlations are measured on, so that the page does not stand still
const NUM_LIKELIEST = 5;

/** A text that the model has read, token by token, with its surprise at each. */
class Reading {
  constructor(model, vocabulary) {
    this.model = model;
    this.vocabulary = vocabulary;
    this.tokens = []; // {text, id, bits, likeliest: [[id, share], ...], units, state: before it, at some tokens}
    this.logits = null; // of the next token
    this.position = -1; // the number of tokens that the model has read, or -1 if it has read others
  }

  /** Reads a token, `text` as it is shown. */
  add(id, text) {
    this.catchUp();
    const token = { text, id, bits: null, likeliest: [], units: null, state: null };
    if (this.logits) {
      const shares = softmax(this.logits);
      token.bits = -Math.log2(shares[id]);
      token.likeliest = likeliest(shares).map((other) => [other, shares[other]]);
    }
    if (this.tokens.length % SAVE_EVERY === 0) token.state = this.model.save();
    this.logits = this.model.step(id);
    token.units = this.model.units();
    this.tokens.push(token);
    this.position = this.tokens.length;
    return token;
  }

  /** Chooses the next token, which may have to begin with a space, and reads it. */
  write(sampling, beginsWithSpace = false) {
    this.catchUp();
    const mayCome = (id) => !beginsWithSpace || this.vocabulary.idToToken[id].startsWith(" ");
    const logits = this.logits.map((logit, id) => (mayCome(id) ? logit : -Infinity));
    const id = choose(logits, sampling, uniform(sampling.seed, this.tokens.length));
    return this.add(id, this.vocabulary.idToToken[id]);
  }

  /** Leaves only the first `length` tokens; returns the others, which `restore` takes. */
  cut(length) {
    if (length < this.tokens.length) this.position = -1;
    return this.tokens.splice(length);
  }

  restore(length, tokens) {
    this.cut(length);
    this.tokens.push(...tokens);
    this.position = -1;
  }

  /** Brings the model to the end of the text, from the last state that was saved before it. */
  catchUp() {
    const { tokens, model } = this;
    if (this.position === tokens.length && (this.logits || !tokens.length)) return;
    let begin = tokens.length - 1;
    while (begin > 0 && !tokens[begin].state) begin--;
    this.logits = null;
    model.reset();
    if (tokens.length) model.restore(tokens[begin].state);
    for (let i = Math.max(begin, 0); i < tokens.length; i++) this.logits = model.step(tokens[i].id);
    this.position = tokens.length;
  }
}

/** Returns the ids of the largest shares, the largest first. */
function likeliest(shares) {
  const best = [];
  for (let id = 0; id < shares.length; id++) {
    if (best.length === NUM_LIKELIEST && shares[id] <= shares[best[NUM_LIKELIEST - 1]]) continue;
    let i = best.length;
    while (i > 0 && shares[best[i - 1]] < shares[id]) i--;
    best.splice(i, 0, id);
    best.length = Math.min(best.length, NUM_LIKELIEST);
  }
  return best;
}

/** Returns, for each property of the text, the unit that follows it most closely: {unit, name, r}, the closest first.
 *
 * Measured is the correlation r of the unit's value after a token with the property there; in a long text, at tokens
 * that are spread evenly over it.
 */
function tellingUnits(reading) {
  const { tokens, vocabulary } = reading, found = [];
  if (tokens.length < 50) return found;
  const numUnits = tokens[0].units.length;
  const numTokens = Math.min(tokens.length, Math.max(Math.floor(MAX_MEASURED / numUnits), 50));
  const measured = Array.from({ length: numTokens }, (_, i) => Math.floor((i * tokens.length) / numTokens));
  const values = measured.map((position) => tokens[position].units);
  const means = new Float64Array(numUnits), squares = new Float64Array(numUnits);
  for (const units of values) {
    for (let u = 0; u < numUnits; u++) {
      means[u] += units[u];
      squares[u] += units[u] * units[u];
    }
  }
  for (const [name, all] of properties(tokens, vocabulary)) {
    const property = measured.map((position) => all[position]);
    const mean = property.reduce((a, b) => a + b, 0) / numTokens;
    const variance = property.reduce((sum, p) => sum + (p - mean) ** 2, 0);
    if (!variance) continue;
    const products = new Float64Array(numUnits);
    values.forEach((units, i) => {
      const difference = property[i] - mean;
      for (let u = 0; u < numUnits; u++) products[u] += difference * units[u];
    });
    let unit = -1, r = 0;
    products.forEach((product, u) => {
      const spread = squares[u] - means[u] ** 2 / numTokens;
      const correlation = spread > 1e-6 ? product / Math.sqrt(variance * spread) : 0;
      if (Math.abs(correlation) > Math.abs(r)) [unit, r] = [u, correlation];
    });
    if (Math.abs(r) >= 0.4) found.push({ unit, name, r });
  }
  return found.sort((one, other) => Math.abs(other.r) - Math.abs(one.r));
}

/** Returns what a reader would notice of a text: [name, a number for each token], for tellingUnits. */
function properties(tokens, vocabulary) {
  const texts = tokens.map(({ text }) => text);
  const since = (pattern) => {
    let count = 0;
    return texts.map((text) => (count = pattern.test(text) ? 0 : count + 1));
  };
  const is = (pattern) => texts.map((text) => Number(pattern.test(text)));
  const within = (opening, closing) => {
    let inside = 0;
    return texts.map((text) => {
      if (inside ? closing.test(text) : opening.test(text)) inside = 1 - inside;
      return inside;
    });
  };
  const next = (property) => [...property.slice(1), 0];
  const decomposed = texts.map((text) => Number(/^[aeiouy]/i.test(text.normalize("NFD"))));
  const common = [
    ["place in the text", texts.map((_, i) => i)],
    ["place in the line", since(/\n/)],
    ["place in the sentence", since(/[.!?。！？]/u)],
    ["inside quotation marks", within(/["“„«「]/u, /["”“»」]/u)],
    ["inside brackets", within(/[([（]/u, /[)\]）]/u)],
    ["a capital letter", is(/^\p{Lu}/u)],
    ["a digit", is(/\d/)],
    ["how surprising", tokens.map(({ bits }) => bits ?? 0)],
  ].filter(([name, property]) => property.some((value) => value === 0) || name === "how surprising");
  if (vocabulary.words) return [...common, ["length of the word", texts.map((text) => text.length)]];
  const space = is(/\s/);
  return [
    ...common,
    ["place in the word", since(/[\s\p{P}]/u)],
    ["a space", space],
    ["a space comes next", next(space)],
    ["punctuation", is(/\p{P}/u)],
    ["a vowel", decomposed],
  ];
}
