/* Starts the page, switches its theme, and keeps it up to date while a sweep runs. */
function startTheme() {
  const remember = (value) => { try { localStorage.setItem("lab-theme", value); } catch { /* a browser that keeps nothing */ } };
  let known = null;
  try { known = localStorage.getItem("lab-theme"); } catch { /* likewise */ }
  if (known === "dark" || known === "light") document.documentElement.dataset.theme = known;
  const name = () => { byId("theme").textContent = Lab.isDark() ? "Light" : "Dark"; };
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = Lab.isDark() ? "light" : "dark";
    remember(document.documentElement.dataset.theme);
    name();
    Lab.findColours();
    Lab.emit("theme");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { name(); Lab.findColours(); Lab.emit("theme"); });
  name();
}

function startPage() {
  startTheme();
  Lab.prepare();
  if (Lab.data.kind === "runs") {
    Lab.startExplore();
    const names = Object.keys(Lab.data.curves);
    const wanted = [Lab.data.monitor, "train/loss", "val/loss", ...names].filter((name) => names.includes(name));
    for (const name of [...new Set(wanted)].slice(0, 2)) new Panel(byId("panels"), name, false);
    byId("add-chart").addEventListener("click", () => {
      const used = new Set(panels.map((panel) => panel.metric));
      new Panel(byId("panels"), Object.keys(Lab.data.curves).find((name) => !used.has(name)) ?? Lab.data.monitor, false);
    });
    byId("add-chart").hidden = !names.length;
    Lab.startTable();
  } else {
    Lab.colour = "";
    Lab.startRun();
  }
  Lab.startCurves();
  Lab.startParts();
  if (document.body.dataset.live === "yes") startLive();
  document.body.dataset.ready = "yes";
}

/* Replaces the data and the parts of the page; what the reader has chosen stays. */
function replaceAll(update) {
  if (update.data.kind !== Lab.data.kind) { location.reload(); return; }  // a folder's second run: it is another page
  const pinned = new Set([...Lab.pinned].map((index) => Lab.idOf(Lab.data.runs[index])));
  const brushed = Lab.brushed && new Set([...Lab.brushed].map((index) => Lab.idOf(Lab.data.runs[index])));
  Lab.data = update.data;
  const places = new Map(Lab.data.runs.map((run, index) => [Lab.idOf(run), index]));
  const again = (ids) => new Set([...ids].filter((id) => places.has(id)).map((id) => places.get(id)));
  Lab.pinned = again(pinned);
  Lab.brushed = brushed && again(brushed);
  Lab.hover = null;
  for (const [name, html] of Object.entries(update.parts)) {
    const part = byId(`part-${name}`);
    if (part.dataset.before === html) continue;
    for (const chart of [...charts]) if (part.contains(chart.element)) chart.close();
    const title = (details) => details.querySelector("summary").textContent;
    const opened = new Map([...part.querySelectorAll("details")].map((details) => [title(details), details.open]));
    part.innerHTML = html;  // made and escaped by the server that made the page
    for (const details of part.querySelectorAll("details")) details.open = opened.get(title(details)) ?? details.open;
    part.dataset.before = html;
  }
  Lab.prepare();
  if (Lab.data.kind === "runs") {
    if (!panels.length) for (const name of Object.keys(Lab.data.curves).slice(0, 2)) new Panel(byId("panels"), name, false);
    byId("add-chart").hidden = !Object.keys(Lab.data.curves).length;
  } else Lab.startRun();
  Lab.startParts();
  Lab.emit("data");
  byId("made").textContent = Lab.data.made;
}

function startLive() {
  const mark = byId("live");
  const say = (text, isOff = false) => { mark.textContent = text; mark.classList.toggle("off", isOff); };
  const sayState = () => say(Lab.data.runsOn ? `live, ${Lab.data.made.slice(11, 19)}` : "nothing runs", !Lab.data.runsOn);
  mark.hidden = false;
  sayState();
  const source = new EventSource("events");
  let busy = false, again = false;
  const load = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch("update.json", { cache: "no-store" }).catch(() => null);  // nobody answers
      const update = await answer?.json().catch(() => null);
      await Lab.dragEnded();
      if (update) replaceAll(update);
      update ? sayState() : say("the server has ended", true);
    } finally { busy = false; }
    if (again) { again = false; load(); }
  };
  source.addEventListener("changed", load);
  source.addEventListener("error", () => say("the server has ended", true));
}

startPage();
