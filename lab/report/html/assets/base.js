"use strict";
/* The state of the page: its data, which runs are shown, their colours. The other scripts listen to its events. */
const Lab = {
  data: JSON.parse(document.getElementById("data").textContent),
  words: "", brushed: null, pinned: new Set(), hover: null, colour: "", group: "",
  listeners: {},
};
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f"];
const RAMP = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
const STATES = { finished: "--good", running: "--busy", failed: "--bad", diverged: "--bad", refused: "--bad", poison: "--bad", interrupted: "--warn" };
const byId = (id) => document.getElementById(id);

Lab.on = (names, listener) => { for (const name of names.split(" ")) (Lab.listeners[name] ??= []).push(listener); };
Lab.emit = (name) => { for (const listener of Lab.listeners[name] ?? []) listener(); };

/* Makes an element; its text is always set as text, never as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name === "style") Object.assign(element.style, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

const decoded = new Map();
function numbers(index) {
  if (!decoded.has(index)) {
    const text = atob(Lab.data.pool[index]);
    const bytes = new Uint8Array(text.length);
    for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
    decoded.set(index, new Float32Array(bytes.buffer));
  }
  return decoded.get(index);
}

function shortNumber(value) {
  if (value == null || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/* Values of a parameter must be told apart: whole numbers have all digits, others too where the short ones are equal. */
function exactNumber(value) {
  return Number.isSafeInteger(value) || typeof value !== "number" ? (value == null ? "–" : String(value)) : shortNumber(value);
}
function telling(values) {
  const distinct = [...new Set(values.filter((value) => typeof value === "number"))];
  return new Set(distinct.map(exactNumber)).size === distinct.length ? exactNumber : (value) => (value == null ? "–" : String(value));
}

/* Makes parts of an element again, and gives the focus to what has taken the place of what had it. */
function keepFocus(host, makeAgain) {
  const key = host.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  makeAgain();
  if (key !== undefined) host.querySelector(`[data-focus="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

function shortTime(seconds) {
  if (seconds == null) return "–";
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  const whole = Math.round(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const two = (number) => String(number).padStart(2, "0");
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/* The columns of the table, of the scatter and of the parallel coordinates. */
function findColumns() {
  const { runs, keys } = Lab.data;
  const found = [];
  const add = (id, title, kind, get, show) => {
    const values = runs.map(get);
    const there = values.filter((value) => value != null && value !== "");
    const numeric = there.length > 0 && there.every((value) => typeof value === "number");
    found.push({ id, title, kind, values, numeric, show: show ?? (kind === "parameter" ? telling(values) : shortNumber), any: there.length > 0 });
  };
  if (runs.some((run) => run.number != null)) add("job", "job", "meta", (run) => run.number, exactNumber);
  if (runs.some((run) => run.source)) add("from", "from", "meta", (run) => run.source);
  for (const key of keys) add(key, key, "parameter", (run) => run.values[key]);
  add("run", "run", "meta", (run) => run.name);
  add("state", "state", "meta", (run) => run.state);
  const metrics = new Set();
  for (const run of runs) for (const name of Object.keys(run.result)) if (!name.includes("per_class")) metrics.add(name);
  const rank = (name) => (name === Lab.data.monitor ? 0 : name.startsWith("test/") ? 1 : 2);
  for (const name of [...metrics].sort((a, b) => rank(a) - rank(b))) add(name, name, "metric", (run) => run.result[name]);
  add("steps", "steps", "meta", (run) => run.steps);
  add("time", "time", "meta", (run) => run.seconds, shortTime);
  add("attempts", "attempts", "meta", (run) => run.attempts);
  return found.filter((column) => column.any);
}
Lab.column = (id) => Lab.columns.find((column) => column.id === id);

/* What a run is known by while the page goes on: several jobs may have no folder. */
Lab.idOf = (run) => [run.path, run.name, run.source, run.number].join("\n");

/* Runs that pass the filter: every word occurs in a cell, every comparison holds. */
const COMPARISON = /^(.+?)(<=|>=|!=|=|<|>)(.+)$/;
function passes(index, tests) {
  return tests.every((test) => test(index));
}
function testsOf(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const parts = COMPARISON.exec(word);
    const column = parts && (Lab.columns.find((one) => one.id.toLowerCase() === parts[1]) ??
      Lab.columns.find((one) => one.id.toLowerCase().split(/[./]/).pop() === parts[1]));
    if (column) return (index) => compare(column.values[index], parts[2], parts[3]);
    return (index) => Lab.texts[index].includes(word);
  });
}
function compare(value, sign, text) {
  if (value == null) return sign === "!=";
  const wanted = Number(text);
  if (typeof value === "number" && !Number.isNaN(wanted)) {
    return { "<": value < wanted, ">": value > wanted, "<=": value <= wanted, ">=": value >= wanted, "=": value === wanted, "!=": value !== wanted }[sign];
  }
  const same = String(value).toLowerCase() === text;
  return sign === "=" ? same : sign === "!=" ? !same : false;
}
Lab.byWords = () => {
  const tests = testsOf(Lab.words);
  return Lab.data.runs.map((_, index) => index).filter((index) => passes(index, tests));
};
Lab.shown = () => (Lab.shownRuns ??= Lab.byWords().filter((index) => !Lab.brushed || Lab.brushed.has(index)));
Lab.changeFilter = () => { Lab.shownRuns = null; Lab.emit("filter"); };
Lab.setHover = (index) => { if (Lab.hover !== index) { Lab.hover = index; Lab.emit("hover"); } };
Lab.togglePin = (index) => { Lab.pinned.has(index) ? Lab.pinned.delete(index) : Lab.pinned.add(index); Lab.emit("hover"); };

/* Colours: few runs or values by a palette that the colour-blind can tell apart, many by a ramp. */
Lab.isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
Lab.css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function ramp(share) {
  const dark = Lab.isDark();
  const place = (dark ? 0.22 + 0.78 * share : 0.88 * (1 - share)) * (RAMP.length - 1);
  const low = Math.min(RAMP.length - 2, Math.floor(place)), part = place - low;
  const mixed = RAMP[low].map((value, channel) => Math.round(value + part * (RAMP[low + 1][channel] - value)));
  return `rgb(${mixed.join(",")})`;
}
Lab.findColours = () => {
  const { runs, lower } = Lab.data;
  const column = Lab.column(Lab.colour);
  if (!column) {
    Lab.colours = runs.map((_, index) => PALETTE[index % PALETTE.length]);
    return;
  }
  const values = column.values.map((value) => value ?? null);
  const distinct = [...new Set(values.filter((value) => value != null))];
  if (!column.numeric || (column.kind === "parameter" && distinct.length <= PALETTE.length)) {
    distinct.sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))));
    Lab.colours = values.map((value) => (value == null ? Lab.css("--muted") : PALETTE[distinct.indexOf(value) % PALETTE.length]));
    if (column.numeric) Lab.colours = values.map((value) => (value == null ? Lab.css("--muted") : ramp(distinct.length < 2 ? 1 : distinct.indexOf(value) / (distinct.length - 1))));
    return;
  }
  const order = [...new Set(distinct)].sort((a, b) => (lower.includes(column.id) ? b - a : a - b));
  const places = new Map(order.map((value, place) => [value, order.length < 2 ? 1 : place / (order.length - 1)]));
  Lab.colours = values.map((value) => (value == null ? Lab.css("--muted") : ramp(places.get(value))));
};

/* What the colours mean, in words: the ends of the ramp, or the value of each colour. */
Lab.legend = () => {
  const column = Lab.column(Lab.colour), groups = Lab.groups?.();
  const entry = (colour, text) => make("span", { class: "entry" }, make("span", { class: "patch", style: { background: colour } }), ` ${text}`);
  if (groups) return groups.length <= PALETTE.length ? groups.map((group, order) => entry(Lab.groupColour(groups, order), group.title)) : [];
  if (!column) return [];
  const shades = new Map();
  column.values.forEach((value, index) => { if (value != null) shades.set(value, Lab.colours[index]); });
  if (!shades.size) return [];
  const order = [...shades.keys()].sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))));
  if (order.length <= PALETTE.length) return order.map((value) => entry(shades.get(value), column.show(value)));
  const strip = make("span", { class: "strip", "aria-hidden": "true", style: { background: `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map((share) => shades.get(order[Math.round(share * (order.length - 1))])).join(", ")})` } });
  return [`${column.show(order[0])} `, strip, ` ${column.show(order[order.length - 1])}`];
};

/* Reads the data again after it was replaced. */
Lab.prepare = () => {
  decoded.clear();
  Lab.shownRuns = null;
  Lab.columns = findColumns();
  Lab.texts = Lab.data.runs.map((run, index) =>
    [run.label, run.problem, ...Lab.columns.map((column) => String(column.values[index] ?? ""))].join(" ").toLowerCase());
  Lab.findColours();
};

/* Fills a select; keeps the choice if it still exists. */
function fill(select, options, chosen) {
  const value = options.some((option) => option.id === select.value) && select.options.length ? select.value : chosen;
  const groups = new Map();
  for (const option of options) {
    if (!groups.has(option.group ?? "")) groups.set(option.group ?? "", []);
    groups.get(option.group ?? "").push(make("option", { value: option.id }, option.title));
  }
  select.replaceChildren(...[...groups].flatMap(([name, items]) => (name ? [make("optgroup", { label: name }, ...items)] : items)));
  select.value = value;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

/* The tooltip that all charts share. */
Lab.tip = (event, title, lines) => {
  const tip = byId("tip");
  if (!event) { tip.hidden = true; return; }
  tip.replaceChildren(make("strong", {}, title), ...lines.map((line) => make("span", {}, line, make("br"))));
  tip.hidden = false;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8);
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
};
Lab.linesOf = (index) => Lab.data.keys.filter((key) => Lab.data.runs[index].values[key] != null).slice(0, 12)
  .map((key) => `${key} = ${Lab.column(key).show(Lab.data.runs[index].values[key])}`);
