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
      new Panel(byId("panels"), names.find((name) => !used.has(name)) ?? Lab.data.monitor, false);
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
  const pinned = new Set([...Lab.pinned].map((index) => Lab.data.runs[index].path));
  const brushed = Lab.brushed && new Set([...Lab.brushed].map((index) => Lab.data.runs[index].path));
  Lab.data = update.data;
  const places = new Map(Lab.data.runs.map((run, index) => [run.path, index]));
  const again = (paths) => new Set([...paths].filter((path) => places.has(path)).map((path) => places.get(path)));
  Lab.pinned = again(pinned);
  Lab.brushed = brushed && again(brushed);
  Lab.hover = null;
  for (const [name, html] of Object.entries(update.parts)) {
    const part = byId(`part-${name}`);
    if (part.dataset.before === html) continue;
    for (const chart of [...charts]) if (part.contains(chart.element)) chart.close();
    part.innerHTML = html;  // made and escaped by the server that made the page
    part.dataset.before = html;
  }
  Lab.prepare();
  if (Lab.data.kind === "runs") {
    if (!panels.length) for (const name of Object.keys(Lab.data.curves).slice(0, 2)) new Panel(byId("panels"), name, false);
    byId("add-chart").hidden = !Object.keys(Lab.data.curves).length;
  } else if (!panels.length && Object.keys(Lab.data.curves).length) {
    byId("panels").replaceChildren();
    Lab.startRun();
  } else for (const panel of panels) if (Lab.data.curves[panel.metric]) showLast(panel);
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
      const answer = await fetch("update.json", { cache: "no-store" });
      replaceAll(await answer.json());
      sayState();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      say("the server has ended", true);  // fetch raises a TypeError where nobody answers
    } finally { busy = false; }
    if (again) { again = false; load(); }
  };
  source.addEventListener("changed", load);
  source.addEventListener("error", () => say("the server has ended", true));
}

startPage();
