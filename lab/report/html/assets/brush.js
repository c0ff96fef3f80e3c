/* Ranges of the parallel coordinates: dragged along an axis or typed beside the chart, which both show. */
const ranges = new Map();  // what is chosen, by the column's id: {names}, or {numbers: [[low, high], ...]} with null for an open end
const typing = new Map();  // timers by the column's id, of fields that somebody types into

function startBrush() {
  explored.parallel = new Chart(byId("parallel"), parallelOption, (drawn) => {
    drawn.on("axisareaselected", readBrush);
    drawn.getZr().on("mousedown", noteDrag);
    showRanges();
  });
  byId("unbrush").addEventListener("click", forgetRanges);
  // All charts are drawn again for another theme, and a chart that is drawn again forgets its brush.
  Lab.on("theme colour", redrawParallel);
}

const axisModel = (dimension) => explored.parallel.drawn.getModel().getComponent("parallelAxis", dimension);
Lab.brushAxis = (dimension, intervals) => {
  explored.parallel.open();
  explored.parallel.drawn.dispatchAction({ type: "axisAreaSelect", parallelAxisId: axisModel(dimension).id, intervals });
};

/* A range as it is meant, whatever the axis becomes: names, or numbers of which an end may be open. */
function meant(column, kind, intervals) {
  if (kind.type === "category") return { names: kind.data.filter((_, place) => intervals.some(([low, high]) => low <= place && place <= high)) };
  const [first, last] = endsOf(column);
  return { numbers: intervals.map(([low, high]) => [low > first ? low : null, high < last ? high : null]) };
}
/* The intervals of a range on the axis as it is now; null if the axis is of another kind. */
function intervalsOf(column, kind, range) {
  if (kind.type === "category") return range.names?.map((name) => kind.data.indexOf(name)).filter((place) => place >= 0).map((place) => [place - 0.4, place + 0.4]) ?? null;
  const [first, last] = endsOf(column);
  return range.numbers?.map(([low, high]) => [low ?? Math.min(first, high ?? first), high ?? Math.max(last, low ?? last)]) ?? null;
}

/* Keeps what the axes say, and the runs that lie in it. */
function readBrush() {
  const series = explored.parallel.drawn.getModel().getSeriesByIndex(0);
  if (!series?.coordinateSystem) return;
  explored.axes.forEach((column, dimension) => {
    const intervals = axisModel(dimension).activeIntervals;
    intervals.length ? ranges.set(column.id, meant(column, explored.kinds[dimension], intervals)) : ranges.delete(column.id);
  });
  const isBrushed = series.coordinateSystem.hasAxisBrushed();
  const active = isBrushed ? series.getRawIndicesByActiveState("active").map((place) => explored.rows[place]) : null;
  Lab.brushed = active ? new Set(active) : null;
  showRanges();
  Lab.changeFilter();
}

/* New data waits until the mouse lets go: drawing the axes again would end its drag. */
let drag = null;
function noteDrag() {
  drag ??= new Promise((resolve) => addEventListener("pointerup", () => { drag = null; setTimeout(resolve); }, { once: true, capture: true }));
}
Lab.dragEnded = async () => { while (drag) await drag; };

/* Ranges that are still being typed are forgotten too, and the fields are empty whichever has the focus. */
function forgetRanges() {
  typing.forEach(clearTimeout);
  typing.clear();
  for (const field of byId("ranges").querySelectorAll("input, select")) { field.value = ""; field.removeAttribute("aria-invalid"); }
  ranges.clear();
  Lab.brushed = null;
  Lab.changeFilter();
  redrawParallel();
}

/* Draws the chart again with the ranges that were chosen; those of an axis that is gone are gone too. */
function redrawParallel() {
  if (!explored.parallel.drawn) return;
  const kept = new Map(ranges);
  explored.parallel.update(true);
  if (explored.kinds.length) {
    const before = Lab.brushed;
    ranges.clear();
    Lab.brushed = null;
    explored.axes.forEach((column, dimension) => {
      const intervals = kept.has(column.id) ? intervalsOf(column, explored.kinds[dimension], kept.get(column.id)) : null;
      if (intervals?.length) Lab.brushAxis(dimension, intervals);
    });
    if (before && !Lab.brushed) Lab.changeFilter();
  }
  showRanges();
}

/* One group of fields for each axis; they are made again only if the axes are others, so that a field keeps the focus. */
function showRanges() {
  const host = byId("ranges");
  const axes = explored.kinds.length ? explored.axes : [];
  const mark = JSON.stringify(axes.map((column, dimension) => [column.id, explored.kinds[dimension].type, explored.kinds[dimension].data]));
  host.hidden = !axes.length;
  if (host.dataset.mark !== mark) {
    host.dataset.mark = mark;
    host.replaceChildren(make("legend", {}, "Ranges"), ...axes.map(rangeFields));
  }
  axes.forEach((column, dimension) => fillRange(host.children[dimension + 1], column, explored.kinds[dimension]));
}

function rangeFields(column, dimension) {
  const name = make("code", { title: column.title }, shortKey(column.title));
  const kind = explored.kinds[dimension];
  if (kind.type === "category") {
    const names = kind.data.map((text, place) => make("option", { value: place }, text));
    const choose = (event) => setRange(dimension, event.target.value === "" ? null : [Number(event.target.value) - 0.4, Number(event.target.value) + 0.4]);
    return make("label", { class: "range" }, name, make("select", { onchange: choose }, make("option", { value: "" }, "all"), ...names));
  }
  const type = (event) => {
    clearTimeout(typing.get(column.id));
    const group = event.target.closest(".range");
    typing.set(column.id, setTimeout(() => {
      const now = explored.axes.findIndex((one) => one.id === column.id);
      if (now < 0) return;
      const interval = typedRange(group, explored.axes[now]);
      const isWrong = interval != null && interval[0] > interval[1];
      for (const field of group.querySelectorAll("input")) field.setAttribute("aria-invalid", String(isWrong));
      setRange(now, isWrong ? null : interval);
    }, 200));
  };
  const field = (end) => make("input", { type: "number", step: "any", "aria-label": `${column.title}, ${end}`, placeholder: end, oninput: type });
  return make("span", { class: "range", role: "group", "aria-label": column.title }, name, field("least"), "to", field("most"));
}

function endsOf(column) {
  const values = explored.all.map((index) => column.values[index]).filter((value) => value != null);
  return [Math.min(...values), Math.max(...values)];
}
/* The interval of two fields; an empty one is the end of the axis. */
function typedRange(group, column) {
  const [least, most] = [...group.querySelectorAll("input")].map((field) => (field.value === "" ? null : field.value === field.dataset.shown ? Number(field.dataset.exact) : Number(field.value)));
  const [first, last] = endsOf(column);
  return least == null && most == null ? null : [least ?? first, most ?? last];
}

function setRange(dimension, interval) {
  Lab.brushAxis(dimension, interval ? [interval] : []);
}

/* Shows a range that the mouse has chosen; a field that somebody types into is left alone. */
function fillRange(group, column, kind) {
  const range = ranges.get(column.id), found = range && intervalsOf(column, kind, range);
  const fields = [...group.querySelectorAll("input, select")];
  if (fields.includes(document.activeElement)) return;
  if (kind.type === "category") {
    const places = (found ?? []).flatMap(([low, high]) => kind.data.map((_, place) => place).filter((place) => low <= place && place <= high));
    fields[0].value = places.length === 1 ? String(places[0]) : "";
    return;
  }
  const [first, last] = endsOf(column);
  const low = found ? Math.min(...found.map((interval) => interval[0])) : first, high = found ? Math.max(...found.map((interval) => interval[1])) : last;
  [low > first ? low : null, high < last ? high : null].forEach((end, place) => {
    const text = end == null ? "" : String(Number(end.toPrecision(4)));
    Object.assign(fields[place].dataset, { shown: text, exact: String(end) });  // what is read while nobody has typed there
    fields[place].value = text;
  });
}
