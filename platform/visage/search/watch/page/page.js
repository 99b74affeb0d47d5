// What the page holds and shows, and when it looks again. The requests are in api.js.

import * as api from "./api.js";
import { figure } from "./chart.js";
import { onImages, readPictures, showFaces } from "./faces.js";
import { drawFigures } from "./figures.js";
import { tabulate } from "./trials.js";

const LIVE = 2_000, RESTING = 10_000; // milliseconds between two looks, while the study runs and when it does not
const LEADERS = 3, MOST = 20; // trials that are chosen at first, and at most
const at = (id) => document.getElementById(id);
const make = (tag, text, properties = {}) => Object.assign(document.createElement(tag), properties, text === undefined ? {} : { textContent: text });

let study = null;
let leading = null;
const curves = new Map();
let revision = 0;
let chosen = new Set(), byHand = false;

const redraw = drawFigures({ study: () => study, curves, revision: () => revision, chosen: () => chosen, choose });
const showTrials = tabulate({ study: () => study, curves, chosen: () => chosen, choose });

function keep() {
  const fields = new URLSearchParams(location.search);
  if (byHand) fields.set("trials", [...chosen].join(","));
  else fields.delete("trials");
  history.replaceState(null, "", `?${fields}`);
}

function choose(number) {
  byHand = true;
  if (!chosen.delete(number)) {
    if (chosen.size >= MOST) {
      at("chosen-text").textContent = `${MOST} trials are chosen already; leave one out first.`;
      return showTrials();
    }
    chosen.add(number);
  }
  keep();
  showChosen();
  attempt("faces", lookAtFaces);
}

function chooseLeaders() {
  const able = study.trials.filter((trial) => trial.rank !== null).slice(0, LEADERS);
  chosen = new Set(able.map((trial) => trial.number));
}

function showChosen() {
  at("chosen-text").textContent = chosen.size ? `Chosen: ${[...chosen].join(", ")}.` : "None is chosen.";
  showTrials();
  redraw();
  showFaces(study, chosen);
}

const rest = () => new Promise((done) => setTimeout(done)); // between two parts, so that a key or a frame need not wait for all

async function take(found) {
  study = found;
  study.byNumber = new Map(study.trials.map((trial) => [trial.number, trial]));
  document.title = `${study.name}: a study`;
  at("name").textContent = study.name;
  at("summary").textContent = study.summary;
  const idle = !study.runs && study.counts.running + study.counts["cut off"] ? "No process works at it; `visage tune CONFIG --resume` goes on." : "";
  at("spending").textContent = [study.spending, idle].filter(Boolean).join(". ");
  at("look").textContent = study.look;
  at("looked").hidden = false;
  at("eyes-part").hidden = study.trials.filter((trial) => trial.rank !== null && trial.repeat).length < 2; // two to choose from
  at("eyes").href = `eyes?${new URLSearchParams({ study: study.name })}`;
  at("main").hidden = false;
  showLeader();
  showSettings();
  await rest();
  showEndings();
  if (!byHand) chooseLeaders();
  await rest();
  showChosen();
}

function showLeader() {
  const [first] = study.trials, said = [...study.why, study.outcome, study.checkpoints && `${study.checkpoints[0].toUpperCase()}${study.checkpoints.slice(1)}.`].filter(Boolean);
  at("why").replaceChildren(...said.map((text) => make("p", text)));
  const repeat = first?.rank === 1 ? first.repeat : "";
  at("command").hidden = !repeat;
  at("repeat").textContent = repeat;
  if (first?.rank === 1 && leading !== null && leading !== first.number) at("status").textContent = `Trial ${first.number} leads now. ${study.why[0]}`;
  if (first?.rank === 1) leading = first.number;
}

function showSettings() {
  at("searched-title").textContent = `What was searched: ${study.settings.length} settings`;
  at("settings").replaceChildren(...study.settings.map(({ path, searched, leader, second, importance }) => {
    const row = document.createElement("tr"), share = make("td");
    if (importance !== null) {
      const text = `${Math.round(importance * 100)} %`, bar = make("div", undefined, { className: "share" });
      const length = make("progress", undefined, { max: 1, value: importance });
      length.setAttribute("aria-hidden", "true"); // the figure beside it says the same
      bar.append(make("span", text), length);
      share.append(bar);
    }
    row.append(make("th", path, { scope: "row" }), make("td", figure(leader), { className: "number" }), make("td", figure(second), { className: "number" }), make("td", searched), share);
    return row;
  }));
  const fixed = Object.entries(study.fixed);
  at("fixed-summary").textContent = `The other ${fixed.length} settings, the same in every trial`;
  if (at("fixed").children.length !== fixed.length) {
    at("fixed").replaceChildren(...fixed.map(([path, value]) => {
      const row = document.createElement("tr");
      row.append(make("th", path, { scope: "row" }), make("td", value));
      return row;
    }));
  }
}

function showEndings() {
  const reasons = new Map();
  for (const { state, reason } of study.trials) {
    if (!reasons.has(state)) reasons.set(state, new Map());
    if (reason) reasons.get(state).set(reason, (reasons.get(state).get(reason) ?? 0) + 1);
  }
  at("endings").replaceChildren(...Object.entries(study.counts).filter(([, count]) => count).map(([state, count]) => {
    const row = document.createElement("tr"), why = make("td");
    const found = [...(reasons.get(state) ?? [])].sort(([, one], [, other]) => other - one);
    for (const [reason, times] of found.slice(0, 4)) why.append(make("div", times > 1 ? `${times} times: ${reason}` : reason));
    if (found.length > 4) why.append(make("div", `and ${found.length - 4} other reasons; the table has them`));
    row.append(make("th", state, { scope: "row" }), make("td", String(count), { className: "number" }), why);
    return row;
  }));
}

for (const button of document.querySelectorAll("[data-copies]")) {
  button.onclick = async () => {
    await navigator.clipboard.writeText(at(button.dataset.copies).textContent);
    at("status").textContent = "The command is copied.";
  };
}
at("leaders").onclick = () => {
  byHand = false;
  chooseLeaders();
  keep();
  showChosen();
};

onImages(() => showFaces(study, chosen));

const faults = new Map(); // by what was asked

async function attempt(what, ask) {
  try {
    await ask();
    faults.delete(what);
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    faults.set(what, error.message);
  }
  const told = [...new Set(faults.values())].map((text) => `${text} Shown is what was read before; it goes on when that is back.`).join("\n");
  if (at("fault").textContent !== told) at("fault").textContent = told;
}

async function readCurves() {
  for (;;) {
    const found = await api.curves(revision);
    for (const [number, curve] of Object.entries(found.curves)) curves.set(Number(number), curve);
    const changed = found.revision !== revision;
    revision = found.revision;
    if (changed) {
      redraw();
      showTrials(); // how far those are that run
    }
    if (!found.left) return;
  }
}

async function lookAtFaces() {
  await readPictures(chosen);
  showFaces(study, chosen);
}

async function readSeeds() {
  const { said, command } = await api.seeds();
  at("seeds").hidden = !said;
  at("seeds-text").textContent = said;
  at("again").hidden = !command;
  at("again-command").textContent = command;
}

async function readLineage() {
  const { stations } = await api.lineage();
  at("lineage").replaceChildren(...stations.map(({ what, name, detail, link }) => {
    const item = document.createElement("li");
    const named = link ? make("a", name, { href: link, target: "_blank", rel: "noopener" }) : make("span", name);
    item.append(make("b", what), named, make("div", detail, { className: "hint" }));
    return item;
  }));
}

let late = 0; // when what changes seldom was read
async function look() {
  if (!document.hidden) {
    await attempt("study", async () => {
      const found = await api.look();
      if (found) await take(found);
      at("when").textContent = `Read at ${new Date().toLocaleTimeString()}.`;
    });
    if (study) {
      await attempt("curves", readCurves);
      await attempt("faces", lookAtFaces);
    }
    if (study && performance.now() > late) {
      await attempt("seeds", readSeeds);
      await attempt("lineage", readLineage);
      late = performance.now() + RESTING;
    }
  }
  setTimeout(look, study?.runs || faults.size ? LIVE : RESTING);
}

async function list() {
  await attempt("studies", async () => {
    const { names } = await api.names();
    at("summary").textContent = names.length ? "" : "This database holds no study yet.";
    at("studies").hidden = !names.length;
    at("names").replaceChildren(...names.map((name) => {
      const item = document.createElement("li");
      item.append(make("a", name, { href: `?${new URLSearchParams({ study: name })}` }));
      return item;
    }));
  });
  if (faults.size) setTimeout(list, LIVE);
}

const asked = new URLSearchParams(location.search).get("trials");
if (asked) {
  byHand = true;
  chosen = new Set(asked.split(",").filter((each) => /^\d+$/.test(each)).map(Number).slice(0, MOST));
}
if (api.study === null) list();
else look();
