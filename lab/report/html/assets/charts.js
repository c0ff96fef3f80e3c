/* Charts are made when they come into view, so that a page with many of them opens at once. */
const charts = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) entry.target.chart.open();
}, { rootMargin: "150px" });
const resizer = new ResizeObserver((entries) => {
  for (const entry of entries) entry.target.chart?.drawn?.resize();
});

class Chart {
  /* element: where it is drawn; option: returns what ECharts draws; ready: is called once with the ECharts object. */
  constructor(element, option, ready) {
    this.element = element;
    this.option = option;
    this.ready = ready;
    this.drawn = null;
    element.chart = this;
    charts.add(this);
    watcher.observe(element);
    resizer.observe(element);
  }
  open() {
    if (this.drawn || !this.element.clientWidth) return;
    this.drawn = echarts.init(this.element, null, { renderer: "canvas" });
    this.drawn.setOption(this.option(), { notMerge: true });
    this.ready?.(this.drawn);
    this.drawn.getZr().on("globalout", () => { Lab.tip(null); });
  }
  update(isNow = false) {
    if (!this.drawn) return;
    this.drawn.setOption(this.option(), { notMerge: true, lazyUpdate: !isNow });
    if (isNow) this.drawn.getZr().flush();
  }
  close() {
    watcher.unobserve(this.element);
    resizer.unobserve(this.element);
    charts.delete(this);
    this.drawn?.dispose();
  }
}

function axis(name, isLog, extra = {}) {
  return {
    type: isLog ? "log" : "value", name, nameLocation: "middle", nameGap: 28, scale: true,
    nameTextStyle: { color: Lab.css("--muted"), fontSize: 12 },
    axisLabel: { color: Lab.css("--muted"), fontSize: 11, hideOverlap: true, formatter: axisNumber },
    axisLine: { show: true, lineStyle: { color: Lab.css("--line") } }, axisTick: { show: false },
    splitLine: { lineStyle: { color: Lab.css("--grid") } }, minorSplitLine: { show: false }, ...extra,
  };
}
function axisNumber(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))}G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential(1).replace(/\.0e/, "e");
  return String(Number(value.toPrecision(4)));
}
/* An axis for a column: of numbers, of their logarithms where they span decades, or of names and few numbers. */
const FEW = 6;
function columnAxis(column, indices, isFewNames = false) {
  const values = indices.map((index) => column.values[index]).filter((value) => value != null);
  const distinct = [...new Set(values)];
  if (!column.numeric || (isFewNames && column.kind === "parameter" && distinct.length <= FEW)) {
    distinct.sort((one, other) => (column.numeric ? one - other : String(one).localeCompare(String(other), undefined, { numeric: true })));
    return { type: "category", data: distinct.map((value) => nameOf(column, value)) };
  }
  const low = Math.min(...values), high = Math.max(...values);
  return low > 0 && high / low >= 30 ? { type: "log", ...logRange(values) } : { type: "value" };
}
/* The ends of a logarithmic axis: without them it would reach to the next powers of ten. */
function logRange(values) {
  const usable = values.filter((value) => value > 0);
  return usable.length ? { min: Math.min(...usable) / 1.15, max: Math.max(...usable) * 1.15 } : {};
}
const nameOf = (column, value) => (column.numeric ? column.show(value) : String(value));
function cell(column, index, kind) {
  const value = column.values[index];
  if (value == null) return null;
  return column.numeric && kind?.type !== "category" ? value : nameOf(column, value);
}

Lab.on("theme colour", () => { for (const chart of charts) chart.update(); });
/* Paper is white: charts are drawn again in light colours, also those that nobody has scrolled to. */
let themeOnScreen;
function wearTheme(theme) {
  if (theme === undefined) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  Lab.findColours();
  Lab.emit("theme");
}
addEventListener("beforeprint", () => {
  themeOnScreen = document.documentElement.dataset.theme;
  wearTheme("light");
  for (const chart of charts) { chart.open(); chart.update(true); }
  if (Lab.data.kind === "runs") redrawParallel();  // with its brush
});
addEventListener("afterprint", () => wearTheme(themeOnScreen));
