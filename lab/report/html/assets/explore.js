/* Parameters: parallel coordinates with brushing, importance, slices, scatter; and the timeline of attempts. */
const MOST_AXES = 10;
const explored = { parallel: null, axes: [], kinds: [], rows: [] };
const shortKey = (key) => (key.length > 22 ? `…${key.slice(-21)}` : key);
const metricColumn = () => Lab.column(byId("metric").value);

function parallelOption() {
  const metric = metricColumn();
  const candidates = Lab.columns.filter((column) => column.kind === "parameter" && new Set(column.values).size > 1);
  const axes = [...candidates.slice(0, MOST_AXES - 1), ...(metric ? [metric] : [])];
  const hasMetric = (index) => !metric || metric.values[index] != null;
  const rows = Lab.byWords().filter(hasMetric), all = Lab.data.runs.map((_, index) => index).filter(hasMetric);
  explored.axes = axes;
  explored.rows = rows;
  explored.all = all;
  explored.kinds = [];
  const isEmpty = axes.length < 2 || !rows.length;
  byId("parallel").hidden = isEmpty;
  byId("parallel-empty").hidden = !isEmpty;
  byId("parallel-empty").textContent = rows.length ? "The runs differ in no parameter." : "No run has a result yet.";
  if (isEmpty) return { series: [] };
  const muted = Lab.css("--muted");
  const many = rows.length > 60;
  const kinds = axes.map((column) => columnAxis(column, all, true));
  explored.kinds = kinds;
  return {
    animation: false,
    parallel: { left: 60, right: 70, top: 44, bottom: 24, parallelAxisDefault: {
      nameTextStyle: { color: Lab.css("--ink"), fontSize: 12 }, nameGap: 16, axisLabel: { color: Lab.css("--ink"), fontSize: 11, formatter: axisLabel, textBorderColor: Lab.css("--surface"), textBorderWidth: 3, showMinLabel: true, showMaxLabel: true }, axisLine: { lineStyle: { color: muted, width: 1.2 } }, axisTick: { lineStyle: { color: muted } },
      areaSelectStyle: { width: 18, borderColor: Lab.css("--accent"), color: Lab.css("--accent"), opacity: 0.18 }, realtime: true } },
    parallelAxis: axes.map((column, dim) => ({ dim, name: shortKey(column.title), scale: true, ...kinds[dim], ...(kinds[dim].type === "log" ? { axisLabel: { showMinLabel: false, showMaxLabel: false } } : {}) })),
    series: [{ type: "parallel", smooth: 0.12, progressive: 0, inactiveOpacity: 0.04, activeOpacity: many ? 0.6 : 0.85, lineStyle: { width: many ? 1.2 : 2, opacity: many ? 0.6 : 0.85 },
      emphasis: { lineStyle: { width: 4, opacity: 1 } },
      data: rows.map((index) => ({ value: axes.map((column, dim) => cell(column, index, kinds[dim]) ?? "-"), name: Lab.data.runs[index].label, lineStyle: { color: Lab.colours[index] } })) }],
  };
}
function axisLabel(value) {
  return typeof value === "number" ? axisNumber(value) : value.length > 16 ? `${value.slice(0, 15)}…` : value;
}
function drawImportance() {
  const name = byId("metric").value;
  const found = Lab.data.influences[name];
  const host = byId("importance");
  if (!found) {
    const others = Object.keys(Lab.data.influences);
    host.replaceChildren(make("p", { class: "empty" }, others.length ? `Computed for ${others.join(", ")} only.` : Lab.data.influenceNote));
    return;
  }
  const most = Math.max(...found.map(([, importance]) => importance ?? 0), 1e-9);
  const hasImportance = found.some(([, importance]) => importance != null);
  const rows = found.map(([key, importance, correlation]) => make("tr", {}, make("th", { scope: "row" }, make("code", {}, key)),
    ...(hasImportance ? [make("td", { class: "track" }, make("span", { style: { width: `${(100 * (importance ?? 0)) / most}%` } })), make("td", { class: "number" }, importance == null ? "–" : importance.toFixed(2))] : []),
    make("td", { class: "both" }, correlation == null ? null : make("span", { style: correlation >= 0 ? { left: "50%", width: `${50 * correlation}%` } : { right: "50%", width: `${-50 * correlation}%` } })),
    make("td", { class: "number" }, correlation == null ? "–" : correlation.toFixed(2))));
  const titles = ["parameter", ...(hasImportance ? ["importance", ""] : []), "rank correlation", ""];
  host.replaceChildren(make("table", { class: "bars" }, make("caption", { class: "unseen" }, `Importance of the parameters for ${name}`), make("thead", {}, make("tr", {}, ...titles.map((title) => make(title ? "th" : "td", title ? { scope: "col" } : {}, title)))), make("tbody", {}, ...rows)), make("p", { class: "hint" }, Lab.data.influenceNote));
}

function plotPoints(one, other, indices, kind) {
  return indices.map((index) => ({ value: [cell(one, index, kind), cell(other, index)], index, itemStyle: { color: Lab.colours[index] } }))
    .filter((point) => point.value.every((value) => value != null));
}
function listenToPoints(chart, drawn, lines) {
  drawn.on("mouseover", (event) => {
    if (event.data?.index == null) return;
    Lab.setHover(event.data.index);
    Lab.tip(event.event.event, Lab.data.runs[event.data.index].label, lines(event.data.index));
  });
  drawn.on("mouseout", () => { Lab.setHover(null); Lab.tip(null); });
  drawn.on("click", (event) => { if (event.data?.index != null) Lab.togglePin(event.data.index); });
}
function emphasised(points) {
  return points.map((point) => (point.index === Lab.hover || Lab.pinned.has(point.index)
    ? { ...point, symbolSize: 15, itemStyle: { ...point.itemStyle, borderColor: Lab.css("--ink"), borderWidth: 1.5 } } : point));
}

function scatterOption() {
  const one = Lab.column(byId("scatter-x").value), other = Lab.column(byId("scatter-y").value);
  if (!one || !other) return { series: [] };
  const indices = Lab.shown().filter((index) => one.values[index] != null && other.values[index] != null);
  const place = (column, isLog, gap) => ({ ...axis(column.title, isLog && column.numeric, { nameGap: gap, ...(isLog && column.numeric ? logRange(indices.map((index) => column.values[index])) : {}) }), ...(column.numeric ? {} : { scale: false, ...columnAxis(column, indices), axisLabel: { color: Lab.css("--muted"), formatter: axisLabel, hideOverlap: true } }) });
  return {
    animation: false, grid: { left: 70, right: 20, top: 16, bottom: 46 },
    xAxis: place(one, byId("scatter-log-x").checked, 28), yAxis: place(other, byId("scatter-log-y").checked, 50),
    series: [{ type: "scatter", symbolSize: 9, data: emphasised(plotPoints(one, other, indices)), itemStyle: { opacity: 0.85 } }],
  };
}

function sliceKeys() {
  const metric = byId("metric").value;
  const ranked = (Lab.data.influences[metric] ?? []).map(([key]) => key);
  const candidates = Lab.columns.filter((column) => column.kind === "parameter" && new Set(column.values).size > 1);
  return [...candidates].sort((a, b) => (ranked.indexOf(a.id) + 1 || 99) - (ranked.indexOf(b.id) + 1 || 99)).slice(0, 8);
}
function slicesOption() {
  const metric = metricColumn(), columns = metric ? sliceKeys() : [], indices = Lab.shown();
  const host = byId("slices"), across = Math.max(1, Math.min(4, columns.length, Math.floor(host.clientWidth / 250)));
  const down = Math.ceil(columns.length / across);
  byId("slices-card").hidden = !columns.length;
  const wide = 100 / across, tall = 210;
  if (host.style.height !== `${down * tall}px`) { host.style.height = `${Math.max(1, down) * tall}px`; Lab.slices?.drawn?.resize(); }
  const found = { animation: false, grid: [], xAxis: [], yAxis: [], series: [] };
  columns.forEach((column, number) => {
    const left = (number % across) * wide, top = Math.floor(number / across) * tall;
    found.grid.push({ left: `${left + 4.2}%`, width: `${wide - 5.4}%`, top: top + 12, height: tall - 62 });
    const kind = columnAxis(column, indices, true);
    found.xAxis.push({ ...axis(column.title, kind.type === "log"), ...kind, ...(kind.data ? { scale: false, jitter: 26, jitterOverlap: true, axisLabel: { color: Lab.css("--muted"), fontSize: 11, formatter: axisLabel, hideOverlap: true } } : {}), gridIndex: number, nameTextStyle: { color: Lab.css("--ink"), fontSize: 12, width: (host.clientWidth / across) * 0.85, overflow: "truncate" }, nameGap: 24 });
    found.yAxis.push({ ...axis("", false), gridIndex: number, splitNumber: 4, axisLabel: { color: Lab.css("--muted"), fontSize: 11, formatter: axisNumber, show: number % across === 0 } });
    found.series.push({ type: "scatter", xAxisIndex: number, yAxisIndex: number, symbolSize: 7, data: emphasised(plotPoints(column, metric, indices, kind)), itemStyle: { opacity: 0.8 } });
  });
  return found;
}

function spansOption() {
  const { spans, runs } = Lab.data;
  const isEmpty = !spans.length;
  byId("spans").hidden = isEmpty;
  byId("spans-empty").hidden = !isEmpty;
  if (isEmpty) return { series: [] };
  const lanes = [...new Set(spans.map((span) => span[2]))].sort((a, b) => b.localeCompare(a, undefined, { numeric: true }));
  const start = Math.min(...spans.map((span) => span[3]));
  // A page of a file knows nothing of what came after it was made.
  const made = Date.parse(Lab.data.made.replace(" UTC", "Z").replace(" ", "T"));
  const now = Math.max(...spans.map((span) => span[4] ?? span[3]), Lab.data.runsOn ? (document.body.dataset.live === "yes" ? Date.now() : made) / 1000 : 0);
  byId("spans").style.height = `${Math.min(900, 70 + 30 * lanes.length)}px`;
  const shown = new Set(Lab.shown());
  return {
    animation: false, grid: { left: 110, right: 20, top: 8, bottom: 44 },
    xAxis: axis("time since the first start", false, { scale: false, min: 0, max: Math.max(1, now - start), axisLabel: { color: Lab.css("--muted"), fontSize: 11, formatter: shortTime } }),
    yAxis: { type: "category", data: lanes, axisLabel: { color: Lab.css("--muted"), fontSize: 11, width: 100, overflow: "truncate" }, axisLine: { show: false }, axisTick: { show: false } },
    dataZoom: [{ type: "inside", xAxisIndex: 0, filterMode: "weakFilter", zoomOnMouseWheel: "ctrl" }],
    series: [{ type: "custom", clip: true, encode: { x: [1, 2], y: 0 },
      data: spans.map((span) => ({ value: [lanes.indexOf(span[2]), span[3] - start, (span[4] ?? now) - start], index: span[0], span })),
      renderItem: (params, api) => {
        const span = spans[params.dataIndex];
        const [left, middle] = api.coord([api.value(1), api.value(0)]), [right] = api.coord([api.value(2), api.value(0)]);
        const height = Math.min(20, api.size([0, 1])[1] * 0.7);
        const outcome = span[4] == null ? "running" : span[5];
        const colour = outcome === "crashed" ? "--bad" : STATES[outcome] ?? "--muted";
        return { type: "rect", shape: { x: left, y: middle - height / 2, width: Math.max(1.5, right - left - 0.5), height, r: 2 }, style: { fill: Lab.css(colour), opacity: shown.has(span[0]) ? 0.85 : 0.15, stroke: span[0] === Lab.hover || Lab.pinned.has(span[0]) ? Lab.css("--ink") : undefined, lineWidth: 2 } };
      } }],
  };
}
const spanLines = (span) => [`${span[2]}, attempt ${span[1]}: ${span[5] || "running"}`, span[4] == null ? "runs" : `took ${shortTime(span[4] - span[3])}`, span[6]].filter(Boolean);

Lab.startExplore = () => {
  const fillAll = () => {
    const metrics = Lab.columns.filter((column) => column.kind === "metric");
    fill(byId("metric"), metrics, Lab.data.monitor);
    const group = { parameter: "parameters", metric: "metrics", meta: "run" };
    const options = Lab.columns.map((column) => ({ ...column, group: group[column.kind] }));
    const first = sliceKeys()[0]?.id ?? Lab.data.keys[0] ?? "steps";
    fill(byId("scatter-x"), options, metrics.length > 1 && !Lab.data.keys.length ? metrics[1].id : first);
    fill(byId("scatter-y"), options, Lab.data.monitor);
    fill(byId("colour"), [...(Lab.data.runs.length <= 2 * PALETTE.length ? [{ id: "-", title: "each run" }] : []), ...options.filter((one) => one.id !== "run" && one.id !== "job")],
      Lab.data.runs.length <= PALETTE.length ? "-" : Lab.data.monitor);
    Lab.colour = byId("colour").value;
    Lab.findColours();
  };
  fillAll();
  const column = Lab.column(byId("scatter-x").value);
  byId("scatter-log-x").checked = Boolean(column?.numeric) && columnAxis(column, Lab.shown()).type === "log";
  startBrush();
  const scatter = new Chart(byId("scatter"), scatterOption, (drawn) => listenToPoints(scatter, drawn, (index) => [byId("scatter-x"), byId("scatter-y")].map((select) => { const { show, values } = Lab.column(select.value); return `${select.value} = ${show(values[index])}`; })));
  Lab.slices = new Chart(byId("slices"), slicesOption, (drawn) => listenToPoints(Lab.slices, drawn, (index) => [`${byId("metric").value} = ${shortNumber(metricColumn().values[index])}`, ...Lab.linesOf(index)]));
  const timeline = new Chart(byId("spans"), spansOption, (drawn) => {
    drawn.on("mouseover", (event) => { if (event.data?.span) { Lab.setHover(event.data.index); Lab.tip(event.event.event, Lab.data.runs[event.data.index].label, spanLines(event.data.span)); } });
    drawn.on("mouseout", () => { Lab.setHover(null); Lab.tip(null); });
    drawn.on("click", (event) => { if (event.data?.index != null) Lab.togglePin(event.data.index); });
  });
  const all = [scatter, Lab.slices, timeline];
  drawImportance();
  byId("metric").addEventListener("change", () => { drawImportance(); redrawParallel(); Lab.slices.update(); });
  for (const id of ["scatter-x", "scatter-y", "scatter-log-x", "scatter-log-y"]) byId(id).addEventListener("change", () => scatter.update());
  byId("colour").addEventListener("change", (event) => { Lab.colour = event.target.value; Lab.findColours(); Lab.emit("colour"); });
  let words = Lab.words;
  Lab.on("filter", () => {
    scatter.update(); Lab.slices.update(); timeline.update();
    if (words !== Lab.words) { words = Lab.words; redrawParallel(); }  // its own brush must not draw it again
  });
  Lab.on("data", () => { fillAll(); drawImportance(); for (const chart of all) chart.update(); redrawParallel(); });
  let lit = 0;
  Lab.on("hover", () => {
    clearTimeout(lit);
    lit = setTimeout(() => {
      scatter.update(); Lab.slices.update();
      const drawn = explored.parallel.drawn;
      if (!drawn || byId("parallel").hidden) return;
      drawn.dispatchAction({ type: "downplay", seriesIndex: 0 });
      const wanted = (Lab.hover != null ? [Lab.hover] : [...Lab.pinned]).map((index) => explored.rows.indexOf(index)).filter((place) => place >= 0);
      if (wanted.length) drawn.dispatchAction({ type: "highlight", seriesIndex: 0, dataIndex: wanted });
    }, 40);
  });
};
