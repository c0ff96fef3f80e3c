/* The table of runs: sorted, filtered, with hidden columns, grouped with mean and deviation. */
const MOST_ROWS = 500;
const tableState = { sort: null, ascending: true, hidden: new Set(), all: false, opened: new Set() };

/* The groups of the shown runs by the chosen parameter, or by all but the seed. */
Lab.groups = () => {
  if (!Lab.group) return null;
  const keys = Lab.group === "*" ? Lab.data.keys.filter((key) => key !== "seed") : [Lab.group];
  const found = new Map();
  for (const index of Lab.shown()) {
    const values = keys.map((key) => Lab.data.runs[index].values[key]);
    const id = JSON.stringify(values);  // not by what is printed: two values may look alike
    const title = keys.map((key, place) => `${key}=${values[place] === undefined ? "–" : Lab.column(key).show(values[place])}`).join(" ");
    if (!found.has(id)) found.set(id, { id, title, keys, values, runs: [] });
    found.get(id).runs.push(index);
  }
  return [...found.values()];
};

Lab.groupColour = (groups, order) => (groups.length <= PALETTE.length ? PALETTE[order] : Lab.colours[groups[order].runs[0]]);

function meanOf(values) {
  const numbers = values.filter((value) => typeof value === "number");
  if (!numbers.length) return null;
  const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  const deviation = numbers.length > 1 ? Math.sqrt(numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (numbers.length - 1)) : null;
  return { mean, deviation, count: numbers.length };
}

const shownColumns = () => Lab.columns.filter((column) => !tableState.hidden.has(column.id) && (!Lab.group || inGroups(column)));
/* In a table of groups only what a group has: its parameters, its number of runs, means. */
function inGroups(column) {
  if (column.kind === "parameter") return Lab.group === "*" ? column.id !== "seed" : column.id === Lab.group;
  return column.kind === "metric" || ["run", "steps", "time"].includes(column.id);
}
const shortDeviation = (column, value) => (column.show === shortNumber ? shortNumber(Number(value.toPrecision(2))) : column.show(value));
const byOrder = (get) => (a, b) => {
  const one = get(a), other = get(b);
  if (one == null || other == null) return (one == null) - (other == null);  // what is missing comes last, either way
  const order = typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), undefined, { numeric: true });
  return tableState.ascending ? order : -order;
};

function header(columns) {
  const cells = [make("th", { scope: "col" }, make("span", { class: "unseen" }, "Highlight"))];
  for (const column of columns) {
    const sorted = tableState.sort === column.id ? (tableState.ascending ? "ascending" : "descending") : "none";
    const button = make("button", { type: "button", "data-focus": `column ${column.id}`, onclick: () => sortBy(column) }, column.title, make("span", { class: "arrow", "aria-hidden": "true" }));
    cells.push(make("th", { scope: "col", "aria-sort": sorted, class: column.numeric ? "number" : "", "data-column": column.id }, button));
  }
  return make("tr", {}, ...cells);
}
function sortBy(column) {
  if (tableState.sort === column.id) tableState.ascending = !tableState.ascending;
  else {
    tableState.sort = column.id;
    tableState.ascending = !(column.kind === "metric" && !Lab.data.lower.includes(column.id));
  }
  Lab.drawTable();
}

function runRow(index, columns, best) {
  const run = Lab.data.runs[index];
  const pinned = Lab.pinned.has(index);
  const toggle = make("button", { type: "button", class: "swatch", "data-focus": `run ${Lab.idOf(run)}`, "aria-pressed": String(pinned), "aria-label": `Highlight ${run.label}`, style: { background: Lab.colours[index] },
    onfocus: () => Lab.setHover(index), onblur: () => Lab.setHover(null), onclick: (event) => { event.stopPropagation(); Lab.togglePin(index); } });
  const row = make("tr", { "data-run": index, class: pinned ? "pinned" : "", title: run.problem || run.label,
    onmouseenter: () => Lab.setHover(index), onmouseleave: () => Lab.setHover(null), onclick: () => { if (!String(getSelection())) Lab.togglePin(index); } }, make("td", {}, toggle));
  for (const column of columns) {
    const value = column.values[index];
    const classes = [column.numeric ? "number" : "", best.get(column.id) === value && value != null ? "top" : ""].join(" ").trim();
    const text = column.show(value === undefined ? null : value);
    row.append(make(column.id === "run" ? "th" : "td", { class: classes, scope: column.id === "run" ? "row" : null }, column.id === "state" ? make("span", { class: `state ${value}` }, text) : text));
  }
  return row;
}

function groupRow(group, columns) {
  const opened = tableState.opened.has(group.id);
  const toggle = make("button", { type: "button", class: "quiet", "data-focus": `group ${group.id}`, "aria-expanded": String(opened), "aria-label": `${opened ? "Hide" : "Show"} the runs of ${group.title}`, onclick: () => {
    opened ? tableState.opened.delete(group.id) : tableState.opened.add(group.id);
    Lab.drawTable();
  } }, opened ? "▾" : "▸");
  const row = make("tr", { class: "group" }, make("td", {}, toggle, " ", make("span", { class: "patch", style: { background: group.colour } })));
  for (const column of columns) {
    const place = group.keys.indexOf(column.id);
    if (column.id === "run") row.append(make("td", {}, `${group.runs.length} runs`));
    else if (place >= 0) row.append(make("td", { class: column.numeric ? "number" : "" }, column.show(group.values[place] ?? null)));
    else if (column.kind === "metric" || column.id === "time" || column.id === "steps") {
      const found = group.means.get(column.id);
      row.append(make("td", { class: "number" }, found ? column.show(found.mean) : "–", found?.deviation != null ? make("span", { class: "deviation" }, ` ± ${shortDeviation(column, found.deviation)}`) : null,
        found && found.count < group.runs.length ? make("span", { class: "deviation" }, ` (${found.count} of ${group.runs.length})`) : null));
    } else row.append(make("td", {}, ""));
  }
  return row;
}

/* The best value of each metric, which is printed bold. */
function bestValues(columns, indices) {
  const best = new Map();
  for (const column of columns) {
    if (column.kind !== "metric" || !column.numeric) continue;
    const values = indices.map((index) => column.values[index]).filter((value) => typeof value === "number");
    if (values.length > 1) best.set(column.id, Lab.data.lower.includes(column.id) ? Math.min(...values) : Math.max(...values));
  }
  return best;
}

Lab.sorted = () => {
  const indices = [...Lab.shown()];
  const column = Lab.column(tableState.sort);
  return column ? indices.sort(byOrder((index) => column.values[index])) : indices;
};

Lab.drawTable = () => {
  const table = byId("table");
  const columns = shownColumns();
  const indices = Lab.sorted();
  const best = bestValues(columns, indices);
  const rows = [];
  let left = 0;
  if (Lab.group) {
    const groups = Lab.groups();
    groups.forEach((group, order) => { group.colour = Lab.groupColour(groups, order); });
    for (const group of groups) group.means = new Map(columns.map((column) => [column.id, meanOf(group.runs.map((index) => column.values[index]))]));
    const key = tableState.sort;
    if (key) groups.sort(byOrder((group) => (group.keys.includes(key) ? group.values[group.keys.indexOf(key)] : group.means.get(key)?.mean)));
    for (const group of groups) {
      rows.push(groupRow(group, columns));
      if (tableState.opened.has(group.id)) rows.push(...group.runs.map((index) => runRow(index, columns, best)));
    }
  } else {
    const most = tableState.all ? indices.length : MOST_ROWS;
    rows.push(...indices.slice(0, most).map((index) => runRow(index, columns, best)));
    left = indices.length - most;
  }
  keepFocus(table, () => {
    table.tHead.replaceChildren(header(columns));
    table.tBodies[0].replaceChildren(...rows);
  });
  if (!rows.length) table.tBodies[0].append(make("tr", {}, make("td", { colspan: columns.length + 1 }, "No run passes the filter.")));
  const total = Lab.data.runs.length;
  byId("count").textContent = `${indices.length} of ${total} runs shown.`;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show ${left} more runs`;
  byId("unbrush").hidden = !Lab.brushed;
  markRows();
};

function markRows() {
  byId("unpin").hidden = !Lab.pinned.size;
  byId("unpin").textContent = `${Lab.pinned.size} highlighted ✕`;
  for (const row of byId("table").tBodies[0].rows) {
    const index = row.dataset.run === undefined ? null : Number(row.dataset.run);
    row.classList.toggle("hover", index != null && index === Lab.hover);
    row.classList.toggle("pinned", index != null && Lab.pinned.has(index));
    row.querySelector(".swatch")?.setAttribute("aria-pressed", String(Lab.pinned.has(index)));
  }
}

function fillColumns() {
  keepFocus(byId("columns"), () => byId("columns").replaceChildren(...Lab.columns.map((column) => make("label", {}, make("input", { type: "checkbox", "data-focus": column.id, checked: !tableState.hidden.has(column.id), onchange: (event) => {
    event.target.checked ? tableState.hidden.delete(column.id) : tableState.hidden.add(column.id);
    Lab.drawTable();
  } }), column.title))));
}
function fillGroups() {
  const { keys } = Lab.data;
  const options = [{ id: "", title: "nothing" }];
  if (keys.includes("seed") && keys.length > 1) options.push({ id: "*", title: "all but the seed" });
  options.push(...keys.map((key) => ({ id: key, title: key })));
  fill(byId("group"), options, "");
}

function asCsv() {
  const columns = shownColumns();
  const quoted = (value) => { const text = String(value ?? ""); return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text; };
  const rows = Lab.group ? groupCells(columns) : [columns.map((column) => column.id), ...Lab.sorted().map((index) => columns.map((column) => column.values[index]))];
  return rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n";
}
/* Of groups: their parameters and number of runs; of what is measured mean, deviation and how many runs have it. */
function groupCells(columns) {
  const groups = Lab.groups(), keys = groups[0]?.keys ?? [], measured = columns.filter((column) => !keys.includes(column.id) && column.id !== "run");
  const rows = groups.map((group) => [...group.values, group.runs.length, ...measured.flatMap((column) => {
    const found = meanOf(group.runs.map((index) => column.values[index]));
    return [found?.mean, found?.deviation, found?.count ?? 0];
  })]);
  return [[...keys, "runs", ...measured.flatMap(({ id }) => [id, `${id} deviation`, `${id} runs`])], ...rows];
}

Lab.startTable = () => {
  // Metrics beyond the first few are hidden at first, so that the table fits.
  const metrics = Lab.columns.filter((column) => column.kind === "metric").slice(5);
  for (const column of metrics) tableState.hidden.add(column.id);
  for (const id of ["attempts", "steps"]) if (new Set(Lab.column(id)?.values).size <= 1) tableState.hidden.add(id);
  fillColumns();
  fillGroups();
  let waiting = 0;
  byId("filter").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { Lab.words = event.target.value; Lab.changeFilter(); }, 80);
  });
  byId("group").addEventListener("change", (event) => { Lab.group = event.target.value; Lab.emit("group"); Lab.drawTable(); });
  byId("more").addEventListener("click", () => { tableState.all = true; Lab.drawTable(); });
  byId("unpin").addEventListener("click", () => { Lab.pinned.clear(); Lab.emit("hover"); });
  byId("copy").addEventListener("click", (event) => copyText(asCsv(), event.target));
  Lab.on("filter", Lab.drawTable);
  Lab.on("data", () => { fillColumns(); fillGroups(); Lab.drawTable(); });
  Lab.on("colour theme", Lab.drawTable);
  Lab.on("hover", markRows);
  Lab.drawTable();
  // A filter must not move what is below: it may be a brush that the mouse still draws.
  const box = document.querySelector("#runs .table-box");
  const keepHeight = () => { box.style.minHeight = ""; box.style.minHeight = `${box.offsetHeight}px`; };
  byId("group").addEventListener("change", keepHeight);
  keepHeight();
};
