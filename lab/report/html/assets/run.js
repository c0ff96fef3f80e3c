/* The page of a single run: all its curves, pictures with a slider, confusion matrices, its config. */
const SYSTEM = /(samples_per_s|tokens_per_s|data_wait|memory_gib|_per_s$|lr$)/;

const MOST_PANELS = 9;

/* Makes what panels are missing, also for metrics that a run has logged since the page was opened, and puts all in order. */
Lab.startRun = () => {
  const { curves, monitor } = Lab.data;
  const names = Object.keys(curves).filter((name) => !name.startsWith("test/"));
  const rank = (name) => (name === monitor ? 0 : name === "train/loss" ? 1 : name.endsWith("_measured") ? 6 : name.includes("per_class") ? 5 : name.startsWith("val/") ? 2 : 3);
  const system = names.filter((name) => SYSTEM.test(name));
  const others = names.filter((name) => !SYSTEM.test(name)).sort((a, b) => rank(a) - rank(b));
  const place = (name, host) => {
    const panel = panels.find((one) => one.metric === name) ?? new Panel(host, name, true);
    host.append(panel.box);
    showLast(panel);
  };
  byId("panels").querySelector(".empty")?.remove();
  others.forEach((name, order) => place(name, byId(order < MOST_PANELS ? "panels" : "more-panels")));
  byId("more-curves").hidden = others.length <= MOST_PANELS;
  byId("more-curves").querySelector("summary").textContent = `${others.length - MOST_PANELS} more metric${others.length === MOST_PANELS + 1 ? "" : "s"}`;
  for (const name of system) place(name, byId("system"));
  byId("system-title").hidden = !system.length;
  if (!others.length) byId("panels").append(make("p", { class: "empty" }, "This run has logged no metrics."));
};
function showLast(panel) {
  const [curve] = Lab.data.curves[panel.metric];
  const values = numbers(curve[2]);
  panel.last.textContent = values.length ? `last ${shortNumber(values[values.length - 1])}` : "";
}

/* Parts of the page that come as HTML, also again while a run goes on: what is new in them is started. */
Lab.startParts = () => {
  const fresh = (selector) => [...document.querySelectorAll(selector)].filter((one) => !one.dataset.started && (one.dataset.started = "yes"));
  for (const link of document.querySelectorAll("nav a[hidden]")) link.hidden = !document.querySelector(link.hash);
  for (const figure of fresh("figure.pair")) startPair(figure);
  for (const slider of fresh(".wipe-all")) slider.addEventListener("input", () => {
    for (const other of document.querySelectorAll(".pair input")) { other.value = slider.value; other.dispatchEvent(new Event("input")); }
  });
  for (const host of document.querySelectorAll("[data-matrix]")) if (!host.chart) new Chart(host, () => matrixOption(host, Lab.data.sheets[Number(host.dataset.matrix)]), (drawn) => listenToMatrix(drawn));
  for (const table of fresh("table.sortable")) startSorting(table);
  for (const button of fresh(".copy-command")) button.addEventListener("click", () => copyText(button.previousElementSibling.textContent, button));
  for (const control of fresh("#config-filter, #config-typed")) control.addEventListener("input", filterConfig);
  const diff = byId("diff");
  if (diff && !diff.children.length) colourDiff(diff);
};

/* Two pictures that a run wrote side by side, one above the other; the slider shows more of one or of the other. */
function startPair(figure) {
  const image = figure.querySelector("img"), slider = figure.querySelector("input"), host = figure.querySelector(".wipe");
  const { width, height, half } = Object.fromEntries(Object.entries(figure.dataset).map(([name, value]) => [name, Number(value)]));
  const layer = (isRight) => make("div", { style: { backgroundImage: `url("${image.src}")`, backgroundSize: `${(100 * width) / half}% 100%`, backgroundPosition: isRight ? "100% 0" : "0 0" } });
  const truth = layer(false), prediction = layer(true), edge = make("div", { class: "edge" });
  host.classList.add("on");
  host.style.aspectRatio = `${half} / ${height}`;
  image.classList.add("unseen");
  image.style.inset = "auto";
  host.append(truth, prediction, edge, make("span", { class: "badge" }, "truth"), make("span", { class: "badge" }, "prediction"));
  const move = () => {
    prediction.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    edge.style.left = `calc(${slider.value}% - 1px)`;
  };
  const drag = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = host.getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    move();
  };
  slider.addEventListener("input", move);
  host.addEventListener("pointerdown", drag);
  host.addEventListener("pointermove", drag);
  move();
}

const inkOn = (share) => (Lab.isDark() ? (share > 0.65 ? "#0b1016" : "#e7e9ec") : share > 0.75 ? "#ffffff" : "#16191d");
function matrixOption(host, sheet) {
  const names = sheet.columns.slice(1).map(String), rows = sheet.rows.map((row) => String(row[0]));
  host.style.height = `${Math.min(900, 150 + 34 * rows.length)}px`;
  const totals = sheet.rows.map((row) => row.slice(1).reduce((sum, value) => sum + (Number(value) || 0), 0) || 1);
  const data = sheet.rows.flatMap((row, y) => row.slice(1).map((count, x) => ({ value: [x, y, (Number(count) || 0) / totals[y]], count, label: { color: inkOn((Number(count) || 0) / totals[y]) } })));
  const side = Math.min(host.clientWidth / Math.max(1, names.length), 60);
  const label = (extra) => ({ color: Lab.css("--ink"), fontSize: 11, interval: 0, width: 110, overflow: "truncate", ...extra });
  const dark = Lab.isDark();
  return {
    animation: false, grid: { left: 130, right: 10, top: 10, bottom: 110 },
    xAxis: { type: "category", data: names, name: "predicted", nameLocation: "middle", nameGap: 88, nameTextStyle: { color: Lab.css("--muted") }, axisLabel: label({ rotate: 45, width: 80 }), axisLine: { show: false }, axisTick: { show: false } },
    yAxis: { type: "category", data: rows, inverse: true, axisLabel: label({}), axisLine: { show: false }, axisTick: { show: false } },
    visualMap: { show: false, min: 0, max: 1, dimension: 2, inRange: { color: dark ? ["#171b21", "#1f4e79", "#6fb6f0"] : ["#ffffff", "#9cc3e0", "#0a4a80"] } },
    series: [{ type: "heatmap", data, itemStyle: { borderColor: Lab.css("--surface"), borderWidth: 2 }, emphasis: { itemStyle: { borderColor: Lab.css("--ink") } },
      label: { show: names.length <= 20 && side > 22, fontSize: 11, formatter: (item) => (item.data.count ? shortNumber(item.data.count) : "") } }],
  };
}
function listenToMatrix(drawn) {
  drawn.on("mouseover", (event) => {
    const option = drawn.getOption();
    const [x, y, share] = event.data.value;
    Lab.tip(event.event.event, `${option.yAxis[0].data[y]} predicted as ${option.xAxis[0].data[x]}`, [`${shortNumber(event.data.count)} (${(100 * share).toFixed(1)} % of the row)`]);
  });
  drawn.on("mouseout", () => Lab.tip(null));
}

/* Makes the header of a plain table sort its rows. */
function startSorting(table) {
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = make("button", { type: "button" }, head.textContent, make("span", { class: "arrow", "aria-hidden": "true" }));
    if (table.tBodies[0].rows[0]?.cells[place]?.classList.contains("number")) head.classList.add("number");
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].sort((a, b) => compareCells(a.cells[place].textContent, b.cells[place].textContent) * (ascending ? 1 : -1));
      table.tBodies[0].replaceChildren(...rows);
    });
  });
}

/* Numbers by value, "0.6" above "0.5833"; other texts by their letters and the whole numbers in them. */
function compareCells(one, other) {
  const difference = Number(one) - Number(other);
  return one && other && !Number.isNaN(difference) ? difference : one.localeCompare(other, undefined, { numeric: true });
}

function filterConfig() {
  const words = byId("config-filter").value.toLowerCase().split(/\s+/).filter(Boolean), typed = byId("config-typed").checked;
  for (const row of byId("config-table").tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word)) || (typed && !row.classList.contains("typed"));
  }
}

function colourDiff(pre) {
  const kinds = { "+": "added", "-": "removed", "@": "place" };
  pre.replaceChildren(...pre.textContent.split("\n").map((line) => make("span", { class: kinds[line[0]] ?? "" }, `${line}\n`)));
}

async function copyText(text, button) {
  const before = (button.dataset.before ??= button.textContent);
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {  // a page of file:// may not be allowed to: the text is selected instead
    const area = make("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    button.textContent = document.execCommand("copy") ? "Copied" : "Not allowed here";
    area.remove();
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}
