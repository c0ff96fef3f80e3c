/* Learning curves: a panel for each metric, a line for each run, or a band for each group of runs. */
const MOST_LINES = 300;
const panels = [];
const curveSettings = { x: "step", smoothing: 0, logX: false, logY: false };

function xOf(run, steps) {
  if (curveSettings.x === "step") return steps;
  if (curveSettings.x === "samples") return run.batch ? steps.map((step) => step * run.batch) : null;
  if (!run.clock) return null;
  const [at, seconds] = run.clock.map(numbers);
  let place = 0;
  return steps.map((step) => {
    while (place < at.length - 2 && at[place + 1] < step) place++;
    const width = at[place + 1] - at[place];
    const share = width > 0 ? (step - at[place]) / width : 0;
    return seconds[place] + share * (seconds[place + 1] - seconds[place]);
  });
}

/* An exponential moving average without the pull towards its start, as TensorBoard has it. */
function smooth(values, weight) {
  if (!weight) return values;
  let last = 0, count = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    last = last * weight + (1 - weight) * value;
    count += 1;
    return last / (1 - weight ** count);
  });
}

/* The lines of a metric: run, x, y, and y before smoothing. */
function linesOf(metric) {
  const shown = new Set(Lab.shown());
  const found = [];
  let lacking = 0;
  for (const [index, xAt, yAt] of Lab.data.curves[metric] ?? []) {
    if (!shown.has(index)) continue;
    const x = xOf(Lab.data.runs[index], numbers(xAt));
    if (!x) { lacking++; continue; }
    const raw = numbers(yAt);
    found.push({ index, x, y: smooth(raw, curveSettings.smoothing), raw });
  }
  found.lacking = lacking;
  return found;
}

function points(x, y) {
  const found = [];
  for (let place = 0; place < x.length; place++) {
    const usable = Number.isFinite(y[place]) && (!curveSettings.logY || y[place] > 0) && (!curveSettings.logX || x[place] > 0);
    found.push([x[place], usable ? y[place] : null]);
  }
  return found;
}

class Panel {
  constructor(host, metric, isFixed) {
    this.metric = metric;
    this.lines = [];
    this.lit = null;
    this.element = make("div", { class: "chart", role: "img", "aria-label": `Learning curves of ${metric}` });
    this.last = make("span", { class: "last" });
    const title = isFixed ? make("h3", {}, metric) : make("select", { "aria-label": "Metric of this chart", onchange: () => this.choose(this.select.value) });
    this.select = isFixed ? null : title;
    const close = isFixed ? this.last : make("button", { type: "button", "aria-label": "Remove this chart", onclick: () => this.remove() }, "✕");
    this.box = make("div", { class: "panel" }, make("div", { class: "panel-head" }, title, close), this.element);
    host.append(this.box);
    this.fillMetrics();
    this.chart = new Chart(this.element, () => this.option(), (drawn) => this.listen(drawn));
    panels.push(this);
  }
  fillMetrics() {
    if (!this.select) return;
    const names = Object.keys(Lab.data.curves).map((name) => ({ id: name, title: name, group: name.split("/")[0] }));
    fill(this.select, names, this.metric);
    this.metric = this.select.value;
  }
  choose(metric) {
    this.metric = metric;
    this.element.setAttribute("aria-label", `Learning curves of ${metric}`);
    this.chart.update();
  }
  remove() {
    this.chart.close();
    this.box.remove();
    panels.splice(panels.indexOf(this), 1);
  }
  option() {
    const all = linesOf(this.metric), groups = Lab.group && Lab.groups ? Lab.groups() : null;
    this.lines = groups ? all : all.slice(0, MOST_LINES);  // a group's mean is that of all its runs
    const series = groups ? bandsOf(this.lines, groups) : this.lines.map((line) => this.series(line));
    if (!groups && curveSettings.smoothing && this.lines.length <= 12) {
      series.push(...this.lines.map((line) => ({ ...this.series(line, line.raw), id: `raw${line.index}`, lineStyle: { color: Lab.colours[line.index], width: 1, opacity: 0.25 }, silent: true, z: 1 })));
    }
    const names = { step: "step", time: "seconds of training", samples: "samples" };
    return {
      animation: false,
      grid: { left: 58, right: 16, top: 14, bottom: 44 },
      xAxis: axis(names[curveSettings.x], curveSettings.logX, { splitLine: { show: false } }),
      yAxis: axis("", curveSettings.logY),
      dataZoom: [{ type: "inside", xAxisIndex: 0, zoomOnMouseWheel: "ctrl", moveOnMouseMove: false, preventDefaultMouseMove: false }],
      series,
      graphic: series.length ? [] : [{ type: "text", left: "center", top: "middle", style: { text: "no run has this curve", fill: Lab.css("--muted"), fontSize: 13 } }],
    };
  }
  series(line, values = line.y) {
    const few = this.lines.length <= 8;
    const data = points(line.x, values);
    return {
      id: `run${line.index}`, name: Lab.data.runs[line.index].label, type: "line", data, connectNulls: false,
      showSymbol: data.length <= 1 || (few && data.length <= 30), symbol: "circle", symbolSize: data.length <= 1 ? 7 : 5, itemStyle: { color: Lab.colours[line.index] },
      lineStyle: { color: Lab.colours[line.index], width: few ? 2 : this.lines.length > 40 ? 1 : 1.5, opacity: few ? 1 : 0.8 },
      emphasis: { disabled: false, focus: "series", lineStyle: { width: 3, opacity: 1 } },
      blur: { lineStyle: { opacity: few ? 0.2 : 0.07 }, itemStyle: { opacity: 0.1 } }, z: 2,
    };
  }
  listen(drawn) {
    const zr = drawn.getZr();
    zr.on("mousemove", (event) => this.point(event));
    zr.on("globalout", () => { Lab.setHover(null); });
    zr.on("click", () => { if (Lab.hover != null && Lab.data.kind === "runs") Lab.togglePin(Lab.hover); });
    this.highlight();
  }
  /* Finds the line nearest to the mouse. */
  point(event) {
    const place = [event.offsetX, event.offsetY];
    if (Lab.group || !this.chart.drawn.containPixel("grid", place)) { Lab.setHover(null); Lab.tip(null); return; }
    const [x] = this.chart.drawn.convertFromPixel("grid", place);
    let best = null, least = 28;
    for (const line of this.lines) {
      const at = nearest(line.x, x);
      if (!Number.isFinite(line.y[at])) continue;
      const [left, top] = this.chart.drawn.convertToPixel("grid", [line.x[at], line.y[at]]);
      const distance = Math.hypot((left - place[0]) / 2, top - place[1]);
      if (distance < least) { least = distance; best = [line, at]; }
    }
    if (!best) { Lab.setHover(null); Lab.tip(null); return; }
    const [line, at] = best;
    const run = Lab.data.runs[line.index];
    Lab.setHover(line.index);
    const lines = [`${this.metric} = ${shortNumber(line.y[at])}`, `${curveSettings.x} ${shortNumber(line.x[at])}`];
    Lab.tip(event.event, run.label, Lab.data.kind === "runs" ? [...lines, ...Lab.linesOf(line.index)] : lines);
  }
  highlight() {
    if (!this.chart.drawn || Lab.group || Lab.data.kind !== "runs") return;
    const wanted = Lab.hover != null ? [Lab.hover] : [...Lab.pinned];
    const key = wanted.join();
    if (this.lit === key) return;
    this.lit = key;
    this.chart.drawn.dispatchAction({ type: "downplay" });
    const found = wanted.map((index) => this.lines.findIndex((line) => line.index === index)).filter((place) => place >= 0);
    if (found.length) this.chart.drawn.dispatchAction({ type: "highlight", seriesIndex: found });
  }
}

function nearest(values, wanted) {
  let low = 0, high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] < wanted) low = middle; else high = middle;
  }
  return Math.abs(values[low] - wanted) <= Math.abs(values[high] - wanted) ? low : high;
}

/* Mean and deviation of each group of runs, at points between its curves' ends. */
function bandsOf(lines, groups) {
  const series = [];
  groups.forEach((group, order) => {
    const runs = new Set(group.runs), members = lines.filter((line) => runs.has(line.index) && line.x.length);
    if (!members.length) return;
    const colour = Lab.groupColour(groups, order);
    const from = Math.min(...members.map((line) => line.x[0])), to = Math.max(...members.map((line) => line.x[line.x.length - 1]));
    const places = [...new Set(members.flatMap((line) => [...line.x]))].sort((a, b) => a - b);
    const at = places.length <= 150 ? places : Array.from({ length: 150 }, (_, index) => from + ((to - from) * index) / 149);
    const mean = [], low = [], high = [];
    for (const x of at) {
      const values = members.map((line) => valueAt(line, x)).filter(Number.isFinite);
      if (!values.length) continue;
      const middle = values.reduce((sum, value) => sum + value, 0) / values.length;
      const deviation = values.length > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1)) : 0;
      const floor = curveSettings.logY ? Math.max(middle - deviation, middle / 100) : middle - deviation;
      mean.push([x, middle]); low.push([x, floor]); high.push([x, middle + deviation]);
    }
    const corners = [...high, ...[...low].reverse()];
    // All corners are data, so that the axis spans the band; the first one draws it.
    series.push({ type: "custom", silent: true, z: 1, data: corners, clip: true, renderItem: (params, api) => (params.dataIndex ? null : {
      type: "polygon", shape: { points: corners.map((corner) => api.coord(corner)) }, style: { fill: colour, opacity: 0.15 } }) });
    series.push({ type: "line", name: group.title, data: points(mean.map((point) => point[0]), mean.map((point) => point[1])), showSymbol: mean.length === 1, lineStyle: { color: colour, width: 2 }, itemStyle: { color: colour }, z: 2 });
  });
  return series;
}
function valueAt(line, x) {
  const { x: xs, y } = line;
  if (x < xs[0] || x > xs[xs.length - 1]) return NaN;
  let low = 0, high = xs.length - 1;
  while (high - low > 1) { const middle = (low + high) >> 1; if (xs[middle] <= x) low = middle; else high = middle; }
  if (xs[high] <= x) return y[high];
  const width = xs[high] - xs[low];
  return width > 0 ? y[low] + ((x - xs[low]) / width) * (y[high] - y[low]) : y[low];
}

function noteCurves() {
  const parts = [];
  const { thinned } = Lab.data;
  if (thinned) parts.push(`Curves of up to ${thinned[0]} points are drawn by ${thinned[1]}: the lowest and highest of each part are kept.`);
  const shown = Lab.shown().length;
  if (shown > MOST_LINES && !Lab.group) parts.push(`The ${MOST_LINES} first of ${shown} runs are drawn: filter for others.`);
  if (curveSettings.x === "time") parts.push("Time is estimated from train/samples_per_s; validation and tests are not in it.");
  const lacking = panels.length ? linesOf(panels[0].metric).lacking : 0;
  if (lacking) parts.push(`${lacking} runs have no ${curveSettings.x}, so no curve here.`);
  if (!Object.keys(Lab.data.curves).length) parts.push("No run has logged a metric yet.");
  byId("curve-note").textContent = parts.join(" ");
  byId("legend").replaceChildren(...(Lab.data.kind === "runs" ? Lab.legend() : []));
}

Lab.startCurves = () => {
  const redraw = () => { for (const panel of panels) panel.lit = null, panel.chart.update(), panel.highlight(); noteCurves(); };
  byId("x-axis").addEventListener("change", (event) => { curveSettings.x = event.target.value; redraw(); });
  byId("smoothing").addEventListener("input", (event) => {
    curveSettings.smoothing = Number(event.target.value);
    byId("smoothing-value").textContent = event.target.value;
    redraw();
  });
  byId("log-x").addEventListener("change", (event) => { curveSettings.logX = event.target.checked; redraw(); });
  byId("log-y").addEventListener("change", (event) => { curveSettings.logY = event.target.checked; redraw(); });
  Lab.on("colour theme", noteCurves);
  Lab.on("filter group data", () => { for (const panel of panels) panel.fillMetrics(); redraw(); });
  Lab.on("hover", () => { for (const panel of panels) panel.highlight(); });
  noteCurves();
};
